"""The place that drawn people stand in: a cluttered background, light, and a camera's noise.

Backgrounds are `[SUPERSAMPLE * size, SUPERSAMPLE * size, 3]` uint8 RGB, the same in all frames of a
clip.
"""

import cv2
import numpy as np

from ttp_jax.data.drawn.drawing import (
    SUPERSAMPLE,
    UNIT_SQUARE,
    Canvas,
    Cloth,
    Colour,
    any_colour,
    any_pattern,
    darker,
    disc,
    fill,
    paint_limb,
    skin_tone,
    within,
)


def paint_background(
    rng: np.random.Generator, size: int, *, ground: float
) -> tuple[np.ndarray, list[Colour]]:
    """Paints a cluttered place; returns it and the colours of its wall and floor.

    Args:
      rng: random numbers.
      size: of the final frames, pixels.
      ground: height of the feet in the frame, 0 at the top, 1 at the bottom.
    """
    side = SUPERSAMPLE * size
    wall, floor = _muted(any_colour(rng)), _muted(any_colour(rng))
    horizon = int(side * np.clip(ground - rng.uniform(0.05, 0.3), 0.35, 0.9))
    canvas = Canvas.over(_plain(rng, wall, side))
    for _ in range(rng.integers(3, 8)):
        _paint_object(rng, canvas, rng.uniform(0, side), rng.uniform(0, horizon))
    canvas.colour[horizon:] = _plain(rng, floor, side)[horizon:]
    _paint_floor(rng, canvas, horizon)
    for _ in range(rng.integers(2, 6)):
        depth = rng.uniform(-0.02, 0.25) * side
        _paint_object(rng, canvas, rng.uniform(0, side), horizon + depth)
    blur = int(rng.choice([3, 5, 9]))  # out of focus, more or less
    place = cv2.blur(canvas.flatten(), (blur, blur))
    colours = [_as_colour(_recede(np.array(colour), wall)) for colour in (wall, floor)]
    return _recede(place, wall), colours


def _as_colour(channels: np.ndarray) -> Colour:
    red, green, blue = channels.tolist()
    return red, green, blue


def _recede(colours: np.ndarray, wall: Colour) -> np.ndarray:
    """Colours nearer to the wall's, as through haze, so that the person stands out."""
    haze = np.array(wall)
    return (haze + (colours.astype(np.int32) - haze) * 45 // 100).astype(np.uint8)


def _muted(colour: Colour) -> Colour:
    """Nearer to grey, so that a person stands out."""
    red, green, blue = (int(0.45 * channel + 0.55 * 128) for channel in colour)
    return red, green, blue


def _plain(rng: np.random.Generator, colour: Colour, side: int) -> np.ndarray:
    """A surface, [side, side, 3] uint8, that gets lighter or darker downwards, with blotches."""
    change, strength = rng.integers(-40, 40), rng.integers(8, 45)
    rows = change * (2 * np.arange(side) - side) // side
    channels = 1 if rng.random() < 0.6 else 3
    cells = rng.integers(3, 14)
    coarse = rng.integers(0, 2 * strength + 1, (cells, cells, channels)).astype(np.uint8)
    blotches = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR_EXACT)
    surface = np.array(colour) + rows[:, None, None] + blotches.reshape(side, side, -1) - strength
    return np.clip(surface, 0, 255).astype(np.uint8)


def _paint_floor(rng: np.random.Generator, canvas: Canvas, horizon: int) -> None:
    """A skirting board or kerb, and perhaps boards or lanes towards a vanishing point."""
    side, colour = canvas.shade.shape[0], any_colour(rng)
    left, right = horizon + rng.integers(4, 12, size=2)
    fill(
        canvas.colour, np.array([[[0, horizon], [side, horizon], [side, right], [0, left]]]), colour
    )
    if rng.random() < 0.5:
        return
    vanishing = np.array([rng.uniform(0, side), horizon - 0.3 * side])
    for x in np.arange(-1, 2, rng.uniform(0.2, 0.5)) * side:
        near = np.array([[x, side], [x + rng.integers(4, 12), side]])
        far = vanishing + (near - vanishing) * 0.3 * side / (side - vanishing[1])
        fill(canvas.colour, np.concatenate([near, far[::-1]])[None], colour)


