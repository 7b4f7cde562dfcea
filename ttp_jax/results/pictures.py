"""Pictures of a run: its data, losses, gains, and what the model sees.

Contract: images are `[H, W, 3]` uint8 RGB, points `(x, y)` in the pixels of the image they belong
to, pixel centres at integers. Every function writes one PNG, makes its folder, and keeps no state.

Colours can be told apart by the colour-blind: left limbs amber, right limbs blue, the rest mint;
red only for what is wrong or hurt. Most pictures are laid out on one canvas whose unit is a pixel
of the PNG, so that images are resampled once and nothing is clipped.
"""

import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ttp_jax.data.clips import Clip
from ttp_jax.data.skeletons import Skeleton

_INK, _FAINT, _PAPER, _SHADE = '#22262B', '#6B727C', '#FFFFFF', '#E9EBEE'
_SIDES = {'left': '#FFB000', 'right': '#4AA3FF'}
_MIDDLE, _WRONG, _OUTLINE = '#5BE3B5', '#FF3B30', '#14171A'
_PHASES = {'before': '#8A8F98', 'online': '#56B4E9', 'offline': '#0072B2'}
_OTHER_PHASE, _HURT = '#009E73', '#D55E00'
_LINES = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#8A8F98')

_DPI = 100
_POINT = 72 / _DPI  # points per canvas pixel
_GAP = 8
_SIDE = 256  # of the panels of a person's picture
_HERO = 220  # of the halves of a pair


class View(NamedTuple):
    """What one phase sees in one frame of one person, in the pixels of the crop `[S, S, 3]`."""

    source: np.ndarray  # [S, S, 3]
    target: np.ndarray  # [S, S, 3]
    reconstruction: np.ndarray | None  # [S, S, 3]; None: the variant does not reconstruct
    self_supervised: np.ndarray | None  # [K, 2] keypoints
    affinity: np.ndarray | None  # [J, K] weight of each keypoint in each joint
    joints: np.ndarray  # [J, 2] predicted
    scores: np.ndarray  # [J] heatmap maxima


class Pair(NamedTuple):
    """One frame before and after personalization, and what the person's whole clip scores."""

    id: str
    image: np.ndarray  # [H, W, 3]
    before: np.ndarray  # [J, 2] predicted
    after: np.ndarray  # [J, 2] predicted
    mpck_before: float  # percent
    mpck_after: float  # percent
    truth: np.ndarray | None = None  # [J, 2]; with it, wrong joints are ringed in red
    visibility: np.ndarray | None = None  # [J]; joints that are not visible are never wrong


# --- the canvas ------------------------------------------------------------------------------


class _Panel(NamedTuple):
    """An image on the canvas, to draw on in its own pixels; what lies outside of it is cut off."""

    axes: Axes
    edge: Rectangle
    origin: np.ndarray  # where pixel (0, 0) is centred, canvas pixels
    scale: float  # canvas pixels per pixel

    def _at(self, points: np.ndarray) -> np.ndarray:
        return self.origin + self.scale * np.asarray(points, np.float64)

    def lines(self, ends: np.ndarray, **how: Any) -> None:
        """Lines `[lines, 2, 2]`, round at their ends."""
        lines = LineCollection(self._at(ends), capstyle='round', **how)
        self.axes.add_collection(lines)
        lines.set_clip_path(self.edge)

    def dots(self, points: np.ndarray, size: float, **how: Any) -> None:
        """Dots `[dots, 2]` of a diameter in canvas pixels."""
        dots = self.axes.scatter(*self._at(points).T, s=(size * _POINT) ** 2, **how)
        dots.set_clip_path(self.edge)


def _canvas(width: int, height: int) -> Axes:
    """Axes that fill a new figure, x to the right and y down in pixels of the PNG."""
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=_PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.axis('off')
    return axes


def _save(figure: Figure, path: str | os.PathLike) -> None:
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format='png', dpi=_DPI)


