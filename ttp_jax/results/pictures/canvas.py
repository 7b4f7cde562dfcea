"""The canvas that pictures of people are laid out on, and the colours of all pictures.

Contract: the canvas's unit is a pixel of the PNG, x to the right and y down, so that images are
resampled once and nothing is clipped. Sizes of text and dots are canvas pixels too.

Colours can be told apart by the colour-blind: left limbs amber, right limbs blue, the rest mint;
red only for what is wrong, orange for whom personalization hurt.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ttp_jax import places
from ttp_jax.files import whole_file

INK, FAINT, PAPER, SHADE = '#22262B', '#6B727C', '#FFFFFF', '#E9EBEE'
SIDES = {'left': '#FFB000', 'right': '#4AA3FF'}  # of the body
MIDDLE, WRONG, OUTLINE = '#5BE3B5', '#FF3B30', '#14171A'
PHASES = {'before': '#8A8F98', 'online': '#56B4E9', 'offline': '#0072B2'}
OTHER_PHASE, HURT = '#009E73', '#D55E00'

DPI = 100
POINT = 72 / DPI  # points per canvas pixel: matplotlib measures lines and text in points


class Panel(NamedTuple):
    """An image on the canvas, to draw on in its own pixels; what lies outside of it is cut off."""

    axes: Axes
    edge: Rectangle
    origin: np.ndarray  # where pixel (0, 0) is centred, canvas pixels
    scale: float  # canvas pixels per pixel of the image

    def lines(self, ends: np.ndarray, **style: Any) -> None:
        """Lines `[lines, 2, 2]` between points of the image, round at their ends."""
        lines = LineCollection(list(self._on_canvas(ends)), capstyle='round', **style)
        self.axes.add_collection(lines)
        lines.set_clip_path(self.edge)

    def dots(self, points: np.ndarray, size: float, **style: Any) -> None:
        """Dots `[dots, 2]` in the image, of a diameter in canvas pixels."""
        x, y = self._on_canvas(points).T
        dots = self.axes.scatter(x, y, s=(size * POINT) ** 2, **style)
        dots.set_clip_path(self.edge)

    def _on_canvas(self, points: np.ndarray) -> np.ndarray:
        return self.origin + self.scale * np.asarray(points, np.float64)


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """An empty figure of a size in pixels of the PNG."""
    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER, **options)


def new_canvas(width: int, height: int) -> tuple[Figure, Axes]:
    """A new figure, and axes that fill it, x to the right and y down in pixels of the PNG."""
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.axis('off')
    return figure, axes


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes the figure as a PNG and makes its folder."""
    path = places.place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file.replacing(path) as temporary:
        figure.savefig(temporary, format='png', dpi=DPI)


def show(axes: Axes, image: np.ndarray, left: float, top: float, size: tuple[int, int]) -> Panel:
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
    return Panel(axes, edge, np.array([left, top]) + scale / 2, scale)


def write(axes: Axes, x: float, y: float, text: str, size: float = 13, **style: Any) -> None:
    """Text of `size` pixels, from (x, y) to the right, centred upon y unless `style` differs."""
    style = {'color': INK, 'va': 'center'} | style
    axes.text(x, y, text, fontsize=size * POINT, parse_math=False, **style)


def legend(axes: Axes, x: float, y: float, entries: Sequence[tuple[str, str]]) -> None:
    """Coloured dots with words (colour, text), in a line from the left end (x, y)."""
    for colour, text in entries:
        dot = axes.scatter([x + 6], [y], s=(10 * POINT) ** 2, c=colour)
        dot.set(edgecolor=OUTLINE, linewidth=0.8 * POINT)
        write(axes, x + 16, y, text, color=FAINT)
        x += 16 + 7.2 * len(text) + 18


def outlined(width: float) -> list[patheffects.AbstractPathEffect]:
    """A dark outline of a width in canvas pixels, so that lines stand out on any image."""
    stroke = patheffects.Stroke(linewidth=width * POINT, foreground=OUTLINE, alpha=0.8)
    return [stroke, patheffects.Normal()]


def darkened(image: np.ndarray, share: float) -> np.ndarray:
    """The image, darker by a share of its brightness, so that lines stand out."""
    return (image * (1 - share)).astype(np.uint8)