def _paint_object(rng: np.random.Generator, canvas: Canvas, x: float, y: float) -> None:
    """A panel, ball, pole, bush, or loose limbs, which a network must not take for a person's."""
    objects = (_paint_panel, _paint_ball, _paint_pole, _paint_loose_limbs, _paint_bush)
    paint = objects[rng.choice(len(objects), p=[0.3, 0.18, 0.17, 0.15, 0.2])]
    paint(rng, canvas, np.array([x, y]), canvas.shade.shape[0])


def _paint_ball(rng: np.random.Generator, canvas: Canvas, place: np.ndarray, side: int) -> None:
    radius = rng.uniform(0.02, 0.08) * side
    for ring in (radius, radius * rng.uniform(0.3, 0.8)):
        fill(canvas.colour, disc(place, ring, ring), any_colour(rng))


def _paint_panel(rng: np.random.Generator, canvas: Canvas, place: np.ndarray, side: int) -> None:
    """A poster, window or crate: a frame, a ground and a pattern, a little askew."""
    width, height = rng.uniform(0.1, 0.32, size=2) * side
    tilt = rng.normal(0, 0.06)
    across, up = np.array([np.cos(tilt), np.sin(tilt)]), np.array([np.sin(tilt), -np.cos(tilt)])
    pattern = any_pattern(rng, cells=6)
    inner = 0.07, 0.93, 0.07, 0.93
    for patches in (UNIT_SQUARE, within(UNIT_SQUARE, *inner), within(pattern, *inner)):
        u, t = patches[..., :1] - 0.5, patches[..., 1:]
        fill(canvas.colour, place + u * width * across + t * height * up, any_colour(rng))


def _patterned(rng: np.random.Generator, cells: int) -> Cloth:
    return Cloth(any_colour(rng), ((any_colour(rng), any_pattern(rng, cells=cells)),))


def _paint_pole(rng: np.random.Generator, canvas: Canvas, place: np.ndarray, side: int) -> None:
    top = place + np.array([rng.normal(0, 0.03), -rng.uniform(0.3, 0.9)]) * side
    radii = rng.uniform(0.01, 0.03, size=2) * side
    paint_limb(canvas, place, top, (radii[0], radii[1]), _patterned(rng, cells=6))


def _paint_loose_limbs(
    rng: np.random.Generator, canvas: Canvas, place: np.ndarray, side: int
) -> None:
    """Two pieces, as bent as an arm, in cloth and perhaps in skin."""
    upper, radius = _patterned(rng, cells=4), rng.uniform(0.015, 0.04) * side
    lower = Cloth(skin_tone(rng)) if rng.random() < 0.5 else upper
    for cloth in (upper, lower):
        turn, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.2) * side
        end = place + length * np.array([np.cos(turn), np.sin(turn)])
        paint_limb(canvas, place, end, (radius, 0.75 * radius), cloth)
        place, radius = end, 0.75 * radius


def _paint_bush(rng: np.random.Generator, canvas: Canvas, place: np.ndarray, side: int) -> None:
    colour = any_colour(rng)
    for _ in range(rng.integers(4, 9)):
        centre = place + rng.normal(0, 0.05, size=2) * side
        width, height = rng.uniform(0.02, 0.07, size=2) * side
        percent = int(rng.integers(60, 100))
        fill(canvas.colour, disc(centre, width, height), darker(colour, percent))


def any_light(rng: np.random.Generator, size: int) -> np.ndarray:
    """Brightness and colour cast, falling off across the frame: gain `[size, size, 3]` in 1/256."""
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    direction = rng.uniform(0, 2 * np.pi)
    falloff = rng.uniform(0, 0.35) * (x * np.cos(direction) + y * np.sin(direction))
    cast = rng.uniform(0.8, 1.15) * rng.uniform(0.88, 1.12, size=3)
    return np.rint(256 * (1 + falloff)[..., None] * cast).astype(np.int32)


def expose(images: np.ndarray, gain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Applies a light and a camera's noise, computed in integers.

    Args:
      images: `[frames, size, size, 3]` uint8.
      gain: `[size, size, 3]`, in 1/256.
      rng: random numbers.
    """
    strength = int(rng.integers(3, 10))  # a standard deviation of 1 to 4 grey levels
    noise = rng.integers(0, 256, (2, *images.shape), np.uint8).astype(np.int32).sum(axis=0) - 255
    return np.clip((images * gain + strength * noise + 128) >> 8, 0, 255).astype(np.uint8)