def _show(axes: Axes, image: np.ndarray, left: float, top: float, size: tuple[int, int]) -> _Panel:
    """An image, as large as fits into a box of `size` (width, height), in its middle."""
    height, width = image.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = left + (size[0] - wide) // 2, top + (size[1] - high) // 2
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = cv2.resize(np.ascontiguousarray(image), (wide, high), interpolation=smooth)
    extent = (left, left + wide, top + high, top)
    axes.imshow(image, extent=extent, interpolation='nearest', aspect='auto', zorder=1)
    edge = Rectangle((left, top), wide, high, transform=axes.transData)
    return _Panel(axes, edge, np.array([left, top]) + scale / 2, scale)


def _write(axes: Axes, x: float, y: float, text: str, size: float = 13, **how: Any) -> None:
    """Text of `size` pixels, from (x, y) to the right, centred upon y unless `how` differs."""
    how = {'color': _INK, 'va': 'center'} | how
    axes.text(x, y, text, fontsize=size * _POINT, parse_math=False, **how)


def _outlined(width: float) -> list[patheffects.AbstractPathEffect]:
    return [patheffects.Stroke(linewidth=width * _POINT, foreground=_OUTLINE, alpha=0.8),
            patheffects.Normal()]  # fmt: skip


# --- people ----------------------------------------------------------------------------------


def _colours(skeleton: Skeleton) -> list[str]:
    """By side of the body, one per joint."""
    return [_SIDES.get(joint.split()[0], _MIDDLE) for joint in skeleton.joints]


def _draw_skeleton(
    panel: _Panel,
    joints: np.ndarray,
    skeleton: Skeleton,
    *,
    visibility: np.ndarray | None = None,
    width: float = 2.5,
) -> None:
    """Bones and joints in the colours of their sides; joints that are not visible are hollow."""
    colours = _colours(skeleton)
    panel.lines(
        joints[np.array(skeleton.bones)],
        colors=[_bone_colour(colours[first], colours[second]) for first, second in skeleton.bones],
        linewidths=width * _POINT,
        path_effects=_outlined(width + 1.5),
        zorder=3,
    )
    seen = np.ones(len(joints), bool) if visibility is None else np.asarray(visibility) > 0
    panel.dots(
        joints,
        2.4 * width,
        c=np.where(seen, colours, _OUTLINE),
        edgecolors=np.where(seen, _OUTLINE, colours),
        linewidths=0.8 * _POINT,
        zorder=4,
    )


def _bone_colour(first: str, second: str) -> str:
    """That of the side both ends are on, else the middle's."""
    return first if first == second else _MIDDLE


def _wrong(joints, truth, visibility, skeleton: Skeleton) -> np.ndarray:
    """`[J]` bool: visible and further from the truth than the metric allows (paper section 4.1).

    Torsos scale with a crop, the fixed lengths of a skeleton without torso do not: those only hold
    in the data set's own pixels.
    """
    length = skeleton.unit
    if skeleton.torso is not None:
        top, bottom = (truth[list(members)].mean(axis=0) for members in skeleton.torso)
        length = np.linalg.norm(top - bottom)
    error = np.linalg.norm(np.asarray(joints) - truth, axis=-1)
    return (error > skeleton.threshold * length) & (np.asarray(visibility) > 0)


def _ring(panel: _Panel, joints: np.ndarray) -> None:
    panel.dots(joints, 17, facecolors='none', edgecolors=_WRONG, linewidths=2 * _POINT, zorder=6)


def _legend(axes: Axes, x: float, y: float, entries: Sequence[tuple[str, str]]) -> None:
    """Coloured dots with words, in a line from the left end (x, y)."""
    for colour, text in entries:
        axes.scatter([x + 6], [y], s=(10 * _POINT) ** 2, c=colour, edgecolors=_OUTLINE,
                     linewidths=0.8 * _POINT)  # fmt: skip
        _write(axes, x + 16, y, text, color=_FAINT)
        x += 16 + 7.2 * len(text) + 18


# --- the data --------------------------------------------------------------------------------


