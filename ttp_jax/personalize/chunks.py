"""Who is adapted side by side: people of similar clips share a chunk, padded to one shape.

Contract: a chunk is one call of a compiled program, for as many people as its bucket says. Buckets
follow from everyone, chunks from those who are left, so that a person meets the same program
whether the others are done already or not.
"""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from ttp_jax.data import clips
from ttp_jax.personalize.inner_loop import Person

# Clips that differ less than this share a bucket, since another shape is another compilation.
_SHORT, _SMALL = 64, 256  # frames, pixels of the longer side


class Bucket(NamedTuple):
    """People whose clips are padded to one shape, `together` of them in each chunk."""

    members: tuple[int, ...]  # the longest clip first
    frames: int  # of the longest clip
    size: tuple[int, int]  # (height, width) that holds every member's frames
    together: int = 1

    @property
    def clip_bytes(self) -> int:
        """What one person's padded frames take."""
        return 3 * self.frames * math.prod(self.size)


class Chunk(NamedTuple):
    """People adapted in one call; whoever comes twice is there to fill it up."""

    members: tuple[int, ...]
    frames: int
    size: tuple[int, int]


def buckets(lengths: Sequence[int], sizes: Sequence[tuple[int, int]]) -> list[Bucket]:
    """People in groups of clips at most about twice as long and as wide as each other.

    lengths `[people]` frames; sizes `[people]` of (height, width). Without groups one long clip
    would make everybody's padding as long as itself.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        key = _doublings(lengths[index], _SHORT), _doublings(max(sizes[index]), _SMALL)
        groups.setdefault(key, []).append(index)
    return [
        Bucket(
            tuple(members),
            max(lengths[i] for i in members),
            (max(sizes[i][0] for i in members), max(sizes[i][1] for i in members)),
        )
        for members in groups.values()
    ]


def _doublings(value: int, least: int) -> int:
    """How often `least` has to be doubled to reach `value`."""
    return max(0, math.ceil(math.log2(value / least)))


def people_together(people: int, *, most: int, devices: int) -> int:
    """How many of `people` go into a chunk: at most `most`, evenly filled, the same on each device.

    A multiple of `devices`, of which there must not be more than `most`.
    """
    most = most // devices * devices
    count = math.ceil(people / most)
    return math.ceil(math.ceil(people / count) / devices) * devices


def chunks(bucket: Bucket, done: Collection[int] = ()) -> list[Chunk]:
    """The members who are not done, `together` at a time; the last are repeated to fill up."""
    left = [index for index in bucket.members if index not in done]
    size = bucket.together
    return [
        Chunk(tuple((left[i : i + size] * size)[:size]), bucket.frames, bucket.size)
        for i in range(0, len(left), size)
    ]


def segments(length: int, segment: int) -> list[np.ndarray]:
    """Indices of a clip's frames, `segment` at a time; the last ones may lie behind its end."""
    return [
        np.arange(first, first + segment, dtype=np.int32) for first in range(0, length, segment)
    ]


def stack_people(people: Sequence[clips.Clip], *, frames: int, size: tuple[int, int]) -> Person:
    """Clips as one batch of people, zero-padded to `frames` frames of `size` (height, width).

    Raises:
      ValueError: for a frame that cannot be read or is of another size than its clip's first.
    """
    batch, reasons = stack_readable(people, frames=frames, size=size)
    if wrong := [reason for reason in reasons if reason]:
        raise ValueError(wrong[0])
    return batch


def stack_readable(
    people: Sequence[clips.Clip], *, frames: int, size: tuple[int, int]
) -> tuple[Person, list[str]]:
    """(as `stack_people`, by person '' or why their frames cannot be read).

    A clip that cannot be read is black: others of the batch are computed as if it could.
    """
    padded = np.zeros((len(people), frames, *size, 3), np.uint8)
    boxes = np.zeros((len(people), frames, 4), np.float32)
    boxes[:] = (0, 0, size[1], size[0])  # a box of no size has no crop, not even a padded one
    sizes = np.full((len(people), 2), size, np.int32)
    reasons = [''] * len(people)
    for i, clip in enumerate(people):
        try:
            stacked = clips.stack_clip(clip)
        except ValueError as error:
            reasons[i] = str(error)
            continue
        n, h, w, _ = stacked.shape
        padded[i, :n, :h, :w] = stacked
        boxes[i, :n] = clip.boxes
        sizes[i] = h, w
    lengths = np.array([len(clip.frames) for clip in people], np.int32)
    return Person(padded, sizes, boxes, lengths), reasons
