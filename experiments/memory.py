"""Is memory flat? A thousand small people in one job, and what the process holds over time.

    python -m experiments.memory [--people=1000] [--out=experiments/results/memory.png]

The whole job of drawn people with the smallest networks: two steps of training, predictions before,
online adaptation of everyone, personal weights saved. A thread notes every half second how much
memory the process holds and how many people are done; the picture shows both, and the last lines
say how much the job grew from the first tenth of the people to the last.
"""

import argparse
import contextlib
import pathlib
import tempfile
import threading
import time
from collections.abc import Iterator

import matplotlib.figure
import numpy as np
from ml_collections import ConfigDict

from ttp_jax import main
from ttp_jax.personalize import capacity
from ttp_jax.run import defaults, job

PAGE = 4096 / 1e6  # MB
TINY = dict(
    keypoints=6, depth=10, width=4, features=8, image_width=4, heads=2, feedforward=16, dropout=0.0
)


def config_of(people: int) -> ConfigDict:
    """So many people of four frames, as small as a job takes them."""
    config = defaults.small()
    config.model.update(TINY)
    config.crop.size = 32
    config.data.update({'train_people': 2, 'test_people': people, 'frames': 4, 'size': 48})
    config.train.update({'steps': 2, 'batch': 4})
    config.personalize.update({'schedules': ('online',), 'batch': 2, 'save_weights': 'int4'})
    config.personalize.online.update({'epochs': 1, 'images_first': 0})
    config.pictures = 0
    return config


def resident_mb() -> float:
    """What the process holds in memory."""
    return int(pathlib.Path('/proc/self/statm').read_text().split()[1]) * PAGE


@contextlib.contextmanager
def watched(workdir: pathlib.Path, every: float = 0.5) -> Iterator[list[tuple[float, ...]]]:
    """Rows of (seconds, MB, people predicted before, people adapted) while the block runs."""
    rows: list[tuple[float, ...]] = []
    over, since = threading.Event(), time.monotonic()

    def count(phase: str) -> int:
        return len(list((workdir / 'predictions' / phase).glob('[!.]*.npz')))

    def watch() -> None:
        while not over.wait(every):
            rows.append((time.monotonic() - since, resident_mb(), count('before'), count('online')))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield rows
    finally:
        over.set()
        thread.join()


def draw(rows: np.ndarray, path: pathlib.Path) -> None:
    """Memory over time, and how many people are done."""
    figure = matplotlib.figure.Figure(figsize=(7, 3), layout='constrained')
    axes = figure.add_subplot()
    axes.plot(rows[:, 0], rows[:, 1], color='tab:blue')
    axes.set(xlabel='seconds', ylabel='resident memory, MB', ylim=(0, None))
    right = axes.twinx()
    right.plot(rows[:, 0], rows[:, 2], color='tab:gray', linestyle=':', label='predicted before')
    right.plot(rows[:, 0], rows[:, 3], color='tab:orange', linestyle='--', label='adapted')
    right.set(ylabel='people done', ylim=(0, None))
    right.legend(loc='lower right', frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def growth(rows: np.ndarray, people: int) -> tuple[float, float, float]:
    """(MB at a tenth of the adapted people, MB at the last, kB a person in between)."""
    middle = rows[(rows[:, 3] >= people / 10) & (rows[:, 3] < people)]
    slope = np.polyfit(middle[:, 3], middle[:, 1], 1)[0]
    return float(middle[0, 1]), float(middle[-1, 1]), float(1e3 * slope)


def study() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--people', type=int, default=1000)
    parser.add_argument(
        '--out', type=pathlib.Path, default=pathlib.Path('experiments/results/memory.png')
    )
    arguments = parser.parse_args()
    main.keep_compiled_programs()
    capacity.one_device_per_core()
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder)
        with watched(workdir) as rows:
            report = job.execute(config_of(arguments.people), workdir)
        table = np.array(rows)
    draw(table, arguments.out)
    first, last, slope = growth(table, arguments.people)
    print(f'{arguments.people} people in {table[-1, 0]:.0f} s: {report["seconds"]}')
    print(
        f'{first:.0f} MB with a tenth of them adapted, {last:.0f} MB with all: '
        f'{slope:+.1f} kB a person; at most {table[:, 1].max():.0f} MB'
    )


if __name__ == '__main__':
    study()
