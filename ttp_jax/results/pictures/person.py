"""One frame of one person through the model, a row per phase, a column per kind of panel."""

import functools
import os
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from ttp_jax.data.skeletons import Skeleton
from ttp_jax.results.pictures import canvas, people
from ttp_jax.results.pictures.canvas import FAINT, WRONG
from ttp_jax.results.pictures.panels import TITLES, Draw, panels_of
from ttp_jax.results.views import Prediction, Truth, View

_LEFT, _TOP, _BELOW = 118, 66, 40  # room for the phases' names, for titles, and for the legend
_SIDE, _GAP = 256, 8  # of a panel, and between panels
_STEP = _SIDE + _GAP


def person_picture(
    path: str | os.PathLike,
    id: str,
    views: Mapping[str, View],
    predictions: Mapping[str, Prediction],
    *,
    truth: Truth | None,
    skeleton: Skeleton,
) -> None:
    """One frame through the model, a row per phase.

    Args:
      path: of the PNG.
      id: of the person.
      views: phase to what the network saw. Columns that no phase can fill are left out.
      predictions: phase to what was predicted and scored, for the same phases.
      truth: the frame's labels; None: it has none, and nothing is said about errors.
      skeleton: the joints.

    Raises:
      ValueError: there is no phase to draw.
    """
    if not views:
        raise ValueError(f'person {id}: no views to draw, expected at least one phase')
    rows = {p: panels_of(views[p], predictions[p], truth, skeleton) for p in views}
    columns = [title for title in TITLES if any(title in panels for panels in rows.values())]
    bottom = _TOP + len(rows) * _STEP
    figure, axes = canvas.new_canvas(_LEFT + len(columns) * _STEP + _GAP, bottom + _BELOW)
    canvas.write(axes, 16, 22, f'Person {id}', size=18, weight='bold')
    for column, title in enumerate(columns):
        canvas.write(axes, _LEFT + column * _STEP, _TOP - 14, title, color=FAINT)
    for index, (phase, panels) in enumerate(rows.items()):
        top = _TOP + index * _STEP
        _write_phase(axes, phase, predictions[phase], truth, top + _SIDE / 2)
        _draw_panels(axes, [panels.get(title) for title in columns], top)
    canvas.legend(axes, _LEFT, bottom + (_BELOW - _GAP) / 2, _legend(truth, skeleton))
    canvas.save(figure, path)


def _write_phase(
    axes: Axes, phase: str, prediction: Prediction, truth: Truth | None, middle: float
) -> None:
    """The name of a row and, where there are labels, how many joints are right."""
    canvas.write(axes, 16, middle - 10, phase, size=16, weight='bold')
    if truth is not None:
        words = count_right(prediction, truth)
        canvas.write(axes, 16, middle + 12, words, color=FAINT)


def count_right(prediction: Prediction, truth: Truth) -> str:
    """'9 of 13 right', of the joints that are visible."""
    visible, wrong = int(truth.visible.sum()), int(prediction.wrong.sum())
    return f'{visible - wrong} of {visible} right'


def _draw_panels(axes: Axes, panels: Sequence[Draw | None], top: int) -> None:
    """A row of panels; where there is nothing to show, room is left."""
    for column, draw in enumerate(panels):
        if draw is not None:
            left, size = _LEFT + column * _STEP, (_SIDE, _SIDE)
            draw(functools.partial(canvas.show, axes, left=left, top=top, size=size))


def _legend(truth: Truth | None, skeleton: Skeleton) -> list[tuple[str, str]]:
    if truth is None:
        return people.SIDE_LEGEND
    wrong = f'wrong: more than {skeleton.limit} from the truth (white)'
    return [*people.SIDE_LEGEND, (WRONG, wrong)]
