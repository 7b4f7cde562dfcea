"""Skeletons drawn into pixels: for videos, where a figure per frame would take too long.

Contract: images are `[height, width, 3]` uint8 RGB and are drawn into; points are (x, y) in their
pixels. Left limbs are amber, right limbs blue, the rest mint, as in the other pictures; the less
sure a joint is, the darker it is drawn.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from ttp_jax.data.skeletons import Skeleton

_SIDES = {'left': (255, 176, 0), 'right': (74, 163, 255)}
_MIDDLE, _OUTLINE, _PAPER = (91, 227, 181), (20, 23, 26), (255, 255, 255)
_SHIFT = 4  # points are given in sixteenths of a pixel


def colours(skeleton: Skeleton) -> list[tuple[int, int, int]]:
    """By side of the body, one per joint."""
    return [_SIDES.get(side, _MIDDLE) for side in skeleton.sides]


def skeleton(
    image: np.ndarray,
    joints: np.ndarray,
    body: Skeleton,
    *,
    scores: np.ndarray | None = None,
    width: int = 2,
) -> None:
    """Bones and joints `[J, 2]`; scores `[J]` are heatmap maxima, of which 0.6 is as good as 1."""
    sure = np.ones(len(joints)) if scores is None else np.clip(np.asarray(scores) / 0.6, 0.3, 1)
    paint = [tuple(int(c * s) for c in colour) for colour, s in zip(colours(body), sure)]
    for outline in (True, False):
        for first, second in body.bones:
            colour = paint[first] if paint[first] == paint[second] else _blend(paint, first, second)
            stroke = _OUTLINE if outline else colour
            line(image, joints[first], joints[second], stroke, width + 2 * outline)
    for point, colour in zip(joints, paint):
        dot(image, point, width + 2, _OUTLINE)
        dot(image, point, width + 1, colour)


def _blend(paint: Sequence[tuple[int, ...]], first: int, second: int) -> tuple[int, ...]:
    return tuple((a + b) // 2 for a, b in zip(paint[first], paint[second]))


def line(image: np.ndarray, first, second, colour, width: int) -> None:
    """A line between two points."""
    cv2.line(image, _fixed(first), _fixed(second), colour, width, cv2.LINE_AA, _SHIFT)


def dot(image: np.ndarray, point, radius: float, colour) -> None:
    """A filled dot."""
    cv2.circle(image, _fixed(point), round(radius * 2**_SHIFT), colour, -1, cv2.LINE_AA, _SHIFT)


def _fixed(point) -> tuple[int, int]:
    x, y = np.round(np.asarray(point, np.float64) * 2**_SHIFT).clip(-(2**20), 2**20).astype(int)
    return int(x), int(y)


def words(image: np.ndarray, text: str, corner: tuple[int, int], *, height: int = 14) -> None:
    """Text with its top left at `corner` (x, y), white upon a dark edge."""
    x, y = corner
    size, place = height / 22, (x, y + height)
    for colour, width in ((_OUTLINE, 3), (_PAPER, 1)):
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, width, cv2.LINE_AA)


def enlarged(image: np.ndarray, scale: float) -> np.ndarray:
    """The image, resampled; one pixel's centre at p goes to (p + 0.5) * scale - 0.5."""
    height, width = image.shape[:2]
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(image), shape, interpolation=smooth)


def moved(points: np.ndarray, scale: float) -> np.ndarray:
    """Points in the pixels of the enlarged image."""
    return (np.asarray(points, np.float64) + 0.5) * scale - 0.5
