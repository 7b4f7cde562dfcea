"""What personalization did to one person's keypoints over time, as curves.

Contract: every function returns a matplotlib figure; `png` makes bytes of it. Before is grey, after
blue; time is in seconds, coordinates in pixels of the video.
"""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ttp_jax.data.skeletons import Skeleton
from ttp_jax.results.exports.keypoints import Found, runs

_INK, _FAINT, _SHADE = '#22262B', '#6B727C', '#E9EBEE'
_BEFORE, _AFTER, _FURTHEST = '#8A8F98', '#0072B2', '#A9D0EC'


def png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes."""
    file = io.BytesIO()
    figure.savefig(file, format='png', dpi=110)
    return file.getvalue()


def losses(values: np.ndarray) -> Figure:
    """The loss of each step of personalization `[steps]`; of many also their running mean."""
    figure = Figure(figsize=(7, 2.8), layout='constrained')
    axes = _axes(figure.add_subplot(), xlabel='step', ylabel='loss')
    values = np.asarray(values, np.float64).ravel()
    window = len(values) // 20
    steps = np.arange(1, len(values) + 1)
    alpha, width = (0.3, 0.8) if window > 1 else (1.0, 1.5)
    axes.plot(steps, values, color=_AFTER, alpha=alpha, linewidth=width)
    if window > 1:
        mean = np.convolve(values, np.full(window, 1 / window), 'valid')
        axes.plot(steps[window // 2 : window // 2 + len(mean)], mean, color=_AFTER)
    return figure


def trajectories(before: Found, after: Found | None, *, skeleton: Skeleton) -> Figure:
    """Every joint's x and y over time, a panel each."""
    columns = 4
    rows = -(-len(skeleton.joints) // columns)
    figure = Figure(figsize=(13, 1.9 * rows + 0.4), layout='constrained')
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for panel in panels[len(skeleton.joints) :]:
        panel.axis('off')
    for joint, (axes, name) in enumerate(zip(panels, skeleton.joints)):
        _axes(axes, title=name)
        for found, colour in ((before, _BEFORE), (after, _AFTER)):
            if found is not None:
                _line(axes, found, found.joints[:, joint, 0], colour, '-')
                _line(axes, found, found.joints[:, joint, 1], colour, (0, (3, 1)))
    figure.supxlabel('seconds', color=_FAINT, fontsize=9)
    handles = [
        panels[0].plot([], [], color=colour, linestyle=style, label=label)[0]
        for colour, style, label in (
            (_BEFORE, '-', 'x before'),
            (_BEFORE, '--', 'y before'),
            (_AFTER, '-', 'x after'),
            (_AFTER, '--', 'y after'),
        )[: 2 if after is None else 4]
    ]
    figure.legend(handles=handles, loc='outside upper right', ncols=4, frameon=False, fontsize=9)
    return figure


def confidence(before: Found, after: Found | None) -> Figure:
    """The mean of all joints' confidence over time."""
    figure = Figure(figsize=(7, 2.8), layout='constrained')
    axes = _axes(figure.add_subplot(), xlabel='seconds', ylabel='mean confidence')
    for found, colour, label in ((before, _BEFORE, 'before'), (after, _AFTER, 'after')):
        if found is not None:
            _line(axes, found, found.scores.mean(axis=1), colour, '-', label)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)
    return figure


def changes(before: Found, after: Found) -> Figure:
    """How far the joints moved, in percent of the box's longer side: the mean and the furthest."""
    figure = Figure(figsize=(7, 2.8), layout='constrained')
    axes = _axes(figure.add_subplot(), xlabel='seconds', ylabel='moved, % of the box')
    moved = 100 * movement(before, after)
    _line(axes, after, moved.max(axis=1), _FURTHEST, '-', 'the joint that moved furthest')
    _line(axes, after, moved.mean(axis=1), _AFTER, '-', 'mean of all joints')
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)
    return figure


def movement(before: Found, after: Found) -> np.ndarray:
    """How far each joint moved between two phases, `[N, J]`, in longer sides of the box."""
    side = (before.boxes[:, 2:] - before.boxes[:, :2] + 1).max(axis=1)
    return np.linalg.norm(after.joints - before.joints, axis=-1) / side[:, None]


def most_changed(before: Found, after: Found, *, count: int) -> list[int]:
    """The rows of the frames that changed most, most first, none close to another one."""
    score = movement(before, after).mean(axis=1)
    rows: list[int] = []
    apart = max(1, len(score) // (2 * count))
    for row in np.argsort(-score, kind='stable').tolist():
        if len(rows) < count and all(abs(row - other) >= apart for other in rows):
            rows.append(row)
    return rows


def _axes(axes: Axes, *, xlabel: str = '', ylabel: str = '', title: str = '') -> Axes:
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(_FAINT)
    axes.tick_params(colors=_FAINT, labelsize=8)
    axes.grid(color=_SHADE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(xlabel, color=_FAINT, fontsize=9)
    axes.set_ylabel(ylabel, color=_FAINT, fontsize=9)
    axes.set_title(title, loc='left', color=_INK, fontsize=9, weight='bold')
    return axes


def _line(axes: Axes, found: Found, values: np.ndarray, colour, style, label: str = '') -> None:
    """A curve over the person's time, broken where they are not in the video."""
    for index, run in enumerate(runs(found)):
        axes.plot(
            found.times[run],
            values[run],
            color=colour,
            linestyle=style,
            linewidth=1.2,
            label=label if not index else None,
            marker='o' if run.stop - run.start == 1 else None,
        )
