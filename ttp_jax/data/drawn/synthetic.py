"""Drawn people: the embedded data set, which needs no download.

A clip is one person (own build, clothes with patterns, skin, hair) in whole-body motion before one
cluttered background that stands still, under its own light, with a little sensor noise. Clips hold
  frames  [frames, size, size, 3] RGB uint8
  joints  [frames, 13, 2]  (x, y) image pixels, 0-based, pixel centres at integers, in Penn Action's
          order, exactly where they were drawn
  boxes   [frames, 4]      x1, y1, x2, y2 image pixels
A joint is visible (1) unless it is outside the frame: one that the body hides stays visible, since
annotators guess it too. People who move like Penn Action's labels keep the labels' visibility.

Everything follows from (seed, split, person) through PCG64 and drawing in integers, so a person
does not depend on the machine nor on how many others are drawn, and no one is in both splits.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ttp_jax.data.clips import SPLITS, Clip, Labels
from ttp_jax.data.drawn.figure import dress, paint_person
from ttp_jax.data.drawn.label_motion import LabelledBody, follow_label, read_labels
from ttp_jax.data.drawn.motion import ANKLES, Motion, act, fit_to_frame, trunk_length
from ttp_jax.data.drawn.scenery import any_light, expose, paint_background

_BOX_MARGIN = 0.12  # trunk lengths; the crop adds a quarter of the box itself


def drawn_clips(
    *, seed: int, split: str, people: int, frames: int, size: int, motion: str | Path | None = None
) -> list[Clip]:
    """Draws people 0 .. people - 1 of a split, one clip each.

    Args:
      seed: of the whole data set, 0 or more.
      split: 'train' or 'test'; clips are called 'train-00000' and so on.
      people: how many.
      frames: per clip.
      size: of the square frames, pixels; a person takes about 50 to 75 % of it.
      motion: None, or a folder of Penn Action's label files to take people's motion from. People
        get the labels of the same split, shuffled by the seed; when all are used, they come round
        again in other clothes.

    Raises:
      ValueError: for arguments out of range, for a folder without usable labels, and for a label
        file that cannot be read or lacks a field.
    """
    if people < 1:
        raise ValueError(f'people is {people}, expected at least 1')
    _check(split=split, frames=frames, size=size)
    labels = None if motion is None else read_labels(motion, split)
    return [
        _draw(person, seed=seed, split=split, frames=frames, size=size, labels=labels)
        for person in range(people)
    ]


def _check(*, split: str, frames: int, size: int) -> None:
    if split not in SPLITS:
        raise ValueError(f'split is {split!r}, expected one of {SPLITS}')
    if frames < 2:
        raise ValueError(f'frames is {frames}, expected at least 2 (a source besides the target)')
    if size < 32:
        raise ValueError(f'size is {size} pixels, expected at least 32')


def _draw(
    person: int,
    *,
    seed: int,
    split: str,
    frames: int,
    size: int,
    labels: Sequence[LabelledBody] | None,
) -> Clip:
    # One stream per concern: a change to how people move leaves their clothes as they were.
    moves, clothes, scene, light, noise = _streams(seed, SPLITS.index(split), person)
    if labels is None:
        motion = act(moves, frames)
    else:
        motion = follow_label(_choose_label(person, seed, split, labels), moves, frames)
    motion = fit_to_frame(motion, moves, size)
    background, colours = paint_background(scene, size, ground=_lowest(motion) / size)
    look, gain = dress(clothes, colours), any_light(light, size)
    images = np.stack([paint_person(background, motion, frame, look) for frame in range(frames)])
    return Clip(
        id=f'{split}-{person:05d}',
        frames=expose(images, gain, noise),
        boxes=_boxes(motion, size),
        labels=Labels(motion.joints.astype(np.float32), motion.visibility.astype(np.float32)),
    )


def _streams(seed: int, *key: int, count: int = 5) -> list[np.random.Generator]:
    children = np.random.SeedSequence(seed, spawn_key=key).spawn(count)
    return [np.random.Generator(np.random.PCG64(child)) for child in children]


def _choose_label(
    person: int, seed: int, split: str, labels: Sequence[LabelledBody]
) -> LabelledBody:
    (shuffle,) = _streams(seed, SPLITS.index(split), count=1)
    return labels[shuffle.permutation(len(labels))[person % len(labels)]]


def _lowest(motion: Motion) -> float:
    return float(motion.joints[:, ANKLES, 1].max())


def _boxes(motion: Motion, size: int) -> np.ndarray:
    """Extent of the joints and a margin, clipped to the frame, [frames, 4]."""
    margin = _BOX_MARGIN * trunk_length(motion.joints)
    low, high = motion.joints.min(axis=1) - margin, motion.joints.max(axis=1) + margin
    return np.clip(np.concatenate([low, high], axis=-1), 0, size - 1).astype(np.float32)
