"""What drawn people and places are made of: colours, patterns, and patterned limbs on a canvas.

Canvas coordinates are (x, y) pixels of an image SUPERSAMPLE times the final size, 0-based, centres
at integers. Patterns are patches `[n, 4, 2]` on a unit square, (u across, t along). Polygons are
rounded to fixed-point integers before they are filled, so pixels do not depend on the machine.
"""

import colorsys
import dataclasses
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

SUPERSAMPLE = 3  # drawn at three times the size and averaged down: smooth edges, integer drawing
_FRACTION_BITS = 4  # of OpenCV's fixed-point coordinates

Colour = tuple[int, int, int]  # RGB
Layer = tuple[Colour, np.ndarray]  # patches of one colour


def rgb(hue: float, saturation: float, value: float) -> Colour:
    """A colour from hue (1 is once around the circle), saturation and value (each 0 to 1)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def darker(colour: Colour, percent: int) -> Colour:
    """The colour with so many percent of its brightness left."""
    red, green, blue = (channel * percent // 100 for channel in colour)
    return red, green, blue


def any_colour(rng: np.random.Generator) -> Colour:
    """A colour of cloth or paint: saturated, pale, dark or grey."""
    ranges = (  # of saturation and value
        ((0.55, 0.95), (0.5, 1.0)),
        ((0.15, 0.45), (0.75, 1.0)),
        ((0.2, 0.8), (0.12, 0.4)),
        ((0.0, 0.08), (0.08, 1.0)),
    )
    saturation, value = ranges[rng.choice(4, p=[0.45, 0.2, 0.2, 0.15])]
    return rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))


def skin_tone(rng: np.random.Generator) -> Colour:
    """A colour of skin, from light to dark."""
    tone = rng.random()
    return rgb(0.055 + rng.uniform(-0.015, 0.02), 0.32 + 0.3 * tone, 0.97 - 0.6 * tone)


def distinct_colour(
    rng: np.random.Generator,
    draw: Callable[[np.random.Generator], Colour],
    others: Sequence[Colour],
    least: float,
) -> Colour:
    """A random colour that can be told from `others`.

    Args:
      rng: random numbers.
      draw: draws a candidate.
      others: colours to differ from.
      least: how much the channels should differ in sum; if none of twenty candidates differs so
        much from all others, the best is taken.
    """
    colours = [draw(rng) for _ in range(20)]
    distances = [
        min(np.abs(np.subtract(colour, other)).sum() for other in others) for colour in colours
    ]
    enough = [distance >= least for distance in distances]
    return colours[enough.index(True) if any(enough) else int(np.argmax(distances))]


def rectangles(lows: ArrayLike, highs: ArrayLike) -> np.ndarray:
    """Patches [n, 4, 2] from their low and high corners, [n, 2] each."""
    (u1, t1), (u2, t2) = np.transpose(lows), np.transpose(highs)
    corners = (u1, t1), (u2, t1), (u2, t2), (u1, t2)
    return np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1).astype(float)


def any_pattern(rng: np.random.Generator, *, cells: int) -> np.ndarray:
    """Patches of a second colour on the unit square: none, hoops, stripes, checks or dots."""
    kind = rng.choice(
        ['plain', 'hoops', 'stripes', 'checks', 'dots'], p=[0.3, 0.25, 0.15, 0.1, 0.2]
    )
    n = int(rng.integers(2, cells + 1))
    width = rng.uniform(0.35, 0.6) / n
    starts, zeros = np.arange(n) / n, np.zeros(n)
    grid = np.stack(np.meshgrid(starts, starts), axis=-1).reshape(-1, 2)
    diamond = 0.33 / n * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    odd = np.indices((n, n)).sum(axis=0).ravel() % 2 == 1
    hoops = rectangles(np.stack([zeros, starts], -1), np.stack([zeros + 1, starts + width], -1))
    return {
        'plain': np.zeros((0, 4, 2)),
        'hoops': hoops,
        'stripes': hoops[..., ::-1],
        'checks': rectangles(grid[odd], grid[odd] + 1 / n),
        'dots': (grid + 0.5 / n)[:, None] + diamond,
    }[kind]


def within(
    patches: np.ndarray, t_low: float, t_high: float, u_low: float = 0.0, u_high: float = 1.0
) -> np.ndarray:
    """Patches of a unit square, moved into a part of it."""
    return np.array([u_low, t_low]) + patches * np.array([u_high - u_low, t_high - t_low])


UNIT_SQUARE = rectangles([[0, 0]], [[1, 1]])


@dataclasses.dataclass(frozen=True, eq=False)
class Cloth:
    """What a limb wears: a colour, and layers of patches of other colours, painted in order."""

    base: Colour
    layers: tuple[Layer, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Canvas:
    """What is painted on, SUPERSAMPLE times as large as the image."""

    colour: np.ndarray  # [height, width, 3] uint8
    shade: np.ndarray  # [height, width] uint8

    @classmethod
    def over(cls, background: np.ndarray) -> 'Canvas':
        """A canvas in full light, with a background to paint on."""
        return cls(background.copy(), np.full(background.shape[:2], 255, np.uint8))

    def flatten(self) -> np.ndarray:
        """The picture: colours in their shade."""
        return cv2.multiply(self.colour, cv2.merge([self.shade] * 3), scale=1 / 255)

    def fill(self, polygons: np.ndarray, colour: Colour) -> None:
        """Paints convex polygons [n, corners, 2], canvas pixels, in a colour and in full light."""
        fill(self.colour, polygons, colour)
        fill(self.shade, polygons, 255)


def fill(image: np.ndarray, polygons: np.ndarray, value: Colour | int) -> None:
    """Fills convex polygons [n, corners, 2], rounded to integers first.

    Only convex ones, because these look the same in every release of OpenCV.
    """
    fixed = np.rint(polygons * (1 << _FRACTION_BITS)).astype(np.int32)
    for polygon in fixed:
        cv2.fillConvexPoly(image, polygon, value, lineType=cv2.LINE_8, shift=_FRACTION_BITS)


_TURNS = np.linspace(0, 2 * np.pi, 17)[:-1]
_CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=-1)


def ellipse(centre: np.ndarray, axis_a: np.ndarray, axis_b: np.ndarray) -> np.ndarray:
    """Polygon [1, corners, 2] of the ellipse with these two half axes."""
    return (centre + _CIRCLE[:, :1] * axis_a + _CIRCLE[:, 1:] * axis_b)[None]


def disc(centre: np.ndarray, width: float, height: float) -> np.ndarray:
    """Polygon of an upright ellipse with these half axes."""
    return ellipse(centre, np.array([width, 0]), np.array([0, height]))


def perpendicular(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Unit vector perpendicular to a limb: image right for a limb that hangs down."""
    x, y = end - start
    length = np.hypot(x, y)
    return np.array([y, -x]) / length if length > 1e-3 else np.array([1.0, 0.0])