def contact_sheet(
    path: str | os.PathLike,
    clips: Sequence[Clip],
    *,
    people: int = 8,
    frames: int = 8,
    skeleton: Skeleton,
    crop_to_boxes: bool = False,
) -> None:
    """People in rows, frames evenly spread over their clips in columns: as they are, then labelled.

    Only the frames shown are decoded; clips may differ in size and length.

    Args:
      path: of the PNG.
      clips: the first `people` of them are shown.
      people: rows, at most.
      frames: columns, at most.
      skeleton: the joints of the clips.
      crop_to_boxes: show a square around the person's box instead of the whole frame.
    """
    shown = [_spread(clip, frames, crop_to_boxes) for clip in clips[:people]]
    if not shown:
        raise ValueError('no clips to show, expected at least one')
    ratios = [image.shape[0] / image.shape[1] for row in shown for image, _, _ in row[:1]]
    wide, margin, head = 150, 24, 34
    high = round(wide * float(np.clip(np.median(ratios), 0.5, 1.5)))
    columns = max(map(len, shown))
    axes = _canvas(
        2 * margin + columns * (wide + 3), head + len(shown) * (2 * high + 3 + 30) + margin // 2
    )
    sides = [(colour, f'{side} limbs') for side, colour in _SIDES.items()]
    _legend(axes, margin, head / 2, [*sides, (_MIDDLE, 'middle')])
    for index, (clip, row) in enumerate(zip(clips, shown, strict=False)):
        top = head + index * (2 * high + 3 + 30)
        _write(axes, margin, top + 12, clip.id, weight='bold')
        for column, (image, joints, visibility) in enumerate(row):
            left = margin + column * (wide + 3)
            _show(axes, image, left, top + 24, (wide, high))
            panel = _show(axes, image, left, top + 24 + high + 3, (wide, high))
            _draw_skeleton(panel, joints, skeleton, visibility=visibility, width=1.6)
    _save(axes.figure, path)


