"""Motion for drawn people from a folder of Penn Action's label files, `*.mat`.

Joints are `[frames, 13, 2]`, (x, y) in the video's own pixels. What the labels do not tell and a
painter needs is guessed: where absent joints are, which way a body is turned, which limb is nearer.
"""

import dataclasses
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter1d

from ttp_jax.data import penn_action
from ttp_jax.data.drawn.motion import (
    ANKLES,
    ELBOWS,
    HEAD,
    HIPS,
    KNEES,
    SHOULDERS,
    WRISTS,
    Motion,
    trunk_axes,
    trunk_length,
)
from ttp_jax.data.skeletons import PENN_ACTION

_LEFT, _RIGHT = zip(SHOULDERS, ELBOWS, WRISTS, HIPS, KNEES, ANKLES, strict=True)
_MAX_STEP = 3  # frames of the label per frame drawn, at most
_LONGEST_LIMB = 1.6  # trunk lengths


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledBody:
    """One label: a place for every joint `[frames, 13, 2]`, and their visibility `[frames, 13]`."""

    joints: np.ndarray
    visibility: np.ndarray


def read_labels(folder: str | Path, split: str) -> list[LabelledBody]:
    """The labels of one split that can be drawn, in order of file name.

    Left out are labels that place fewer than 11 joints in most frames, whose limbs are longer than
    a body has them, or that wander so far that the person would be drawn tiny.

    Args:
      folder: of `*.mat` files as in Penn Action's `labels`.
      split: 'train' or 'test', by the labels' own field `train`.

    Raises:
      ValueError: if the folder is missing or holds no such label, naming it; if a file cannot be
        read or lacks a field, naming both.
    """
    paths = sorted(Path(folder).glob('*.mat'))
    if not paths:
        raise ValueError(f'{folder}: expected a folder of Penn Action labels (*.mat), found none')
    labels = [label for label in map(penn_action.read_labels, paths) if label.split == split]
    bodies = [_body(label) for label in labels if _shows_body(_placed(label))]
    bodies = [body for body in bodies if _has_human_limbs(body.joints) and _stays(body.joints)]
    if not bodies:
        raise ValueError(
            f'{folder}: expected labels that show a whole body, found none among the '
            f'{len(labels)} of split {split!r} ({len(paths)} files)'
        )
    return bodies


def _body(label: penn_action.Label) -> LabelledBody:
    return LabelledBody(_completed(_placed(label)), label.visibility.astype(np.float64))


def _placed(label: penn_action.Label) -> np.ndarray:
    """Joints, [frames, 13, 2]; NaN where the annotator gave no place: (1, 1) in the files."""
    nowhere = (label.joints <= 1).all(axis=-1) & (label.visibility == 0)
    return np.where(nowhere[..., None], np.nan, label.joints.astype(np.float64))


def _shows_body(placed: np.ndarray) -> bool:
    """Whether half of the frames place 11 joints, a shoulder and a hip among them."""
    often = (~np.isnan(placed[..., 0])).mean(axis=0) >= 0.5
    return often.sum() >= 11 and often[SHOULDERS].any() and often[HIPS].any()


def _has_human_limbs(joints: np.ndarray) -> bool:
    chains = (SHOULDERS, ELBOWS), (ELBOWS, WRISTS), (HIPS, KNEES), (KNEES, ANKLES)
    limbs = np.stack([joints[:, end] - joints[:, start] for start, end in chains])
    longest = np.linalg.norm(limbs, axis=-1).max(axis=(0, 2))
    return np.percentile(longest, 99) <= _LONGEST_LIMB * trunk_length(joints)


def _stays(joints: np.ndarray) -> bool:
    """Whether the body is at least half as large as the room it moves in."""
    own = np.ptp(joints, axis=1).max(axis=-1)
    return np.median(own) >= 0.5 * np.ptp(joints, axis=(0, 1)).max()


