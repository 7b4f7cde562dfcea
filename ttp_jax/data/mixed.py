"""Several folders of clips and drawn people as one data set, with whole source videos held out.

Contract: every folder is laid out as Penn Action's, and a `videos.json` beside `labels` says which
video each clip was cut from (`penn_action.sources`). The first folder's labels are the truth:
validation and test clips come from it alone. The others, say those of a pose estimator, are trained
on. No source is on two sides: a held-out video's clips are left out of training in whichever folder
they lie.

Joints and boxes count pixels from 0, where the files (and `penn_action`, like the release) count
from 1. The difference is not just one of names: a label that lies a pixel to the right of what it
means lies a pixel to the left of it in a mirror image. A network that learns from both finds the
middle, and every prediction is a pixel too far left.
"""

import dataclasses
import zlib
from collections.abc import Sequence

from ttp_jax.data import penn_action
from ttp_jax.data.clips import Clip

PARTS = ('test', 'validation', 'train')


def held_out(source: str, share: float) -> bool:
    """Whether a source video is of the validation part: about `share` of all names are.

    It follows from the name alone, so that videos which are added later move no other one.
    """
    return zlib.crc32(source.encode()) < share * 2**32


def training_clips(roots: Sequence[str], *, validation: float) -> list[Clip]:
    """The clips to train on of all folders, one folder after the other, frames still on disk.

    None is of a source that the first folder tests on.

    Raises:
      ValueError: as `part` does.
    """
    clips = [clip for root in roots for clip in part(root, 'train', validation=validation)]
    tested = _tested(roots[0])
    return [clip for clip in clips if clip.source not in tested]


def _tested(root: str) -> set[str]:
    """The sources that a folder tests on."""
    try:
        return {clip.source for clip in _clips(root, 'test')} - {''}
    except ValueError:  # it has no test split, as one that is used for its validation part may
        return set()


def part(root: str, name: str, *, validation: float) -> list[Clip]:
    """The clips of one part of a folder: 'test', or of its training split 'validation' or 'train'.

    Args:
      validation: the share of source videos that is held out of the training split.

    Raises:
      ValueError: for another part, for a clip without a source, and as `penn_action.sources` and
        `penn_action.penn_action_clips` do.
    """
    if name not in PARTS:
        raise ValueError(f'part is {name!r}, expected one of {PARTS}')
    if name == 'test':
        return _clips(root, 'test')
    source = penn_action.sources(root)
    people = _clips(root, 'train')
    if missing := [clip.id for clip in people if clip.id not in source]:
        raise ValueError(f'{root}/videos.json: clip {missing[0]} is missing, expected its source')
    wanted = name == 'validation'
    return [clip for clip in people if held_out(source[clip.id], validation) == wanted]


def _clips(root: str, split: str) -> list[Clip]:
    return [_from_zero(clip) for clip in penn_action.penn_action_clips(root, split=split)]


def _from_zero(clip: Clip) -> Clip:
    """The clip with joints and boxes that count pixels from 0."""
    labels = clip.labels
    if labels is not None:
        labels = labels._replace(joints=labels.joints - 1)
    return dataclasses.replace(clip, boxes=clip.boxes - 1, labels=labels)
