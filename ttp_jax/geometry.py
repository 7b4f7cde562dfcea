"""Crops, affine warps, flips and augmentation, for one image, on the device.

Points are `(x, y)`, 0-based, pixel centres at the integers. An affine map is `[2, 3]`: `point_out =
affine[:, :2] @ point_in + affine[:, 2]`. Two spaces occur: *image pixels* and *crop pixels* of a
square of side `size`; with `size` the side of the heatmap, crop pixels are heatmap cells. Images
are `[height, width, 3]` RGB in 0..255 until `normalise`. Everything works under `jit` and `vmap`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from chex import Array

_PIXELS_PER_SCALE = 200.0  # a scale of 1 is a square of 200 image pixels
_BOX_MARGIN = 1.25
_IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of pixels / 255
_IMAGENET_STD = (0.229, 0.224, 0.225)


class Augmentation(NamedTuple):
    """How one sample is warped in training; `Augmentation()` leaves it as it is."""

    scale: jax.Array | float = 1.0  # [], factor on the side of the cropped square
    rotation: jax.Array | float = 0.0  # [], degrees
    flip: jax.Array | bool = False  # [], mirror left and right


def sample_augmentation(
    rng: jax.Array,
    *,
    scale_std: float = 0.25,
    rotation_std: float = 30.0,
    rotation_prob: float = 0.6,
    flip_prob: float = 0.5,
) -> Augmentation:
    """Draws one augmentation (paper section 4.2).

    Args:
      rng: a key of JAX's random numbers.
      scale_std: standard deviation of the scale around 1, and the most it may differ from 1.
      rotation_std: standard deviation of the rotation in degrees; twice as much at most.
      rotation_prob: how often there is a rotation at all; personalization always rotates (3.2).
      flip_prob: how often left and right are mirrored.
    """
    scale_rng, rotation_rng, rotate_rng, flip_rng = jax.random.split(rng, 4)
    scale = jnp.clip(1 + scale_std * jax.random.normal(scale_rng), 1 - scale_std, 1 + scale_std)
    rotation = jnp.clip(
        rotation_std * jax.random.normal(rotation_rng), -2 * rotation_std, 2 * rotation_std
    )
    rotate = jax.random.bernoulli(rotate_rng, rotation_prob)
    return Augmentation(
        scale, jnp.where(rotate, rotation, 0.0), jax.random.bernoulli(flip_rng, flip_prob)
    )


def crop_region(box: Array, *, subtract_one: bool = True) -> tuple[jax.Array, jax.Array]:
    """The square around a person's box (paper section 4.2).

    Args:
      box: `[4]`, x1, y1, x2, y2 in image pixels, both corners included.
      subtract_one: move the centre from 1-based to 0-based pixels; true for Penn Action and BBC
        Pose, false for Human3.6M.

    Returns:
      centre `[2]`, `(x, y)` in image pixels, and scale `[]`, the square's side in units of 200
      image pixels.
    """
    box = jnp.asarray(box)
    low, high = box[:2], box[2:]
    scale = jnp.max(high - low + 1) / _PIXELS_PER_SCALE
    # The shift keeps feet inside; it is in units of the scale before the margin.
    center = (low + high - 1) / 2 + jnp.array([0.0, 15.0]) * scale - float(subtract_one)
    return center, scale * _BOX_MARGIN


def crop_affine(
    center: jax.Array,
    scale: jax.Array,
    rotation_degrees: jax.Array | float = 0.0,
    flip: jax.Array | bool = False,
    *,
    size: int,
) -> jax.Array:
    """The map from image pixels to a crop of `size × size` (paper section 4.2).

    A flip here equals flipping the image, the points and the centre first (`x → width - 1 - x`) and
    cropping then: the width cancels, so the image is only ever sampled once.

    Args:
      center: `[2]`, `(x, y)` in image pixels, goes to `(size / 2, size / 2)`.
      scale: `[]`, side of the square in units of 200 image pixels.
      rotation_degrees: `[]`, turns the square clockwise on screen, so its content anticlockwise.
      flip: `[]`, mirror the square's content left to right, before the rotation.
      size: side of the crop in pixels, or of its heatmap in cells.

    Returns:
      `[2, 3]`, image pixels to crop pixels.
    """
    zoom = size / (_PIXELS_PER_SCALE * scale)
    angle = jnp.deg2rad(rotation_degrees)
    cos, sin = jnp.cos(angle) * zoom, jnp.sin(angle) * zoom
    mirror = jnp.where(flip, -1.0, 1.0)
    linear = jnp.stack([jnp.stack([cos * mirror, sin]), jnp.stack([-sin * mirror, cos])])
    return jnp.column_stack([linear, size / 2 - _apply(linear, center)])


def augmented_affine(
    box: Array, augmentation: Augmentation, *, size: int, subtract_one: bool = True
) -> jax.Array:
    """`[2, 3]`, image pixels to the augmented crop of side `size` around `box` `[4]`."""
    center, scale = crop_region(box, subtract_one=subtract_one)
    return crop_affine(
        center, scale * augmentation.scale, augmentation.rotation, augmentation.flip, size=size
    )


def invert_affine(affine: jax.Array) -> jax.Array:
    """The inverse of an affine map, `[2, 3] → [2, 3]`."""
    (a, b, _), (c, d, _) = affine
    linear = jnp.stack([jnp.stack([d, -b]), jnp.stack([-c, a])]) / (a * d - b * c)
    return jnp.column_stack([linear, -_apply(linear, affine[:, 2])])


def transform_points(affine: jax.Array, points: Array) -> jax.Array:
    """Maps points `[..., 2]`, `(x, y)`, through an affine map `[2, 3]`."""
    return _apply(affine[:, :2], points) + affine[:, 2]


def _apply(linear: jax.Array, points: Array) -> jax.Array:
    # Written out because accelerators lower a float32 matmul to fewer bits than a pixel coordinate
    # needs.
    return linear[:, 0] * points[..., :1] + linear[:, 1] * points[..., 1:]


def heatmap_to_image(
    points: Array, box: Array, *, size: int, subtract_one: bool = True
) -> jax.Array:
    """Where keypoints of an unaugmented crop's heatmap lie in the image (paper section 4.2).

    Args:
      points: `[..., 2]`, `(x, y)` in heatmap cells.
      box: `[4]`, the box that was cropped, in image pixels.
      size: side of the heatmap in cells.
      subtract_one: as in `crop_region`.

    Returns:
      `[..., 2]`, `(x, y)` in image pixels.
    """
    affine = augmented_affine(box, Augmentation(), size=size, subtract_one=subtract_one)
    return transform_points(invert_affine(affine), points)


def pack(image: Array) -> jax.Array:
    """Images `[..., height, width, 3]` uint8 with a pixel in one number: `[..., height, width]`.

    uint32, the first channel in the lowest byte. A TPU keeps the last axis in rows of 128 numbers,
    of which three channels would leave 125 empty.
    """
    red, green, blue = jnp.moveaxis(jnp.asarray(image).astype(jnp.uint32), -1, 0)
    return red | green << 8 | blue << 16


def _unpack(pixels: jax.Array) -> jax.Array:
    """`[...]` of `pack` to `[3, ...]` float32."""
    channels = [(pixels >> shift & 0xFF).astype(jnp.int32) for shift in (0, 8, 16)]
    return jnp.stack([channel.astype(jnp.float32) for channel in channels])


def warp(image: Array, affine: jax.Array, *, size: int, valid: Array | None = None) -> jax.Array:
    """Samples a crop bilinearly, zeros outside the image (paper section 4.2).

    Args:
      image: `[height, width, 3]`, uint8 or float, or `[height, width]` of `pack`; may be padded on
        the right and below.
      affine: `[2, 3]`, image pixels to crop pixels.
      size: side of the crop.
      valid: `[2]`, `(height, width)` of the image without its padding; by default all of it.

    Returns:
      `[size, size, 3]` float32 in the image's range.
    """
    height, width, *channels = image.shape
    rows = jnp.asarray(image).reshape(height * width, *channels)
    pixel_of = (lambda pixel: pixel.astype(jnp.float32)) if channels else _unpack
    colours = -1 if channels else 0
    limit_y, limit_x = (height, width) if valid is None else (valid[0], valid[1])
    grid = jnp.stack(jnp.meshgrid(jnp.arange(size), jnp.arange(size)), axis=-1).astype(jnp.float32)
    x, y = jnp.moveaxis(transform_points(invert_affine(affine), grid), -1, 0)
    left, top = jnp.floor(x), jnp.floor(y)
    right_share, bottom_share = x - left, y - top
    left, top = left.astype(jnp.int32), top.astype(jnp.int32)

    # Gathering the three channels of a pixel at once was as fast as anything tried; packing them
    # into one integer was three times slower on a CPU; see `pack` for TPUs.
    def tap(column, row, weight):
        inside = (column >= 0) & (column < limit_x) & (row >= 0) & (row < limit_y)
        pixel = pixel_of(rows[jnp.where(inside, row * width + column, 0)])
        return jnp.expand_dims(jnp.where(inside, weight, 0.0), colours) * pixel

    warped = (
        tap(left, top, (1 - right_share) * (1 - bottom_share))
        + tap(left + 1, top, right_share * (1 - bottom_share))
        + tap(left, top + 1, (1 - right_share) * bottom_share)
        + tap(left + 1, top + 1, right_share * bottom_share)
    )
    return jnp.moveaxis(warped, colours, -1)


def swap_left_right(
    values: jax.Array, flip: jax.Array | bool, *, permutation: tuple[int, ...]
) -> jax.Array:
    """Exchanges left and right where a sample is flipped.

    Args:
      values: `[joints, ...]`, one joint's row each: coordinates or visibility.
      flip: `[]`, whether the sample is flipped.
      permutation: the joint that each joint becomes, `Skeleton.mirror`.
    """
    return jnp.where(flip, jnp.asarray(values)[jnp.array(permutation)], values)


def normalise(image: jax.Array) -> jax.Array:
    """RGB `[..., 3]` in 0..255 to the model's float32 input, by ImageNet's mean and spread."""
    return (image / 255.0 - jnp.array(_IMAGENET_MEAN)) / jnp.array(_IMAGENET_STD)


def denormalise(image: jax.Array) -> jax.Array:
    """The inverse of `normalise`; not clipped to 0..255, so that gradients pass."""
    return (image * jnp.array(_IMAGENET_STD) + jnp.array(_IMAGENET_MEAN)) * 255.0
