"""Keypoints as DeepLabCut writes the analysis of a video: a CSV of several header rows, and HDF5.

Rows are the frames from the first that anybody is in to the last; columns are scorer, individual
(where there are several), body part, and x, y or likelihood. Empty: the person is not in the frame.
"""

import csv
import importlib.util
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np

from ttp_jax.files import whole_file
from ttp_jax.results.exports.keypoints import Found

SCORER, _COORDS = 'ttp_jax', ('x', 'y', 'likelihood')


def write_csv(path: pathlib.Path, people: Sequence[Found], *, joints: Sequence[str]) -> None:
    """The CSV that DeepLabCut and what is built on it read."""
    frames, table = _table(people)
    names, columns = _columns(people, joints)
    with whole_file.replacing(path) as temporary, open(temporary, 'w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        for name, level in zip(names, zip(*columns)):
            writer.writerow([name, *level])
        for frame, row in zip(frames, table):
            writer.writerow([frame, *('' if np.isnan(v) else f'{v:.4f}' for v in row)])


def writes_hdf5() -> bool:
    """Whether the packages for HDF5 are there: `pip install 'ttp_jax[deeplabcut]'`."""
    return all(importlib.util.find_spec(name) for name in ('pandas', 'tables'))


def write_hdf5(path: pathlib.Path, people: Sequence[Found], *, joints: Sequence[str]) -> None:
    """The same as a pandas table under the key that DeepLabCut reads."""
    import pandas  # optional, and slow to import

    frames, table = _table(people)
    names, columns = _columns(people, joints)
    frame = pandas.DataFrame(
        table, index=frames, columns=pandas.MultiIndex.from_tuples(columns, names=names)
    )
    with whole_file.replacing(path) as temporary:
        frame.to_hdf(temporary, key='df_with_missing', format='table', mode='w')


def _columns(people: Sequence[Found], joints: Sequence[str]):
    """The names of the header's rows, and each column's values in them."""
    parts = [joint.replace(' ', '_') for joint in joints]
    if len(people) == 1:
        columns = itertools.product([SCORER], parts, _COORDS)
        return ('scorer', 'bodyparts', 'coords'), list(columns)
    individuals = [person.person for person in people]
    names = ('scorer', 'individuals', 'bodyparts', 'coords')
    return names, list(itertools.product([SCORER], individuals, parts, _COORDS))


def _table(people: Sequence[Found]) -> tuple[np.ndarray, np.ndarray]:
    """Frames `[F]`, and `[F, people * joints * 3]`, NaN where somebody is not there."""
    first = min(int(person.frames[0]) for person in people)
    last = max(int(person.frames[-1]) for person in people)
    frames = np.arange(first, last + 1)
    blocks = []
    for person in people:
        values = np.concatenate([person.joints, person.scores[..., None]], axis=-1)
        block = np.full((len(frames), values[0].size), np.nan)
        block[person.frames - first] = values.reshape(len(values), -1)
        blocks.append(block)
    return frames, np.concatenate(blocks, axis=1)
