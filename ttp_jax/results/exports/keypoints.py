"""One person's keypoints in one video, and the table that any program can read.

Contract: joints are (x, y) in pixels of the video as shown, pixel centres at integers; frames count
from 0; times are seconds from the first frame; confidence is the height of the joint's heatmap.
"""

import csv
import itertools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ttp_jax.files import whole_file

COLUMNS = ('frame', 'time', 'person', 'joint', 'x', 'y', 'confidence', 'personalized')


class Found(NamedTuple):
    """One person's keypoints in the N frames that they are in, ascending."""

    person: str
    frames: np.ndarray  # [N] int
    times: np.ndarray  # [N] seconds
    boxes: np.ndarray  # [N, 4] x1, y1, x2, y2, the last pixel included
    joints: np.ndarray  # [N, J, 2]
    scores: np.ndarray  # [N, J]
    personalized: np.ndarray  # [N] bool: found by weights of their own


def joined(parts: Sequence[Found]) -> list[Found]:
    """One per person, in the order of their first parts, of people who came in several parts."""
    people: dict[str, list[Found]] = {}
    for part in parts:
        people.setdefault(part.person, []).append(part)
    return [_one(found) for found in people.values()]


def _one(parts: Sequence[Found]) -> Found:
    parts = sorted(parts, key=lambda part: int(part.frames[0]))
    return Found(
        parts[0].person, *(np.concatenate(arrays) for arrays in list(zip(*parts, strict=True))[1:])
    )


def runs(found: Found) -> list[slice]:
    """The stretches of frames without a gap."""
    ends = np.flatnonzero(np.diff(found.frames) != 1) + 1
    edges = [0, *ends.tolist(), len(found.frames)]
    return [slice(first, last) for first, last in itertools.pairwise(edges)]


def write_table(path: pathlib.Path, people: Sequence[Found], *, joints: Sequence[str]) -> None:
    """A CSV of one row per frame, person and joint, by frame; its columns are `COLUMNS`."""
    with whole_file.replacing(path) as temporary, open(temporary, 'w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        for frame, person, row in by_frame(people):
            for joint, (x, y), score in zip(joints, person.joints[row], person.scores[row]):
                numbers = (f'{x:.3f}', f'{y:.3f}', f'{score:.4f}', int(person.personalized[row]))
                time = f'{person.times[row]:.4f}'
                writer.writerow((frame, time, person.person, joint, *numbers))


def by_frame(people: Sequence[Found]) -> list[tuple[int, Found, int]]:
    """(frame, person, row of theirs) of everyone, frame after frame."""
    rows = [
        (int(frame), index, row)
        for index, person in enumerate(people)
        for row, frame in enumerate(person.frames)
    ]
    return [(frame, people[index], row) for frame, index, row in sorted(rows)]