def follow_label(body: LabelledBody, rng: np.random.Generator, frames: int) -> Motion:
    """A random window of the label as a motion of `frames` frames; unit: the video's pixels.

    Long labels are subsampled, at most every third frame; short ones go back and forth.
    """
    window = _window(len(body.joints), rng, frames)
    joints, visibility = body.joints[window], body.visibility[window]
    facing, heading = _guess_turn(joints, visibility)
    return Motion(joints, visibility, _guess_depth(joints, facing, heading), facing, heading)


def _window(available: int, rng: np.random.Generator, frames: int) -> np.ndarray:
    """Frame numbers of a label with `available` frames, [frames]."""
    step = min(max(available // frames, 1), _MAX_STEP)
    start = rng.integers(max(available - step * (frames - 1), 1))
    there_and_back = np.concatenate([np.arange(available), np.arange(available - 2, 0, -1)])
    return there_and_back[(start + step * np.arange(frames)) % len(there_and_back)]


def _completed(joints: np.ndarray) -> np.ndarray:
    """Fills in absent joints: from other frames, else the other side, else along the limb."""
    filled = _interpolated(joints)
    filled = _or_else(filled, filled[:, PENN_ACTION.mirror])
    shoulder, hip = filled[:, SHOULDERS].mean(axis=1), filled[:, HIPS].mean(axis=1)
    filled[:, HEAD] = _or_else(filled[:, HEAD], shoulder + 0.45 * (shoulder - hip))
    for upper, middle, lower in ((SHOULDERS, ELBOWS, WRISTS), (HIPS, KNEES, ANKLES)):
        start, down = filled[:, upper], 0.7 * (hip - shoulder)[:, None]
        filled[:, middle] = _or_else(filled[:, middle], start + down)
        straight = 2 * filled[:, middle] - start
        filled[:, lower] = _or_else(filled[:, lower], straight)
    return filled


def _or_else(points: np.ndarray, guess: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(points), guess, points)


def _interpolated(joints: np.ndarray) -> np.ndarray:
    """Linear in time, constant before the first place and after the last; NaN if there is none."""
    filled, time = joints.copy(), np.arange(len(joints))
    for joint in range(joints.shape[1]):
        known = ~np.isnan(joints[:, joint, 0])
        for axis in range(2) if known.any() else ():
            filled[:, joint, axis] = np.interp(time, time[known], joints[known, joint, axis])
    return filled


def _guess_turn(joints: np.ndarray, visibility: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of the body's turn, [frames] each.

    The shoulders' span tells how far; which way, the side that is hidden, else the knees.
    """
    down, across = trunk_axes(joints)
    length = np.maximum(np.linalg.norm(down, axis=-1), 1e-6)
    span = ((joints[:, SHOULDERS[0]] - joints[:, SHOULDERS[1]]) * across).sum(-1) / length
    cos = np.clip(uniform_filter1d(span, 5, mode='nearest') / (0.7 * trunk_length(joints)), -1, 1)
    hidden = visibility[:, _RIGHT].mean() - visibility[:, _LEFT].mean()
    way = hidden if abs(hidden) > 0.05 else _knee_side(joints, across)
    return cos, np.copysign(np.sqrt(1 - cos**2), way)


def _knee_side(joints: np.ndarray, across: np.ndarray) -> float:
    """Positive where knees bend to the image's right of the body: knees bend forwards."""
    middle = (joints[:, HIPS] + joints[:, ANKLES]) / 2
    return float(((joints[:, KNEES] - middle) * across[:, None]).sum())


def _guess_depth(joints: np.ndarray, facing: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """The depth of a body that holds its hands in front: enough to know what covers what."""
    depth = np.zeros(joints.shape[:2])
    depth[:, _LEFT], depth[:, _RIGHT] = -0.3 * heading[:, None], 0.3 * heading[:, None]
    depth[:, ELBOWS] += 0.1 * facing[:, None]
    depth[:, WRISTS] += 0.3 * facing[:, None]
    return depth * trunk_length(joints)
