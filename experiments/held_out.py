"""How do scores fall from people a network was trained on to people and videos it never met?

    python -m experiments.held_out MODEL ROOT [--parts=train,validation,test] [--clips=40]

MODEL is a packed model of configs/real.py (`python -m ttp_jax.files.pack WORKDIR MODEL` makes one
of a run, finished or not), ROOT its first folder. Nobody is personalized. Prints mPCK@0.2 of each
part of the folder (sources trained on, sources held out, test clips; of each at most so many,
spread evenly), as predicted and with the mirror image's heatmaps averaged in, and the score of
each action.
"""

import argparse
import collections
import pathlib
from collections.abc import Sequence

import numpy as np

from experiments import looks
from ttp_jax import main
from ttp_jax.data import clips, mixed, penn_action


def action(root: str, clip: clips.Clip) -> str:
    """What its label says that the person does."""
    return penn_action.read_labels(pathlib.Path(root) / 'labels' / f'{clip.id}.mat').action


def row(name: str, found: Sequence[np.ndarray], people: Sequence[clips.Clip]) -> None:
    """Prints one line: all joints, then each group."""
    score, groups = looks.scores_of(found, people)
    print(f'{name:<28} {len(people):3} clips  {score:5.1f}  {groups}', flush=True)


def study(network: looks.Network, root: str, part: str, *, limit: int) -> None:
    """The rows of one part of a folder."""
    people = mixed.part(root, part, validation=looks.VALIDATION)
    people = people[:: max(1, len(people) // limit)][:limit] if limit else people
    seen = looks.Study(network, people, scales=(1.0,))
    for looked, name in enumerate((part, f'{part} and mirrored'), 1):
        found = seen.each(seen.peaks(looked, 'taylor')[0][:, :, 0])
        row(name, found, people)
    groups = collections.defaultdict(list)
    for joints, clip in zip(found, people, strict=True):
        groups[action(root, clip)].append((joints, clip))
    for name, members in sorted(groups.items()):
        row(f'  {name} (mirrored)', *map(list, zip(*members, strict=True)))


def command() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model')
    parser.add_argument('root')
    parser.add_argument('--parts', default='train,validation,test')
    parser.add_argument('--clips', type=int, default=0, help='of each part at most; 0: all')
    asked = parser.parse_args()
    main.keep_compiled_programs()
    network = looks.read(asked.model)
    for part in asked.parts.split(','):
        study(network, asked.root, part, limit=asked.clips)


if __name__ == '__main__':
    command()
