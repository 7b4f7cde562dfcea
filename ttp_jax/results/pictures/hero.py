"""The picture for the front page: people before and after personalization."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from ttp_jax.data.skeletons import Skeleton
from ttp_jax.results.pictures import canvas, people
from ttp_jax.results.pictures.canvas import FAINT, HURT, PHASES
from ttp_jax.results.views import Prediction

_SIDE, _SEAM, _BETWEEN, _MARGIN = 220, 3, 26, 14  # of a half, between halves, people, and around
_ABOVE, _BELOW = 34, 46  # room for titles and for scores
_WIDE = 2 * _SIDE + _SEAM + _BETWEEN


class Pair(NamedTuple):
    """One frame before and after personalization, and what the person's whole clip scores."""

    id: str
    image: np.ndarray  # [H, W, 3]
    before: Prediction  # in the image's pixels
    after: Prediction
    mpck_before: float | None  # percent; None: nothing to score
    mpck_after: float | None


def hero(path: str | os.PathLike, pairs: Sequence[Pair], *, skeleton: Skeleton) -> None:
    """People beside each other, each the same frame before and after, with the clip's scores.

    Raises:
      ValueError: when there is nobody to show.
    """
    if not pairs:
        raise ValueError('no people to show, expected at least one')
    columns = 2 if len(pairs) % 2 == 0 else min(3, len(pairs))
    high = _ABOVE + _SIDE + _BELOW
    width = 2 * _MARGIN + columns * _WIDE - _BETWEEN
    figure, axes = canvas.new_canvas(width, -(-len(pairs) // columns) * high)
    for index, pair in enumerate(pairs):
        row, column = divmod(index, columns)
        _draw_pair(axes, pair, _MARGIN + column * _WIDE, row * high + _ABOVE, skeleton)
    canvas.save(figure, path)


def _draw_pair(axes: Axes, pair: Pair, left: int, top: int, skeleton: Skeleton) -> None:
    second = left + _SIDE + _SEAM
    for title, prediction, x in (('before', pair.before, left), ('after', pair.after, second)):
        panel = canvas.show(axes, pair.image, x, top, (_SIDE, _SIDE))
        people.draw_skeleton(panel, prediction.joints, skeleton, width=3)
        people.ring(panel, prediction.joints[prediction.wrong])
        canvas.write(axes, x, top - 15, title, size=15, color=FAINT)
    canvas.write(axes, second + _SIDE, top - 15, pair.id, size=12, color=FAINT, ha='right')
    if pair.mpck_before is not None and pair.mpck_after is not None:
        _write_scores(axes, pair.mpck_before, pair.mpck_after, left, top + _SIDE + 18)


def _write_scores(axes: Axes, before: float, after: float, left: int, y: int) -> None:
    second = left + _SIDE + _SEAM
    for score, x in ((before, left), (after, second)):
        canvas.write(axes, x, y, f'{score:.1f}', size=17, weight='bold')
    gain = round(after, 1) - round(before, 1)  # of the numbers shown
    style = {'color': HURT if gain < 0 else PHASES['offline'], 'weight': 'bold', 'ha': 'right'}
    canvas.write(axes, second + _SIDE, y, f'{gain:+.1f}', size=17, **style)
