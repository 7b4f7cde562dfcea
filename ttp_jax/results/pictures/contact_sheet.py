"""The contact sheet: whom a run is about, as they are and with their joints."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from ttp_jax.data.clips import Clip
from ttp_jax.data.skeletons import Skeleton
from ttp_jax.results.pictures import canvas, people

_WIDE, _MARGIN, _TOP, _GAP = 150, 24, 34, 3  # of an image, around all, above all, between images
_NAME = 24  # the line above each person's frames


class _Shown(NamedTuple):
    """One frame of a clip; joints and whether they are visible are None where nothing is known."""

    image: np.ndarray
    joints: np.ndarray | None
    visible: np.ndarray | None


def contact_sheet(
    path: str | os.PathLike,
    clips: Sequence[Clip],
    *,
    skeleton: Skeleton,
    predictions: Sequence[np.ndarray] | None = None,
    rows: int = 8,
    columns: int = 8,
) -> None:
    """The first people, frames evenly spread over their clips: as they are, and with joints.

    Only the frames shown are decoded; clips may differ in size and length.

    Args:
      path: of the PNG.
      clips: the first `rows` of them are shown.
      skeleton: the joints of the clips.
      predictions: one `[frames, J, 2]` per clip, image pixels; drawn where a clip has no labels.
      rows: people, at most.
      columns: frames of each, at most.

    Raises:
      ValueError: there are no clips.
    """
    if not clips:
        raise ValueError('no clips to show, expected at least one')
    shown = [
        _spread(clip, None if predictions is None else predictions[index], columns)
        for index, clip in enumerate(clips[:rows])
    ]
    high = _height(shown)
    step = _NAME + 2 * high + _GAP + 6
    most = max(map(len, shown))
    figure, axes = canvas.new_canvas(
        2 * _MARGIN + most * (_WIDE + _GAP), _TOP + len(shown) * step + _MARGIN // 2
    )
    canvas.legend(axes, _MARGIN, _TOP / 2, people.SIDE_LEGEND)
    for index, frames in enumerate(shown):
        _draw_row(axes, clips[index].id, frames, _TOP + index * step, high, skeleton)
    canvas.save(figure, path)


def _spread(clip: Clip, predicted: np.ndarray | None, columns: int) -> list[_Shown]:
    """Frames from the first to the last."""
    count = len(clip.frames)
    indices = np.linspace(0, count - 1, min(columns, count)).round().astype(int)
    return [_frame(clip, predicted, index) for index in indices.tolist()]


def _frame(clip: Clip, predicted: np.ndarray | None, index: int) -> _Shown:
    """One frame with its labelled joints; with the predicted ones where there are no labels."""
    image = np.asarray(clip.frames[index])
    if clip.labels is not None and (clip.labels.visibility[index] > 0).any():
        return _Shown(image, clip.labels.joints[index], clip.labels.visibility[index] > 0)
    return _Shown(image, None if predicted is None else predicted[index], None)


def _height(shown: Sequence[Sequence[_Shown]]) -> int:
    """Of the room for an image: the usual shape of the clips' first frames, within limits."""
    ratios = [frames[0].image.shape[0] / frames[0].image.shape[1] for frames in shown]
    return round(_WIDE * float(np.clip(np.median(ratios), 0.5, 1.5)))


def _draw_row(
    axes: Axes, name: str, frames: Sequence[_Shown], top: int, high: int, skeleton: Skeleton
) -> None:
    """One person: the name, the frames as they are, and below them the same with joints."""
    canvas.write(axes, _MARGIN, top + 12, name, weight='bold')
    for column, (image, joints, visible) in enumerate(frames):
        left = _MARGIN + column * (_WIDE + _GAP)
        canvas.show(axes, image, left, top + _NAME, (_WIDE, high))
        panel = canvas.show(axes, image, left, top + _NAME + high + _GAP, (_WIDE, high))
        if joints is not None:
            people.draw_skeleton(panel, joints, skeleton, visible=visible, width=1.6)