def _spread(clip: Clip, frames: int, crop: bool) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(image, joints, visibility) of frames from the first to the last."""
    count = len(clip.frames)
    indices = np.linspace(0, count - 1, min(frames, count)).round().astype(int)
    shown = []
    for index in indices.tolist():
        image, joints = np.asarray(clip.frames[index]), clip.labels.joints[index]
        if crop:
            image, joints = _around_box(image, joints, clip.boxes[index])
        shown.append((image, joints, clip.labels.visibility[index]))
    return shown


def _around_box(image: np.ndarray, joints: np.ndarray, box: np.ndarray, margin: float = 1.2):
    """A square around the box, and the joints in it; what is outside the frame repeats its edge."""
    side = max(2, round(margin * float((box[2:] - box[:2]).max() + 1)))
    centre = (box[:2] + box[2:]) / 2
    patch = cv2.getRectSubPix(np.ascontiguousarray(image), (side, side), centre.tolist())
    return patch, joints - centre + (side - 1) / 2


# --- one person ------------------------------------------------------------------------------


def person_picture(
    path: str | os.PathLike,
    id: str,
    views: Mapping[str, View],
    truth: np.ndarray,
    visibility: np.ndarray,
    *,
    skeleton: Skeleton,
    correct: Mapping[str, np.ndarray] | None = None,
) -> None:
    """One frame through the model, a row per phase.

    Args:
      path: of the PNG.
      id: of the person.
      views: phase to what it sees. Columns that no phase can fill are left out.
      truth: `[J, 2]`, crop pixels.
      visibility: `[J]` in {0, 1}.
      skeleton: the joints.
      correct: phase to `[J]` bool; by default judged by the truth's torso. Needed for skeletons
        without a torso, whose unit is not the crop's pixel.
    """
    if not views:
        raise ValueError(f'person {id}: no views to draw, expected at least one phase')
    columns = _columns(list(views.values()))
    label, head, foot = 118, 66, 40
    width = label + len(columns) * (_SIDE + _GAP) + _GAP
    axes = _canvas(width, head + len(views) * (_SIDE + _GAP) + foot)
    _write(axes, 16, 22, f'Person {id}', size=18, weight='bold')
    for column, title in enumerate(columns):
        _write(axes, label + column * (_SIDE + _GAP), head - 14, title, color=_FAINT)
    for row, (phase, view) in enumerate(views.items()):
        top = head + row * (_SIDE + _GAP)
        wrong = _wrong(view.joints, truth, visibility, skeleton)
        if correct is not None:
            wrong = ~np.asarray(correct[phase], bool) & (np.asarray(visibility) > 0)
        _phase_label(axes, phase, top + _SIDE / 2, wrong, visibility)
        judged = _Judged(truth, np.asarray(visibility) > 0, wrong, skeleton)
        for column, title in enumerate(columns):
            left = label + column * (_SIDE + _GAP)
            show = functools.partial(_show, axes, left=left, top=top, size=(_SIDE, _SIDE))
            _PANELS[title](show, view, judged)
    _caption(axes, label, head + len(views) * (_SIDE + _GAP) + foot / 2 - _GAP / 2, skeleton)
    _save(axes.figure, path)


def _columns(views: Sequence[View]) -> list[str]:
    """The titles of columns that a phase can fill."""
    linked = any(view.affinity is not None for view in views)
    filled = {
        _RECONSTRUCTION: any(view.reconstruction is not None for view in views),
        _KEYPOINTS: any(view.self_supervised is not None for view in views),
        _LINKED: linked,
        _JOINTS: not linked,
    }
    return [title for title in _PANELS if filled.get(title, True)]


def _phase_label(axes: Axes, phase: str, y: float, wrong, visibility) -> None:
    visible = int(np.sum(np.asarray(visibility) > 0))
    _write(axes, 16, y - 10, phase, size=16, weight='bold')
    _write(axes, 16, y + 12, f'{visible - int(wrong.sum())} of {visible} right', color=_FAINT)


def _caption(axes: Axes, left: float, y: float, skeleton: Skeleton) -> None:
    length = 'torso' if skeleton.torso is not None else 'units'
    wrong = f'wrong: more than {skeleton.threshold:g} {length} from the truth (white)'
    sides = [(colour, f'{side} limbs') for side, colour in _SIDES.items()]
    _legend(axes, left, y, [*sides, (_MIDDLE, 'middle'), (_WRONG, wrong)])


class _Judged(NamedTuple):
    """What predictions are held against: everything `[J, ...]`."""

    truth: np.ndarray
    visible: np.ndarray
    wrong: np.ndarray
    skeleton: Skeleton


_Show = Callable[[np.ndarray], _Panel]  # puts an image where a column meets a row


def _source_panel(show: _Show, view: View, judged: _Judged) -> None:
    show(view.source)


def _target_panel(show: _Show, view: View, judged: _Judged) -> None:
    show(view.target)


def _reconstruction_panel(show: _Show, view: View, judged: _Judged) -> None:
    if view.reconstruction is not None:
        show(view.reconstruction)


def _keypoints_panel(show: _Show, view: View, judged: _Judged) -> None:
    if view.self_supervised is not None:
        _draw_keypoints(show(view.target), view.self_supervised, size=10)


def _draw_keypoints(panel: _Panel, keypoints: np.ndarray, size: float) -> None:
    """Dots; a keypoint has the same colour in every picture with as many of them."""
    colours = matplotlib.colormaps['turbo'](np.linspace(0.05, 0.95, len(keypoints)))
    panel.dots(keypoints, size, c=colours, edgecolors='white', linewidths=1.2 * _POINT, zorder=5)


def _joints_panel(show: _Show, view: View, judged: _Judged) -> None:
    panel = show(_darken(view.target, 0.3))
    if view.affinity is None or view.self_supervised is None:
        _draw_skeleton(panel, view.joints, judged.skeleton)
        return
    bones = np.array(judged.skeleton.bones)
    panel.lines(view.joints[bones], colors='white', alpha=0.6, linewidths=1.5 * _POINT, zorder=2)
    _draw_affinity(panel, view, _colours(judged.skeleton))
    _draw_keypoints(panel, view.self_supervised, size=6)


def _draw_affinity(
    panel: _Panel, view: View, colours: Sequence[str], *, strongest: int = 3, least: float = 0.1
) -> None:
    """Lines from joints to the keypoints they are read from, the wider the more weight."""
    joint = np.repeat(np.arange(len(view.joints)), strongest)
    keypoint = np.argsort(-view.affinity, axis=1)[:, :strongest].ravel()
    weight = view.affinity[joint, keypoint]
    joint, keypoint, weight = (x[weight > least] for x in (joint, keypoint, weight))
    panel.lines(
        np.stack([view.joints[joint], view.self_supervised[keypoint]], axis=1),
        colors=[(colours[j], min(1.0, 0.4 + w)) for j, w in zip(joint, weight, strict=True)],
        linewidths=(1 + 3 * weight) * _POINT,
        zorder=3,
    )
    panel.dots(view.joints, 9, c=colours, edgecolors=_OUTLINE, linewidths=_POINT, zorder=4)


def _error_panel(show: _Show, view: View, judged: _Judged) -> None:
    """The truth in white, predictions in colour, their errors as red lines."""
    panel, seen = show(_darken(view.target, 0.45)), judged.visible
    bones = np.array([bone for bone in judged.skeleton.bones if seen[list(bone)].all()], int)
    panel.lines(judged.truth[bones.reshape(-1, 2)], colors='white', linewidths=2 * _POINT, zorder=2)
    errors = np.stack([judged.truth, view.joints], axis=1)[seen]
    panel.lines(errors, colors=_WRONG, linewidths=2 * _POINT, zorder=3)
    panel.dots(judged.truth[seen], 5, c='white', zorder=4)
    colours = np.where(judged.wrong, _WRONG, _colours(judged.skeleton))[seen]
    how = {'edgecolors': _OUTLINE, 'linewidths': _POINT}
    panel.dots(view.joints[seen], 9, c=colours, zorder=5, **how)
    _ring(panel, view.joints[judged.wrong])


def _darken(image: np.ndarray, amount: float) -> np.ndarray:
    """So that lines stand out."""
    return (image * (1 - amount)).astype(np.uint8)


_RECONSTRUCTION, _KEYPOINTS = 'reconstruction', 'self-supervised keypoints'
_JOINTS, _LINKED = 'joints', 'joints, and keypoints they come from'
_PANELS = {
    'source': _source_panel,
    'target': _target_panel,
    _RECONSTRUCTION: _reconstruction_panel,
    _KEYPOINTS: _keypoints_panel,
    _JOINTS: _joints_panel,
    _LINKED: _joints_panel,
    'joints against the truth': _error_panel,
}


def hero(path: str | os.PathLike, pairs: Sequence[Pair], *, skeleton: Skeleton) -> None:
    """People beside each other, each the same frame before and after, with the clip's scores."""
    if not pairs:
        raise ValueError('no people to show, expected at least one')
    columns = 2 if len(pairs) % 2 == 0 else min(3, len(pairs))
    wide, high, margin = 2 * _HERO + 3 + 26, _HERO + 80, 14
    rows = -(-len(pairs) // columns)
    axes = _canvas(2 * margin + columns * wide - 26, rows * high)
    for index, pair in enumerate(pairs):
        row, column = divmod(index, columns)
        _hero_person(axes, pair, margin + column * wide, row * high + 34, skeleton)
    _save(axes.figure, path)


def _hero_person(axes: Axes, pair: Pair, left: int, top: int, skeleton: Skeleton) -> None:
    second, below = left + _HERO + 3, top + _HERO + 18
    for title, joints, score, x in (
        ('before', pair.before, pair.mpck_before, left),
        ('after', pair.after, pair.mpck_after, second),
    ):
        _hero_half(axes, pair, joints, (x, top), skeleton)
        _write(axes, x, top - 15, title, size=15, color=_FAINT)
        _write(axes, x, below, f'{score:.1f}', size=17, weight='bold')
    gain = round(pair.mpck_after, 1) - round(pair.mpck_before, 1)  # of the numbers shown
    colour = _HURT if gain < 0 else _PHASES['offline']
    right = {'x': second + _HERO, 'ha': 'right'}
    _write(axes, y=top - 15, text=pair.id, size=12, color=_FAINT, **right)
    _write(axes, y=below, text=f'{gain:+.1f}', size=17, color=colour, weight='bold', **right)


def _hero_half(
    axes: Axes, pair: Pair, joints: np.ndarray, corner: tuple[int, int], skeleton: Skeleton
) -> None:
    panel = _show(axes, pair.image, *corner, size=(_HERO, _HERO))
    _draw_skeleton(panel, joints, skeleton, width=3)
    if pair.truth is not None:
        visibility = np.ones(len(joints)) if pair.visibility is None else pair.visibility
        _ring(panel, joints[_wrong(joints, pair.truth, visibility, skeleton)])


# --- curves and bars -------------------------------------------------------------------------


def _plain_axes(axes: Axes, *, xlabel: str = '', ylabel: str = '', title: str = '') -> Axes:
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(_FAINT)
    axes.tick_params(which='both', colors=_FAINT, labelsize=9)
    axes.grid(color=_SHADE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(xlabel, color=_FAINT)
    axes.set_ylabel(ylabel, color=_FAINT)
    axes.set_title(title, loc='left', color=_INK, fontsize=11, weight='bold')
    return axes


def loss_curves(
    path: str | os.PathLike,
    rows: Sequence[Mapping[str, float]],
    personalization: Mapping[str, Sequence[np.ndarray]],
) -> None:
    """Training losses, and the loss of each step of personalization.

    Args:
      path: of the PNG.
      rows: of `metrics.jsonl`: `step` and any of `loss`, `supervised`, `reconstruction`, `pixels`,
        `rotation` and `learning_rate`. May be empty, and rows may lack keys.
      personalization: phase to `[people, steps]`, NaN behind a person's end, or to one `[steps]` or
        `[frames, epochs]` array per person; shown for as many steps as half of them have.
    """
    figure = Figure(figsize=(11, 4.4), dpi=_DPI, facecolor=_PAPER, layout='constrained')
    grid = figure.add_gridspec(2, 2, height_ratios=(3.2, 1))
    terms = [key for key in _TERMS if any(_known(row, key) for row in rows)]
    rates = any(_known(row, 'learning_rate') for row in rows)
    train = figure.add_subplot(grid[0 if rates else slice(None), 0])
    _plain_axes(train, xlabel='' if rates else 'step', ylabel='loss', title='training')
    for term, colour in zip(terms, _LINES, strict=False):
        _curve(train, rows, term, colour)
    _finish(train, bool(terms))
    if rates:
        _rate_axes(figure.add_subplot(grid[1, 0], sharex=train), rows)
        train.tick_params(labelbottom=False)
    adapt = _plain_axes(figure.add_subplot(grid[:, 1]), xlabel='step', ylabel='loss',
                        title='personalization')  # fmt: skip
    curves = [_draw_spread(adapt, phase, losses) for phase, losses in personalization.items()]
    _finish(adapt, any(curves))
    _save(figure, path)


_TERMS = ('loss', 'supervised', 'reconstruction', 'pixels', 'rotation')


def _known(row: Mapping[str, float], key: str) -> bool:
    return all(row.get(k) is not None and np.isfinite(row[k]) for k in ('step', key))


def _curve(axes: Axes, rows: Sequence[Mapping[str, float]], key: str, colour: str, *,
           smooth: bool = True) -> None:  # fmt: skip
    """The values; where there are many, the running mean over a fiftieth of them stands out."""
    steps, values = np.array([(row['step'], row[key]) for row in rows if _known(row, key)]).T
    window = len(values) // 50
    if window < 2 or not smooth:
        axes.plot(steps, values, color=colour, label=key, marker='o' if len(values) < 3 else None)
        return
    axes.plot(steps, values, color=colour, alpha=0.2, linewidth=0.8)
    mean = np.convolve(values, np.full(window, 1 / window), 'valid')
    axes.plot(steps[window - 1 :], mean, color=colour, label=key)


def _rate_axes(axes: Axes, rows: Sequence[Mapping[str, float]]) -> None:
    _plain_axes(axes, xlabel='step', ylabel='learning\nrate')
    _curve(axes, rows, 'learning_rate', _FAINT, smooth=False)
    axes.set_ylim(bottom=0)


def _finish(axes: Axes, drawn: bool) -> None:
    """A legend, and a scale that suits the values; where there is nothing, words to say so."""
    if not drawn:
        _say(axes, 'nothing recorded')
        return
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale('log')
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.legend(frameon=False, labelcolor=_INK, fontsize=9)


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, color=_FAINT, ha='center')
    axes.set(xticks=[], yticks=[])


def _draw_spread(axes: Axes, phase: str, losses: Sequence[np.ndarray]) -> bool:
    """Mean over people and the middle half of them; whether there was anything to draw."""
    padded = _padded(losses)
    present = np.isfinite(padded).sum(axis=0)
    steps = np.flatnonzero((present > 0) & (2 * present >= len(padded)))
    if not steps.size:
        return False
    mean = np.nanmean(padded[:, steps], axis=0)
    low, high = np.nanpercentile(padded[:, steps], (25, 75), axis=0)
    colour = _PHASES.get(phase, _OTHER_PHASE)
    axes.fill_between(steps + 1, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps + 1, mean, color=colour, linewidth=1.8, label=phase,
              marker='o' if steps.size < 3 else None)  # fmt: skip
    return True


def _padded(losses: Sequence[np.ndarray]) -> np.ndarray:
    """`[people, most steps]`, NaN behind each person's end."""
    people = [np.asarray(person, np.float64).ravel() for person in losses]
    padded = np.full((len(people), max(map(len, people), default=0)), np.nan)
    for row, person in zip(padded, people, strict=True):
        row[: len(person)] = person
    return padded


def gain_chart(path: str | os.PathLike, report: Mapping[str, Any]) -> None:
    """Points each person gained or lost over `before`: a panel per phase, sorted by the last phase.

    report: as `report.summarise` makes it. People without a score are left out; without any phase
    after `before`, the picture says so.
    """
    *_, last = report['mpck']
    phases = [phase for phase in report['mpck'] if phase != 'before']
    people = [p for p in report['people'] if all(p[x] is not None for x in ('before', *phases))]
    people.sort(key=lambda person: person[last] - person['before'])
    height = float(np.clip(1.1 + 0.24 * len(people), 2.4, 14))
    columns = max(1, len(phases))
    figure = Figure(figsize=(1.5 + 4.5 * columns, height), dpi=_DPI, facecolor=_PAPER,
                    layout='constrained')  # fmt: skip
    panels = figure.subplots(1, columns, sharex=True, sharey=True, squeeze=False)[0]
    for axes, phase in zip(panels, phases, strict=False):
        _gain_panel(axes, people, phase, report['compared'][phase])
    if phases:
        _name_people(panels[0], people, room=(height - 1.1) / 0.17)
    else:
        _say(_plain_axes(panels[0]), 'nobody was personalized')
    _save(figure, path)


def _gain_panel(axes: Axes, people: Sequence[Mapping[str, Any]], phase: str, compared) -> None:
    gains = np.array([person[phase] - person['before'] for person in people])
    title = f'{phase}\n{compared["improved"]} better, {compared["hurt"]} worse'
    _plain_axes(axes, xlabel='gain in mPCK, points', title=title)
    axes.tick_params(axis='y', length=0)
    axes.grid(visible=False, axis='y')
    colour = _PHASES.get(phase, _OTHER_PHASE)
    axes.barh(np.arange(len(gains)), gains, height=0.72, color=np.where(gains < 0, _HURT, colour))
    axes.axvline(0, color=_INK, linewidth=0.8)
    if compared['mean_gain'] is not None:
        low, high = compared['interval']
        axes.axvspan(low, high, color=colour, alpha=0.15, linewidth=0, zorder=0)
        axes.axvline(compared['mean_gain'], color=_INK, linewidth=1, linestyle=(0, (4, 2)))
        mean = f'mean {compared["mean_gain"]:+.1f}\n95 % interval {low:+.1f} to {high:+.1f}'
        axes.set_title(mean, loc='right', color=_FAINT, fontsize=9)


def _name_people(axes: Axes, people: Sequence[Mapping[str, Any]], room: float) -> None:
    axes.set_ylim(-0.7, max(len(people), 1) - 0.3)
    if 0 < len(people) <= room:
        axes.set_yticks(range(len(people)), [person['id'] for person in people])
        return
    axes.set_yticks([])
    axes.set_ylabel(f'{len(people)} people', color=_FAINT)
