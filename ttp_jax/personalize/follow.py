"""Where a joint was all along: one path through the heatmaps of all frames of a clip.

Contract: numpy, on the host, of one clip whose frames are one after the other. A heatmap's maximum
is one of its peaks, and sometimes the wrong one. People do not jump: of all ways to take a peak
from each frame, the path taken is high in the heatmaps and short in between, and is found exactly
(Viterbi, 1967). Nor are left and right often the same place, though both heatmaps are high at
either: the two joints of a pair are followed together. With the past alone, a frame has the end of
the best path that leads to it. The paper predicts each frame by itself (section 4.2).
"""

import numpy as np

PEAKS = 4  # of a heatmap that are looked at
# What a step costs, against the logarithm of heights. Chosen on the validation part of real clips
# (25 to 30 frames a second): of means over six looks, four times as much scores 0.1 less, sixteen
# times 0.6, and ankles, which are fast, 0.9 and 3.9.
PER_SIDE = 5.0  # for the longer side of the person's box
FURTHEST = 0.4  # sides of the box; a joint that moves further was hidden, or wrong before
LOWEST = 1e-3  # heights below are alike
# What left and right cost at one place, which is where they are closer than so many sides. Chosen
# likewise: half and twice as much score 0.1 less, four times 0.5, nothing 1.1.
TOGETHER, CLOSE = 0.5, 0.05


def path_of(
    points: np.ndarray,
    heights: np.ndarray,
    boxes: np.ndarray,
    *,
    mirror: tuple[int, ...] = (),
    past_alone: bool = False,
) -> np.ndarray:
    """Which peak each joint is at in each frame: `[T, J]` integers.

    Args:
      points: `[T, J, K, 2]`, (x, y) in image pixels of the heatmaps' peaks.
      heights: `[T, J, K]` of the peaks; -inf where there are fewer than K.
      boxes: `[T, 4]` around the person, image pixels.
      mirror: for each joint the one of the other side, or itself; (): all joints are alone.
      past_alone: whether frames behind a frame have no part in what is chosen there.
    """
    sides = np.maximum(1.0, (boxes[:, 2:] - boxes[:, :2] + 1).max(axis=1))
    path = np.zeros(heights.shape[:2], int)
    count = heights.shape[1]
    for joints in {tuple(sorted(set(pair))) for pair in enumerate(mirror or range(count))}:
        own = points[:, joints], heights[:, joints]
        path[:, joints] = _path_of_group(*own, sides, past_alone=past_alone)
    return path


def _path_of_group(
    points: np.ndarray, heights: np.ndarray, sides: np.ndarray, *, past_alone: bool
) -> np.ndarray:
    """`[T, G]`, the path of one joint or of two that are followed together.

    A state is a peak for each of them.
    """
    _, group, peaks = heights.shape
    states = np.stack(np.unravel_index(np.arange(peaks**group), (peaks,) * group))  # [G, S]
    worth = _worth(points, heights, sides, states)
    best, came_from = worth[0], []
    ends = [best.argmax()]
    for t in range(1, len(points)):
        apart = np.linalg.norm(points[t][:, :, None] - points[t - 1][:, None], axis=-1)
        moves = PER_SIDE * np.minimum(apart / sides[t], FURTHEST)  # [G, K now, K before]
        cost = np.sum([move[np.ix_(own, own)] for move, own in zip(moves, states)], axis=0)
        ways = best - cost
        came_from.append(ways.argmax(axis=-1))
        best = ways.max(axis=-1) + worth[t]
        ends.append(best.argmax())
    if not past_alone:
        for t in range(len(points) - 1, 0, -1):
            ends[t - 1] = came_from[t - 1][ends[t]]
    return states[:, ends].T


def _worth(points, heights, sides, states) -> np.ndarray:
    """`[T, S]`: logarithms of the heights of a state's peaks, less where they are one place."""
    logs = np.where(np.isneginf(heights), -np.inf, np.log(np.maximum(heights, LOWEST)))
    worth = np.sum([logs[:, joint, own] for joint, own in enumerate(states)], axis=0)
    if len(states) == 2:
        left, right = (points[:, joint, own] for joint, own in enumerate(states))
        gap = np.linalg.norm(left - right, axis=-1) / sides[:, None]
        worth = worth - TOGETHER * (gap < CLOSE)
    return worth


def chosen(
    points: np.ndarray, heights: np.ndarray, boxes: np.ndarray, **how
) -> tuple[np.ndarray, np.ndarray]:
    """(joints `[T, J, 2]`, scores `[T, J]`) of the peaks that `path_of` takes; arguments are its.

    Heights that are NaN are those of a broken network, and nothing is followed through them.
    """
    if np.isnan(heights).any():
        return points[:, :, 0], heights[:, :, 0]
    at = path_of(points, heights, boxes, **how)[..., None]
    return (
        np.take_along_axis(points, at[..., None], axis=2)[:, :, 0],
        np.take_along_axis(heights, at, axis=2)[:, :, 0],
    )


def labels(joints: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """What somebody learns from who is taught a clip's joints `[T, J, 2]`: `[T, J, 3]`.

    (x, y, weight). Every joint weighs one, however sure the teacher is of it, or NaN where its
    heatmap is NaN in `scores` `[T, J]`. A left ankle and a right one look alike, so both of a right
    pair are low: weighed by that, and squared in the loss, they counted a fifth of a head, and one
    was learned at the other's place.
    """
    weights = np.where(np.isnan(scores), np.nan, 1.0)  # such a teacher is to be noticed
    return np.concatenate([joints, weights[..., None]], axis=-1)
