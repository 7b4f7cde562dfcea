"""Killed at random moments and started again: are the results those of a run that never stopped?

    python -m experiments.kills FOLDER --what=people --moments=10
    python -m experiments.kills FOLDER --what=training --moments=10

Runs the program at toy size once without a stop, then as often as there are moments: SIGKILL at a
moment drawn from the last two thirds of that run's time (the first is the start of Python), the
same command again, and everything that was left is compared, array by array. What is found goes to
FOLDER/<what>.jsonl, a line for each moment, with how many people, or which step, the kill has left
(`kept`) and how many people the second start personalized (`made after`); moments that are there
are not done again.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from ttp_jax.files import checkpoint

PEOPLE, FRAMES, STEPS = 12, 4, 24
SMALL = {
    'model.keypoints': 6,
    'model.depth': 10,
    'model.width': 4,
    'model.features': 8,
    'model.image_width': 4,
    'model.heads': 2,
    'model.feedforward': 16,
    'crop.size': 32,
    'data.train_people': 3,
    'data.test_people': PEOPLE,
    'data.frames': FRAMES,
    'data.size': 48,
    'train.batch': 4,
    'train.log_every': 1,
    'train.save_every': 2,
    'personalize.batch': 2,
    'personalize.people_per_chunk': 1,
    'pictures': 0,
}


def command(workdir: pathlib.Path, **changes) -> list[str]:
    """The program at toy size."""
    given = [f'--config.{key}={value}' for key, value in (SMALL | changes).items()]
    start = [sys.executable, '-m', 'ttp_jax.main', '--config=configs/joint.py']
    return [*start, *given, f'--workdir={workdir}']


def start(workdir: pathlib.Path, **changes) -> subprocess.Popen:
    """The program, begun."""
    log = open(workdir.with_suffix('.log'), 'a')
    return subprocess.Popen(
        command(workdir, **changes),
        stdout=log,
        stderr=log,
        env=os.environ
        | {
            'JAX_COMPILATION_CACHE_DIR': str(workdir.parent / 'compiled'),
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
            'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
        },
    )


def run(workdir: pathlib.Path, **changes) -> float:
    """Runs the program to its end; returns its seconds. Raises where it fails."""
    since = time.monotonic()
    if start(workdir, **changes).wait():
        raise RuntimeError(workdir.with_suffix('.log').read_text()[-2000:])
    return time.monotonic() - since


def arrays(workdir: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
    """Everything that was left: predictions and losses, the last state, logged metrics."""
    for path in sorted((workdir / 'predictions').rglob('*.npz')):
        with np.load(path) as file:
            for name in ('joints', 'scores', 'losses', 'status', 'mark'):
                yield f'{path.relative_to(workdir)} {name}', file[name]
    tree = checkpoint.read_everything(workdir)
    for name, array in checkpoint.flat(tree).items():
        yield f'state {name}', np.asarray(array)
    log = workdir / 'metrics.jsonl'
    for line in log.read_text().splitlines() if log.is_file() else ():
        values = json.loads(line)
        yield f'step {values["step"]}', np.array([values['loss'], values['gradient_norm']])


def differing(workdir: pathlib.Path, straight: pathlib.Path) -> list[str]:
    """The names of arrays that are not the same to the bit in two workdirs, or only in one."""
    ours, theirs = dict(arrays(workdir)), dict(arrays(straight))
    return sorted(ours.keys() ^ theirs.keys()) + [
        name
        for name in sorted(ours.keys() & theirs.keys())
        if not np.array_equal(ours[name], theirs[name], equal_nan=ours[name].dtype.kind == 'f')
    ]


def done(workdir: pathlib.Path, what: str) -> int:
    """How far a workdir is: how many people are personalized, or the last step saved."""
    if what == 'training':
        return checkpoint.newest_step(workdir / 'checkpoints') or 0
    return sum(1 for path in (workdir / 'predictions').rglob('*.npz') if 'before' not in path.parts)


def killed(folder: pathlib.Path, moment: float, index: int, what: str, **changes) -> dict:
    """What one kill came to."""
    workdir = folder / f'{what}-{index}'
    shutil.rmtree(workdir, ignore_errors=True)
    process = start(workdir, **changes)
    time.sleep(moment)
    process.kill()
    ended = process.wait() == 0
    kept = done(workdir, what)
    run(workdir, **changes)
    report = json.loads((workdir / 'report.json').read_text())
    again = sum(report['made'].values()) // FRAMES if what == 'people' else None
    differs = differing(workdir, folder / f'{what}-straight')
    result = {'moment': moment, 'was over': ended, 'kept': kept, 'made after': again}
    shutil.rmtree(workdir)
    return result | {'differs': differs, 'failed': len(report['failed'])}


def main() -> None:
    """Does what the module says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=pathlib.Path)
    parser.add_argument('--what', choices=('people', 'training'), default='people')
    parser.add_argument('--moments', type=int, default=10)
    parser.add_argument('--seconds', type=float, default=1e9, help='begin no moment after these')
    arguments = parser.parse_args()
    folder, what, since = arguments.folder.absolute(), arguments.what, time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    changes: dict = {'train.steps': STEPS, 'personalize.schedules': '()'}
    if what == 'people':
        if not (folder / 'network' / 'report.json').is_file():
            run(folder / 'network', **changes | {'train.steps': 2})
        changes = {'train.steps': 0, 'checkpoint': folder / 'network'}
        changes |= {'personalize.schedules': "('online',)"}
    took = folder / f'{what}-seconds.json'
    if not took.is_file():
        run(folder / f'{what}-straight', **changes)
        shutil.rmtree(folder / f'{what}-straight')
        took.write_text(json.dumps(run(folder / f'{what}-straight', **changes)))  # all compiled
    whole, path = json.loads(took.read_text()), folder / f'{what}.jsonl'
    found = len(path.read_text().splitlines()) if path.is_file() else 0
    for index in range(found, arguments.moments):
        if time.monotonic() - since > arguments.seconds:
            break
        moment = random.Random(index).uniform(whole / 3, whole)
        with open(path, 'a') as file:
            file.write(json.dumps(killed(folder, moment, index, what, **changes)) + '\n')
    print(path.read_text())


if __name__ == '__main__':
    main()
