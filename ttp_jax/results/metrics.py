"""PCK and OKS, and what personalization changed for each person (paper section 4.1).

Predictions and joints are `[frames, joints, 2]`, `(x, y)` in image pixels of the data set's own
labels; visibility is `[frames, joints]`, 0 for a joint that is not seen, else 1 or its weight below
1. Scores are percent. All of it is numpy in float64: metrics run once, on the host.
"""

import dataclasses
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
    ground-truth torso, whether its joints are visible or not, a fixed length (BBC Pose), or with
    `skeleton.by_box` the longer side of the box around the joints that are visible; frames in which
    fewer than two of them are do not count then. A joint's score is over the frames that show it. A
    group's score is the plain mean of its joints' scores (those visible at least once), while mPCK
    weighs every joint of the skeleton by its visible count, so it also counts joints in no group.

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
    found = right_joints(
        predictions, joints, skeleton=skeleton, threshold=threshold, visibility=visibility
    )
    visibility = scored(joints, visibility, skeleton=skeleton)
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
    visibility: np.ndarray | None = None,
) -> np.ndarray:
    """Which joints are right, whether they are visible or not: `[frames, joints]` bool.

    The one place where this is decided, for scores and pictures alike. Arguments as for `pck`, in
    image pixels: BBC Pose's limit is a fixed number of them. visibility: of the joints that a box
    is put around with `skeleton.by_box`; None: of all.

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
    seen = np.ones(shape[:2]) if visibility is None else visibility
    limits = limit * _reference_length(joints, seen, skeleton)
    return np.linalg.norm(predictions - joints, axis=-1) <= limits[:, None]


def scored(joints: np.ndarray, visibility: np.ndarray, *, skeleton: Skeleton) -> np.ndarray:
    """How much each joint counts, `[frames, joints]`: its visibility.

    It is zero in frames that do not say what errors have to be measured in.
    """
    visibility = _checked('visibility', visibility, np.shape(joints)[:2], skeleton)
    known = np.isfinite(_reference_length(joints, visibility, skeleton))
    return visibility * known[:, None]


def _checked(
    name: str, values: np.ndarray, shape: tuple[int, ...], skeleton: Skeleton
) -> np.ndarray:
    """The values in float64, if they have this shape."""
    if np.shape(values) != shape:
        found = np.shape(values)
        raise ValueError(f'{name} have shape {found}, expected {shape} for {skeleton.name}')
    return np.asarray(values, np.float64)


def _reference_length(joints: np.ndarray, visibility: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """What errors are measured in, `[frames]` image pixels: torsos, boxes, or the skeleton's unit.

    NaN where there is no box.
    """
    if skeleton.by_box:
        return labelled_boxes(joints, visibility).max(axis=-1)
    if skeleton.torso is None:
        return np.full(len(joints), skeleton.unit)
    top, bottom = (joints[:, list(members)].mean(axis=1) for members in skeleton.torso)
    return np.linalg.norm(top - bottom, axis=-1)


def labelled_boxes(joints: np.ndarray, visibility: np.ndarray) -> np.ndarray:
    """Width and height of the box around the visible joints, `[frames, 2]` image pixels.

    NaN in frames in which fewer than two places are visible.
    """
    seen = (visibility > 0)[..., None]
    low = np.where(seen, joints, np.inf).min(axis=1)
    high = np.where(seen, joints, -np.inf).max(axis=1)
    sizes = np.where(seen.any(axis=1), high, 0.0) - np.where(seen.any(axis=1), low, 0.0)
    return np.where(sizes.max(axis=-1, keepdims=True) > 0, sizes, np.nan)


# Half of COCO's k of a joint, as its evaluation has them, by what a joint's group is called.
_SIGMAS = {
    'nose': 0.026,
    'eye': 0.025,
    'ear': 0.035,
    'shoulder': 0.079,
    'elbow': 0.072,
    'wrist': 0.062,
    'hip': 0.107,
    'knee': 0.087,
    'ankle': 0.089,
}
_OTHER_SIGMA = 0.05


def oks(
    predictions: np.ndarray, joints: np.ndarray, visibility: np.ndarray, *, skeleton: Skeleton
) -> float:
    """Mean object keypoint similarity of all frames that show two joints, percent; NaN of none.

    As COCO has it, except that the area is that of the box around the visible joints, at least a
    quarter of its longer side's square, where COCO takes the person's outline. A joint that COCO
    does not know counts as one whose labels scatter by 0.05 of the area's root.

    Arguments as for `pck`.
    """
    shape = (len(joints), len(skeleton.joints), 2)
    predictions = _checked('predictions', predictions, shape, skeleton)
    joints = _checked('joints', joints, shape, skeleton)
    visibility = _checked('visibility', visibility, shape[:2], skeleton)
    sides = labelled_boxes(joints, visibility)
    area = np.maximum(sides.prod(axis=-1), sides.max(axis=-1) ** 2 / 4)
    sigmas = np.full(shape[1], _OTHER_SIGMA)
    for group, members in skeleton.groups:
        sigmas[list(members)] = _SIGMAS.get(group.lower(), _OTHER_SIGMA)
    squares = ((predictions - joints) ** 2).sum(axis=-1)
    alike = np.exp(-squares / (2 * area[:, None] * (2 * sigmas) ** 2))
    with np.errstate(invalid='ignore'):
        frames = (alike * visibility).sum(axis=1) / visibility.sum(axis=1)
    return 100.0 * _mean_of_scored(frames)


def torso_scores(skeleton: Skeleton) -> Skeleton | None:
    """The skeleton scored by torsos, where one that is scored by boxes has one; else None."""
    if not skeleton.by_box or skeleton.torso is None:
        return None
    return dataclasses.replace(skeleton, by_box=False, threshold=0.2)


def beside(
    predictions: Sequence[np.ndarray],
    joints: Sequence[np.ndarray],
    visibility: Sequence[np.ndarray],
    *,
    skeleton: Skeleton,
) -> dict[str, float]:
    """What to know beside the PCK of people who are measured in boxes: OKS, and PCK by torso.

    The latter counts frames alone in which the whole torso is labelled. Arguments as for
    `pooled_pck`; empty where the data set has a metric of its own.
    """
    if not skeleton.by_box:
        return {}
    found, true, seen = (np.concatenate(list(v)) for v in (predictions, joints, visibility))
    scores = {'OKS': oks(found, true, seen, skeleton=skeleton)}
    if by_torso := torso_scores(skeleton):
        members = [j for end in by_torso.torso or () for j in end]
        seen = seen * (seen[:, members] > 0).all(axis=1, keepdims=True)
        scores['mPCK@0.2 torso'] = pck(found, true, seen, skeleton=by_torso)['mPCK']
    return scores


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
    interval: tuple[float, float]  # bootstrap over people, or over what they were cut from


def compare_people(
    before: np.ndarray,
    after: np.ndarray,
    *,
    sources: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compares two scores per person: an average gain hides whom it hurts.

    Args:
      before: `[people]` percent, NaN for people without a score.
      after: `[people]` percent, the same people in the same order.
      sources: of each of them, what hangs together, say the recording that several clips were cut
        from: the bootstrap draws all people of a source, or none. None: everyone is alone.
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
    scored = np.isfinite(before) & np.isfinite(after)
    gain = (after - before)[scored]
    if not gain.size:
        raise ValueError(f'none of {before.size} people has a score both before and after')
    together = np.arange(before.size) if sources is None else np.asarray(sources)
    _, source = np.unique(together[scored], return_inverse=True)
    total, count = np.bincount(source, gain), np.bincount(source)
    chosen = np.random.default_rng(seed).integers(len(total), size=(resamples, len(total)))
    draws = total[chosen].sum(axis=1) / count[chosen].sum(axis=1)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(draws, (tail, 100.0 - tail))
    counts = (int((gain > 0).sum()), int((gain < 0).sum()), int((gain == 0).sum()))
    return Comparison(gain.size, *counts, float(gain.mean()), (float(low), float(high)))
