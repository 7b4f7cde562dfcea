"""How small can personal weights be? mPCK against bytes per person, for kinds, ranks and layers.

    python experiments/personal_weights.py WORKDIR [--people=12] [--schedule=offline]

WORKDIR is a finished run. Its test people are personalized anew once; everyone's final weights are
then saved in each way, loaded again, and predict every frame without adapting.
"""

import argparse
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from adaptation import finished_run, scores

from ttp_jax.files import digest, personal
from ttp_jax.personalize import many_people, partition
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.run import adaptation, build

ROWS: dict[str, Mapping[str, Any]] = {
    f'{kind}{", " * bool(name)}{name}': {'kind': kind} | how
    for kind in personal.KINDS
    for name, how in {
        '': {},
        'rank 16': {'rank': 16},
        'rank 8': {'rank': 8},
        'rank 4': {'rank': 4},
        'rank 1': {'rank': 1},
        'without image networks': {'layers': ('all but images',)},
        'without image networks, rank 8': {'layers': ('all but images',), 'rank': 8},
        'last layers': {'layers': ('last',)},
    }.items()
}


def learned(run: build.Run, schedule: str) -> dict[int, partition.Flat]:
    """Everyone's weights after all of their steps, by index."""
    run.config.personalize.save_weights = 'int8'  # any kind: the weights are wanted
    found = adaptation.personalize(run, schedule)
    return {index: result.learned for index, result in found if result.learned is not None}


def predict(
    run: build.Run, runner: many_people.Runner, index: int, trained: partition.Flat
) -> Adapted:
    """One person predicted with weights of their own, without adapting."""
    chunk = next(chunk for chunk in run.placement.chunks() if index in chunk.members)
    alone = chunk._replace(members=(index,) * len(chunk.members))
    [(_, result)] = many_people.predict_people(
        run.people,
        [alone],
        runner=runner,
        params=partition.merge(trained, run.shared.frozen),
        batch_stats=run.state.batch_stats,
    )
    return result


def row(
    run: build.Run, runner: many_people.Runner, people: Mapping[int, partition.Flat], **how
) -> tuple[float, float]:
    """(pooled mPCK, mean bytes of a person's file) of one way to save."""
    base, results, sizes = run.shared.trainable, [], []
    mark = digest.of_tree((run.state.params, run.state.batch_stats))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / 'person.npz'
        for index, trained in people.items():
            personal.save(path, trained, base, digest=mark, **how)
            leaves = personal.load(path, base, digest=mark)
            results.append((index, predict(run, runner, index, leaves)))
            sizes.append(path.stat().st_size)
    return scores(run, iter(results))[0], float(np.mean(sizes))


def study() -> None:
    """Prints the table, a row after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('workdir', type=pathlib.Path)
    parser.add_argument('--people', type=int, default=12)
    parser.add_argument('--schedule', default='offline')
    arguments = parser.parse_args()
    run = finished_run(arguments.workdir, people=arguments.people)
    print(f'{"shared":<44} {scores(run, adaptation.predict(run))[0]:6.1f}', flush=True)
    people, runner = learned(run, arguments.schedule), run.runner('online')
    whole = ((index, predict(run, runner, index, leaves)) for index, leaves in people.items())
    exact = scores(run, whole)[0]
    size = sum(np.asarray(leaf).nbytes for leaf in next(iter(people.values())).values())
    print(f'{"float32, whole":<44} {exact:6.1f} {size:12,} bytes', flush=True)
    for name, how in ROWS.items():
        score, size = row(run, runner, people, **how)
        print(f'{name:<44} {score:6.1f} {round(size):12,} bytes  {score - exact:+.2f}', flush=True)


if __name__ == '__main__':
    study()
