"""Which parameters move: mPCK, seconds and bytes of each named group.

    python experiments/moving_parts.py WORKDIR [--people=4] [--schedule=offline] \
        [--groups='encoder,norms']

WORKDIR is a finished run. Its test people are adapted anew with each group alone free to move (the
objective's own frozen leaves stay frozen, but for norms). `s/frame` is the time of a frame's steps
once the program is compiled; `state` what a person takes while adapted: weights, their gradient and
Adam's two moments; `file` what is saved of them in the usual form.
"""

import argparse
import pathlib
import tempfile
import time
from typing import NamedTuple

import numpy as np
from adaptation import finished_run, scores

from ttp_jax.files import personal
from ttp_jax.objectives.objective import LABELLED_HEAD, NORMS
from ttp_jax.personalize import partition
from ttp_jax.run import adaptation, build

GROUPS: dict[str, tuple[str, ...]] = {  # what is frozen
    "the objective's": (),
    'everything': ('nothing',),
    'encoder': ('all but encoder', NORMS),
    'last layers': ('all but last', NORMS),
    'head': ('all but head',),
    'image networks': ('all but images', NORMS),
    'all but image networks': ('images', NORMS, LABELLED_HEAD),
    'norms': ('all but norms',),
}
COPIES = 4  # weights, gradient, two moments


class Row(NamedTuple):
    """score: pooled mPCK; each: of each person; seconds: of a frame; numbers: that move."""

    score: float
    each: np.ndarray
    seconds: float
    numbers: int
    file: float


def row(run: build.Run, schedule: str, frozen: tuple[str, ...]) -> Row:
    """Adapts everyone with one group."""
    run.config.personalize.update({'frozen': frozen, 'save_weights': 'int4'})
    vars(run).pop('placement', None)  # it follows from what moves
    results, ends = [], [time.monotonic()]
    for index, result in adaptation.personalize(run, schedule):
        results.append((index, result))
        ends.append(time.monotonic())
    first = len(set(run.placement.chunks()[0].members))  # their time is that of compiling
    later = sum(len(run.people[index].frames) for index, _ in results[first:])
    score, each = scores(run, iter(results))
    base = run.shared.trainable
    return Row(
        score,
        each,
        (ends[-1] - ends[first]) / later,
        sum(leaf.size for leaf in base.values()),
        float(np.mean([file_bytes(result.learned or {}, base) for _, result in results])),
    )


def file_bytes(learned: partition.Flat, base: partition.Flat) -> int:
    """Bytes of a person's file in the usual form, which leaves out what only draws."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / 'person.npz'
        personal.save(path, learned, base, digest='')
        return path.stat().st_size


def study() -> None:
    """Prints the table, a row after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('workdir', type=pathlib.Path)
    parser.add_argument('--people', type=int, default=4)
    parser.add_argument('--schedule', default='offline')
    parser.add_argument('--groups', type=lambda names: names.split(','), default=list(GROUPS))
    arguments = parser.parse_args()
    run = finished_run(arguments.workdir, people=arguments.people)
    before, known = scores(run, adaptation.predict(run))
    print(f'before {before:.1f}', flush=True)
    print('moves | mPCK | better / worse | s/frame | numbers | state, MB | file, kB', flush=True)
    for name in arguments.groups:
        found = row(run, arguments.schedule, GROUPS[name])
        better, worse = (found.each > known).sum(), (found.each < known).sum()
        state = COPIES * 4 * found.numbers / 1e6
        print(
            f'{name:<22} | {found.score:5.1f} | {better} / {worse} | {found.seconds:.3f} | '
            f'{found.numbers:9,} | {state:6.1f} | {found.file / 1e3:.0f}',
            flush=True,
        )


if __name__ == '__main__':
    study()
