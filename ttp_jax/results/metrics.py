"""PCK per joint group and per person, and what personalization changed (paper section 4.1).

Predictions and joints are `[frames, joints, 2]`, `(x, y)` in image pixels of the data set's own
labels; visibility is `[frames, joints]`, 0 for a joint that is not seen, else 1 or its weight below
1. Scores are percent. All of it is numpy in float64: metrics run once, on the host.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ttp_jax.data.skeletons import Skeleton


def pck(
    predictions: np.ndarray,
    joints: np.ndarray,
    visibility: np.ndarray,
    *,
    skeleton: Skeleton,
    threshold: float | None = None,
) -> dict[str, float]:
    """Percentage of correct keypoints, as the authors' release computes it.

    A joint is right when its error is at most `threshold` times the frame's reference length: the
    ground-truth torso, whether its joints are visible or not, or a fixed length (BBC Pose). A
    joint's score is over the frames that show it. A group's score is the plain mean of its joints'
    scores (those visible at least once), while mPCK weighs every joint of the skeleton by its
    visible count, so it also counts joints in no group.

    Args:
      predictions: `[frames, joints, 2]`, image pixels.
      joints: `[frames, joints, 2]`, ground truth, image pixels.
      visibility: `[frames, joints]`, 0 to 1. The release scores BBC Pose on every joint: its
        labels are all ones.
      skeleton: the data set's joints.
      threshold: overrides `skeleton.threshold`.

    Returns:
      Group name to percent, then `'mPCK'`. NaN where nothing is visible.

    Raises:
      ValueError: shapes disagree with each other or with the skeleton, or a prediction is not
        finite.
    """
    found = right_joints(predictions, joints, skeleton=skeleton, threshold=threshold)
    visibility = _checked('visibility', visibility, found.shape, skeleton)
    right = found * visibility
    per_joint = _percent(right.sum(axis=0), visibility.sum(axis=0))
    scores = {
        group: _mean_of_scored(per_joint[list(members)]) for group, members in skeleton.groups
    }
    return scores | {'mPCK': float(_percent(right.sum(), visibility.sum()))}


def right_joints(
    predictions: np.ndarray,
    joints: np.ndarray,
    *,
    skeleton: Skeleton,
    threshold: float | None = None,
) -> np.ndarray:
    """Which joints are right, whether they are visible or not: `[frames, joints]` bool.

    The one place where this is decided, for scores and pictures alike. Arguments as for `pck`, in
    image pixels: BBC Pose's limit is a fixed number of them.

    Raises:
      ValueError: as `pck` does.
    """
    shape = (len(joints), len(skeleton.joints), 2)
    predictions = _checked('predictions', predictions, shape, skeleton)
    joints = _checked('joints', joints, shape, skeleton)
    bad = np.argwhere(~np.isfinite(predictions))
    if bad.size:
        joint = skeleton.joints[bad[0, 1]]
        raise ValueError(f'prediction of {joint} in frame {bad[0, 0]} is not finite')
    limit = skeleton.threshold if threshold is None else threshold
    limits = limit * _reference_length(joints, skeleton)
    return np.linalg.norm(predictions - joints, axis=-1) <= limits[:, None]


def _checked(
    name: str, values: np.ndarray, shape: tuple[int, ...], skeleton: Skeleton
) -> np.ndarray:
    """The values in float64, if they have this shape."""
    if np.shape(values) != shape:
        found = np.shape(values)
        raise ValueError(f'{name} have shape {found}, expected {shape} for {skeleton.name}')
    return np.asarray(values, np.float64)


def _reference_length(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """What errors are measured in, `[frames]` image pixels: torsos, or the skeleton's unit."""
    if skeleton.torso is None:
        return np.full(len(joints), skeleton.unit)
    top, bottom = (joints[:, list(members)].mean(axis=1) for members in skeleton.torso)
    return np.linalg.norm(top - bottom, axis=-1)


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid='ignore'):
        return 100.0 * part / whole


def _mean_of_scored(scores: np.ndarray) -> float:
    scored = scores[np.isfinite(scores)]
    return float(scored.mean()) if scored.size else float('nan')


def people_pck(
    predictions: Sequence[np.ndarray],
    joints: Sequence[np.ndarray],
    visibility: Sequence[np.ndarray],
    *,
    skeleton: Skeleton,
    threshold: float | None = None,
) -> np.ndarray:
    """mPCK of each person, `[people]` percent; NaN for a person with no visible joint at all.

    Every sequence holds one array per person, shaped as for `pck`.
    """
    if not len(predictions) == len(joints) == len(visibility):
        raise ValueError(
            f'found {len(predictions)} people in predictions, {len(joints)} in joints and'
            f' {len(visibility)} in visibility, expected as many in each'
        )
    score = functools.partial(pck, skeleton=skeleton, threshold=threshold)
    people = zip(predictions, joints, visibility, strict=True)
    return np.array([score(*person)['mPCK'] for person in people])


def pooled_pck(
    predictions: Sequence[np.ndarray],
    joints: Sequence[np.ndarray],
    visibility: Sequence[np.ndarray],
    *,
    skeleton: Skeleton,
    threshold: float | None = None,
) -> dict[str, float]:
    """`pck` over all frames of all people together: the number that the paper's tables give.

    Every sequence holds one array per person, shaped as for `pck`.
    """
    stacked = (np.concatenate(list(values)) for values in (predictions, joints, visibility))
    return pck(*stacked, skeleton=skeleton, threshold=threshold)


class Comparison(NamedTuple):
    """What a change did to people's scores; people without a score on both sides are left out."""

    people: int
    improved: int
    hurt: int
    unchanged: int
    mean_gain: float  # percentage points, each person counting once
    interval: tuple[float, float]  # bootstrap over people


def compare_people(
    before: np.ndarray,
    after: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compares two scores per person: an average gain hides whom it hurts.

    Args:
      before: `[people]` percent, NaN for people without a score.
      after: `[people]` percent, the same people in the same order.
      confidence: of the percentile bootstrap interval of the mean gain.
      resamples: of the bootstrap.
      seed: of the bootstrap; the same scores always give the same interval.

    Raises:
      ValueError: lengths differ, or nobody has a score on both sides.
    """
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if before.shape != after.shape or before.ndim != 1:
        raise ValueError(
            f'scores have shapes {before.shape} before and {after.shape} after, expected one per'
            ' person in both'
        )
    gain = (after - before)[np.isfinite(before) & np.isfinite(after)]
    if not gain.size:
        raise ValueError(f'none of {before.size} people has a score both before and after')
    draws = np.random.default_rng(seed).choice(gain, (resamples, gain.size)).mean(axis=1)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(draws, (tail, 100.0 - tail))
    counts = (int((gain > 0).sum()), int((gain < 0).sum()), int((gain == 0).sum()))
    return Comparison(gain.size, *counts, float(gain.mean()), (float(low), float(high)))
