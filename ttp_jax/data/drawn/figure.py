"""What drawn people wear, and painting one of them on a canvas in the pose of one frame.

Joints come in image pixels (`motion.Motion`) and are scaled to the canvas (`drawing.Canvas`) here.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from ttp_jax.data.drawn.drawing import (
    SUPERSAMPLE,
    UNIT_SQUARE,
    Canvas,
    Cloth,
    Colour,
    Layer,
    any_colour,
    any_pattern,
    darker,
    disc,
    distinct_colour,
    ellipse,
    fill,
    lit,
    paint_limb,
    perpendicular,
    rectangles,
    rgb,
    skin_tone,
    within,
)
from ttp_jax.data.drawn.motion import (
    ANKLES,
    ELBOWS,
    HEAD,
    HIPS,
    KNEES,
    SHOULDERS,
    WRISTS,
    Motion,
    trunk_length,
)

_HAIR_STYLES = {'short': 0.4, 'long': 0.22, 'bald': 0.1, 'cap': 0.15, 'bun': 0.13}  # how common


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
    """One person's appearance. Pairs are (left, right).

    Sides are told apart as real people's are: by a wrist band perhaps, and by front and back.
    """

    skin: Colour
    hair: Colour
    hair_style: str
    cap: Colour
    shirt_front: Cloth
    shirt_back: Cloth
    upper_arm: Cloth
    forearms: tuple[Cloth, Cloth]
    thigh: Cloth
    shin: Cloth
    hands: Colour
    shoes: Colour
    build: float  # thickness of the limbs, 1 for an average person
    breadth: float  # of trunk and hips
    light_from: float  # direction in the image that the light comes from, radians


@dataclasses.dataclass(frozen=True)
class _Colours:
    skin: Colour
    shirt: Colour
    trousers: Colour
    trim: Colour  # of the shirt
    seam: Colour  # of the trousers


def dress(rng: np.random.Generator, backdrop: Sequence[Colour]) -> Look:
    """Draws a person's appearance.

    Args:
      rng: random numbers.
      backdrop: colours of wall and floor, which the person should stand out from.
    """
    colours = _colours(rng, backdrop)
    front, back = _shirt(rng, colours)
    upper_arm, forearm = _sleeve(rng, colours)
    thigh, shin = _trouser_leg(rng, colours)
    return Look(
        skin=colours.skin,
        hair=rgb(rng.uniform(0.02, 0.12), rng.uniform(0.1, 0.75), rng.uniform(0.08, 0.9)),
        hair_style=str(rng.choice(list(_HAIR_STYLES), p=list(_HAIR_STYLES.values()))),
        cap=any_colour(rng),
        shirt_front=front,
        shirt_back=back,
        upper_arm=upper_arm,
        forearms=(_banded(rng, forearm, colours.trim), _banded(rng, forearm, colours.trim)),
        thigh=thigh,
        shin=shin,
        hands=colours.trim if rng.random() < 0.15 else colours.skin,  # gloves
        shoes=distinct_colour(rng, any_colour, [backdrop[-1], colours.trousers], 110),
        build=rng.uniform(0.85, 1.3),
        breadth=rng.uniform(0.9, 1.3),
        light_from=rng.uniform(-np.pi, 0),
    )


def _colours(rng: np.random.Generator, backdrop: Sequence[Colour]) -> _Colours:
    """Colours that can be told from each other and from the backdrop."""
    skin = distinct_colour(rng, skin_tone, backdrop, 130)
    shirt = distinct_colour(rng, any_colour, [*backdrop, skin], 170)
    trousers = distinct_colour(rng, any_colour, [*backdrop, shirt, skin], 150)
    trim, seam = (
        distinct_colour(rng, any_colour, [shirt], 160),
        distinct_colour(rng, any_colour, [trousers], 160),
    )
    return _Colours(skin, shirt, trousers, trim, seam)


def _sometimes(rng: np.random.Generator, share: float, layer: Layer) -> tuple[Layer, ...]:
    return (layer,) if rng.random() < share else ()


def _below(t: float, colour: Colour) -> Layer:
    """A layer that covers everything further along the limb than t."""
    return colour, within(UNIT_SQUARE, t, 1.5, -0.5, 1.5)


def _banded(rng: np.random.Generator, forearm: Cloth, colour: Colour) -> Cloth:
    """The forearm, perhaps with a band at the wrist."""
    band = _sometimes(rng, 0.2, (colour, within(UNIT_SQUARE, 0.78, 1)))
    return dataclasses.replace(forearm, layers=forearm.layers + band)


def _shirt(rng: np.random.Generator, colours: _Colours) -> tuple[Cloth, Cloth]:
    """Front and back, each down to the hips: a print, a logo or a number, and trousers below."""
    printed = (colours.trim, any_pattern(rng, cells=6))
    digits = rectangles([[0.0, 0.0], [0.65, 0.0]], [[0.35, 1.0], [1.0, 1.0]])
    logo = _sometimes(rng, 0.35, (colours.trim, within(UNIT_SQUARE, 0.18, 0.5, 0.3, 0.7)))
    number = _sometimes(rng, 0.35, (colours.trim, within(digits, 0.15, 0.55, 0.25, 0.75)))
    collar = (colours.skin, np.array([[[0.38, -0.2], [0.62, -0.2], [0.5, 0.16]]]))
    hem = _below(rng.uniform(0.84, 0.95), colours.trousers)
    front = Cloth(colours.shirt, (printed, *logo, collar, hem))
    return front, Cloth(colours.shirt, (printed, *number, hem))


def _sleeve(rng: np.random.Generator, colours: _Colours) -> tuple[Cloth, Cloth]:
    """Upper arm and forearm: sleeveless, in short sleeves or in long ones."""
    cloth = colours.shirt if rng.random() < 0.4 else colours.trim
    trim = colours.trim if cloth == colours.shirt else colours.shirt
    pattern, bare = any_pattern(rng, cells=4), Cloth(colours.skin)
    length, end = rng.choice(['none', 'short', 'long'], p=[0.15, 0.45, 0.4]), rng.uniform(0.45, 0.8)
    if length == 'none':
        return bare, bare
    if length == 'short':
        return Cloth(cloth, ((trim, within(pattern, 0, end)), _below(end, colours.skin))), bare
    cuff = (trim, within(UNIT_SQUARE, 0.8, 0.95))
    return Cloth(cloth, ((trim, pattern),)), Cloth(cloth, ((trim, pattern), cuff))


def _trouser_leg(rng: np.random.Generator, colours: _Colours) -> tuple[Cloth, Cloth]:
    """Thigh and shin: in long trousers, or in shorts, perhaps with socks."""
    cloth, seam, skin = colours.trousers, colours.seam, colours.skin
    pattern = any_pattern(rng, cells=4)
    if rng.random() < 0.6:
        long = Cloth(cloth, ((seam, pattern),))
        return long, long
    end = rng.uniform(0.5, 0.95)
    sock = _sometimes(rng, 0.6, _below(rng.uniform(0.45, 0.85), seam))
    return Cloth(cloth, ((seam, within(pattern, 0, end)), _below(end, skin))), Cloth(skin, sock)


@dataclasses.dataclass(frozen=True, eq=False)
class Figure:
    """A person in one frame, on the canvas."""

    canvas: Canvas
    look: Look
    joints: np.ndarray  # [13, 2] canvas pixels
    depth: np.ndarray  # [13] trunk lengths, larger is nearer
    unit: float  # length of the trunk, canvas pixels
    facing: float
    heading: float

    def limb(self, start: np.ndarray, end: np.ndarray, radii: tuple, cloth: Cloth) -> None:
        """Paints a limb between two points; radii in trunk lengths, for an average build."""
        radii = tuple(radius * self.unit * self.look.build for radius in radii)
        paint_limb(self.canvas, start, end, radii, cloth, light_from=self.look.light_from)

    def towards(self, start: int, end: int) -> np.ndarray:
        """Direction of the limb between two joints, shorter than a unit vector if foreshortened."""
        limb = self.joints[end] - self.joints[start]
        return limb / max(np.hypot(*limb), 0.2 * self.unit)


def paint_person(background: np.ndarray, motion: Motion, frame: int, look: Look) -> np.ndarray:
    """One frame, `[size, size, 3]` uint8, before light and noise.

    Args:
      background: SUPERSAMPLE times as large, uint8.
      motion: the person's, in image pixels.
      frame: its index in the motion.
      look: the person's appearance.
    """
    canvas = Canvas.over(background)
    figure = Figure(
        canvas=canvas,
        look=look,
        joints=_on_canvas(motion.joints[frame]),
        depth=motion.depth[frame] / trunk_length(motion.joints),
        unit=SUPERSAMPLE * trunk_length(motion.joints),
        facing=float(motion.facing[frame]),
        heading=float(motion.heading[frame]),
    )
    _paint_shadow(figure, floor=_on_canvas(motion.joints[:, ANKLES, 1].max()))
    for _, paint in sorted(_parts(figure), key=lambda part: part[0]):
        paint(figure)
    size = background.shape[0] // SUPERSAMPLE
    return cv2.resize(canvas.flatten(), (size, size), interpolation=cv2.INTER_AREA)


def _on_canvas(pixels: Any) -> Any:
    """Image pixels to canvas pixels; centres of pixels are at integers in both."""
    return SUPERSAMPLE * (pixels + 0.5) - 0.5


def _paint_shadow(figure: Figure, *, floor: float) -> None:
    middle = figure.joints[[*HIPS, *ANKLES], 0].mean()
    width = 0.4 * np.ptp(figure.joints[:, 0]) + 0.3 * figure.unit
    for size, shade in ((1.0, 225), (0.7, 195)):
        centre = np.array([middle, floor + 0.2 * figure.unit])
        fill(figure.canvas.shade, disc(centre, size * width, size * 0.16 * figure.unit), shade)


def _parts(figure: Figure) -> list[tuple[float, Callable[[Figure], None]]]:
    """The parts of a body with their depths, in trunk lengths.

    Limbs lie a little before or behind the trunk even where their joints are level with it.
    """

    def depth(*joints):
        return figure.depth[list(joints)].mean()

    parts: list[tuple[float, Callable[[Figure], None]]] = [
        (depth(*SHOULDERS, *HIPS), _paint_trunk),
        (depth(*SHOULDERS, HEAD) + 0.03 * np.sign(figure.facing), _paint_head),
    ]
    for side in (0, 1):
        for bias, upper, lower, paint in (
            (0.04, SHOULDERS, ELBOWS, _paint_upper_arm),
            (0.08, ELBOWS, WRISTS, _paint_forearm),
            (-0.03, HIPS, KNEES, _paint_thigh),
            (-0.05, KNEES, ANKLES, _paint_shin),
        ):
            where = depth(upper[side], lower[side]) + bias
            parts.append((where, functools.partial(paint, side=side)))
    return parts


def _paint_upper_arm(figure: Figure, *, side: int) -> None:
    start, end = figure.joints[[SHOULDERS[side], ELBOWS[side]]]
    figure.limb(start, end, (0.18, 0.15), figure.look.upper_arm)


def _paint_forearm(figure: Figure, *, side: int) -> None:
    """Hand first: the cuff covers the wrist."""
    start, end = figure.joints[[ELBOWS[side], WRISTS[side]]]
    fingers = end + 0.2 * figure.unit * figure.towards(ELBOWS[side], WRISTS[side])
    figure.limb(end, fingers, (0.12, 0.13), Cloth(figure.look.hands))
    figure.limb(start, end, (0.15, 0.12), figure.look.forearms[side])


def _paint_thigh(figure: Figure, *, side: int) -> None:
    start, end = figure.joints[[HIPS[side], KNEES[side]]]
    figure.limb(start, end, (0.24, 0.19), figure.look.thigh)


def _paint_shin(figure: Figure, *, side: int) -> None:
    """Shoe first: it points where the body faces, square to the shin, and is long in profile."""
    start, end = figure.joints[[KNEES[side], ANKLES[side]]]
    down = figure.towards(KNEES[side], ANKLES[side])
    ahead = np.array([down[1], -down[0]])
    outward = (1 - 2 * side) * 0.07 * figure.facing
    toes = (0.3 * figure.heading + outward) * ahead + (0.1 + 0.07 * max(figure.facing, 0)) * down
    heel = 0.05 * down - 0.06 * figure.heading * ahead
    figure.limb(
        end + figure.unit * heel, end + figure.unit * toes, (0.14, 0.12), Cloth(figure.look.shoes)
    )
    figure.limb(start, end, (0.19, 0.14), figure.look.shin)


# One side of the trunk from neck to crotch, (u, t) as in `_trunk_surface`.
_TRUNK_SIDE = np.array(
    [
        [0.32, -0.16],
        [0.85, -0.1],
        [1.04, 0],
        [1, 0.2],
        [0.84, 0.6],
        [0.98, 0.95],
        [1, 1.1],
        [0.6, 1.22],
    ]
)


def _paint_trunk(figure: Figure) -> None:
    canvas, place = figure.canvas, _trunk_surface(figure)
    right, left = _TRUNK_SIDE, _TRUNK_SIDE * [-1, 1]
    bands = place(np.stack([left[:-1], right[:-1], right[1:], left[1:]], axis=1))
    cloth = figure.look.shirt_front if figure.facing > -0.15 else figure.look.shirt_back
    inside = np.zeros_like(canvas.shade)
    fill(inside, bands, 255)
    layers = canvas.colour.copy()
    fill(layers, bands, cloth.base)
    for colour, patches in cloth.layers:
        fill(layers, place(patches * [2, 1] - [1, 0]), colour)
    cv2.copyTo(layers, inside, canvas.colour)
    fill(canvas.shade, bands, 255)
    _paint_trunk_edges(figure, place)


def _paint_trunk_edges(figure: Figure, place: Callable) -> None:
    """Half light on both sides of the trunk, which makes it round."""
    outer = _TRUNK_SIDE[1:]
    inner = outer * [0.72, 1]
    bands = np.stack([outer[:-1], outer[1:], inner[1:], inner[:-1]], axis=1)
    slope = lit(place(np.array([1, 0.5])) - place(np.array([-1, 0.5])), figure.look.light_from)
    for sign in (-1, 1):
        fill(figure.canvas.shade, place(bands * [sign, 1]), int(255 * (0.78 + 0.17 * sign * slope)))


def _trunk_surface(figure: Figure) -> Callable[[np.ndarray], np.ndarray]:
    """Maps (u, t) to canvas pixels: u in [-1, 1] to image right, t from 0 at the shoulders.

    At the hips t is 1. A trunk is an elliptic cylinder: broad from the front, narrow in profile.
    """
    shoulder, hip = figure.joints[SHOULDERS].mean(axis=0), figure.joints[HIPS].mean(axis=0)
    across, look = perpendicular(shoulder, hip), figure.look

    def half_width(pair, thickness, beyond):
        left, right = figure.joints[pair]
        half = (left - right) / 2 * (1 if figure.facing >= 0 else -1)
        wide = np.hypot(half @ across, thickness * figure.unit * look.breadth)
        slant = half - (half @ across) * across
        return (wide + beyond * figure.unit * look.build) * across + slant

    top, bottom = half_width(SHOULDERS, 0.2, 0.06), half_width(HIPS, 0.19, 0.12)

    def place(points):
        u, t = points[..., :1], points[..., 1:]
        return shoulder + t * (hip - shoulder) + u * (top + np.clip(t, 0, 1) * (bottom - top))

    return place


def _paint_head(figure: Figure) -> None:
    """Neck, then hair as the whole head, then the face on it, shifted with the turn, and a hat."""
    look, unit = figure.look, figure.unit
    neck, head = figure.joints[SHOULDERS].mean(axis=0), figure.joints[HEAD]
    figure.limb(neck, head, (0.13, 0.11), Cloth(look.skin))
    right = perpendicular(head, neck)
    up = np.array([right[1], -right[0]])
    wide, tall = 0.28 * unit * right, 0.34 * unit * up

    def oval(
        x, y, half_width, half_height
    ):  # in half head widths and heights, about the head joint
        return ellipse(head + x * wide + y * tall, half_width * wide, half_height * tall)

    _paint_hair(figure, oval)
    _paint_face(figure, oval)
    if look.hair_style == 'cap':
        _paint_cap(figure, oval)
    dark_side = -np.sign(lit(right, look.light_from))
    fill(figure.canvas.shade, oval(0.75 * dark_side, -0.1, 0.28, 0.7), 205)


def _paint_hair(figure: Figure, oval: Callable) -> None:
    look, heading = figure.look, figure.heading
    colour = look.skin if look.hair_style == 'bald' else look.hair
    if look.hair_style == 'long':
        figure.canvas.fill(oval(-0.25 * heading, -0.45, 1.1, 1.05), colour)
    if look.hair_style == 'bun':
        figure.canvas.fill(oval(-0.75 * heading, 0.95, 0.5, 0.38), colour)
    figure.canvas.fill(oval(0, 0.08, 1.06, 1.04), colour)


def _paint_face(figure: Figure, oval: Callable) -> None:
    """Skin, eyes, mouth and, in profile, a nose; seen half from behind, only a cheek."""
    facing, heading, skin, canvas = figure.facing, figure.heading, figure.look.skin, figure.canvas
    if facing < -0.75:
        return
    shown = 0.62 + (0.38 if facing > 0 else 0.5) * facing
    middle = 0.42 * heading * (1 + 0.4 * max(-facing, 0))
    canvas.fill(oval(middle, -0.2, 0.92 * shown, 0.8), skin)
    if facing < -0.3:
        return
    dark, lips = darker(skin, 20), (skin[0] * 3 // 5, 40, 40)
    for eye in (-0.36, 0.36):
        canvas.fill(oval(middle + 0.35 * heading + eye * max(facing, 0.25), -0.02, 0.12, 0.1), dark)
    canvas.fill(oval(middle + 0.35 * heading, -0.58, 0.26 * max(facing, 0.4), 0.06), lips)
    if abs(heading) > 0.5:
        canvas.fill(oval(np.sign(heading) * 0.98, -0.25, 0.16, 0.16), skin)


def _paint_cap(figure: Figure, oval: Callable) -> None:
    heading, colour = figure.heading, figure.look.cap
    visor = darker(colour, 75)
    figure.canvas.fill(oval(0, 0.62, 1.08, 0.52), colour)
    if figure.facing > -0.5:
        reach = 0.5 + 0.45 * abs(heading)
        figure.canvas.fill(oval(0.75 * heading, 0.38 - 0.1 * figure.facing, reach, 0.16), visor)