def lit(across: np.ndarray, light_from: float) -> float:
    """How much the side that `across` points to faces the light, from -1 to 1."""
    towards_light = np.array([np.cos(light_from), np.sin(light_from)])
    return float(across @ towards_light / max(np.hypot(*across), 1e-3))


def paint_limb(
    canvas: Canvas,
    start: np.ndarray,
    end: np.ndarray,
    radii: tuple[float, float],
    cloth: Cloth,
    *,
    light_from: float = -np.pi / 2,
) -> None:
    """A tapered limb with round ends, whose pattern moves with it.

    Args:
      start, end: (x, y) canvas pixels.
      radii: half widths there, canvas pixels.
      light_from: direction in the image that the light comes from, radians.
    """
    across = perpendicular(start, end)
    along = np.array([-across[1], across[0]])

    def place(patches):
        u, t = 2 * patches[..., :1] - 1, patches[..., 1:]
        return start + t * (end - start) + u * (radii[0] + (radii[1] - radii[0]) * t) * across

    half_turn = np.linspace(0, np.pi, 8)[:, None]
    cap = np.cos(half_turn) * across + np.sin(half_turn) * along
    canvas.fill(np.concatenate([end + radii[1] * cap, start - radii[0] * cap])[None], cloth.base)
    for colour, patches in cloth.layers:
        fill(canvas.colour, place(np.clip(patches, -0.02, 1.02)), colour)
    for low, high, side in ((-0.02, 0.22, -1), (0.78, 1.02, 1)):  # rounded: edges in half light
        shade = int(255 * (0.76 + 0.18 * side * lit(across, light_from)))
        fill(canvas.shade, place(within(UNIT_SQUARE, 0, 1, low, high)), shade)
