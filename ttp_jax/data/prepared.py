"""Reads back the data sets that `builders` wrote.

Contract: `clips` gives what the data set's own reader gives, to the bit: the same ids, labels and
pixels in the same order, without the folder that it was prepared from. `frames` and `labels` are
the records that it is made from: random access, picklable, ready for Grain.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import tensorflow_datasets as tfds

from ttp_jax.data import builders, images
from ttp_jax.data.clips import Clip, Labels, check_request, unreadable


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Record:
    """One record of `frames`, as an item of `images.Frames`."""

    source: Sequence[dict[str, Any]]
    index: int
    name: str  # of the source

    def read_bytes(self) -> bytes:
        """The image as it was encoded."""
        return self.source[self.index]['image']

    def __str__(self) -> str:
        return f'record {self.index} of {self.name}'


def clips(
    name: str, data_dir: str | os.PathLike, *, split: str, limit: int | None = None
) -> list[Clip]:
    """The clips of one split of the data set `name`, prepared in `data_dir`; frames stay there.

    Raises:
      ValueError: there is no such data set, it has not been prepared in `data_dir`, or its frames
        were not prepared together with its labels. Test clips that lack frames are
        `clips.Unreadable` instead, if others have theirs.
    """
    check_request(split, limit)
    table, records = (read(name, data_dir, split=split) for read in (labels, frames))
    found, expected = len(records), sum(len(label['joints']) for label in table)
    if found > expected or (found < expected and split == 'train'):
        raise ValueError(
            f'{data_dir}: {name} ({split}) has {found} frames, its labels {expected}; '
            'prepare it anew'
        )
    people = [_clip(label, records, f'{name} ({split}) in {data_dir}') for label in table]
    return people[:limit]


def _clip(label: dict[str, Any], records: Sequence[dict[str, Any]], name: str) -> Clip:
    start, size = label['clip_start'], tuple(label['size'].tolist())
    end, clip = start + len(label['joints']), label['clip'].decode()
    if end > len(records):
        return unreadable(
            clip, f'clip {clip}: its frames end at record {end}, but {name} has {len(records)}'
        )
    items = [Record(records, start + t, name) for t in range(len(label['joints']))]
    return Clip(
        clip,
        images.Frames(items, size if any(size) else None),
        label['boxes'],
        Labels(label['joints'], label['visibility']),
    )


def frames(name: str, data_dir: str | os.PathLike, *, split: str) -> Sequence[dict[str, Any]]:
    """Every frame of a split as a dict of arrays (`builders._frame_features`), images encoded.

    Raises:
      ValueError: as `clips` does.
    """
    builder = _builder(name, builders.FRAMES, data_dir)
    return builder.as_data_source(split, decoders={'image': tfds.decode.SkipDecoding()})


def labels(name: str, data_dir: str | os.PathLike, *, split: str) -> Sequence[dict[str, Any]]:
    """Every clip of a split as a dict of arrays (`builders._clip_features`).

    Raises:
      ValueError: as `clips` does.
    """
    return _builder(name, builders.CLIPS, data_dir).as_data_source(split)


def _builder(name: str, config: str, data_dir: str | os.PathLike) -> builders.ClipsBuilder:
    builder = builders.create(name, config, data_dir)
    if not builder.data_path.is_dir():
        raise ValueError(
            f'{builder.data_path}: no such folder, expected {name} as '
            f'`python -m ttp_jax.data.prepare {name}` writes it'
        )
    return builder
