"""Feature maps with a few pixels as channels of one, for layers of few channels on a matrix unit.

Contract. A map `[N, H, W, C]` in blocks of `rows` x `columns` pixels is
`[N, H / rows, W / columns, rows columns C]`; its channels are `[row, column, C]` of the block.
Convolutions take the plain kernel `[k, k, in, out]` and compute what `layers.convolve` does,
padding included; only where numbers lie differs, and that zeros are multiplied: a matrix unit of
128 x 128 multiplies them anyway where there are 32 channels.

Along one axis, pixel p of a block of n reads pixels p + a - k // 2 under taps a: n + k - 1 of them,
which lie in three blocks for k = 3. Blocks that begin one pixel before the map (`shift`) need two:
with n = 2, (1, 2) reads (0, 1) and (2, 3). So of two layers the first one's result is shifted and
the second one's is not. Pixels of a shifted map that lie outside of the picture have to be zero
when it is read (`masked`).
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ttp_jax.networks import transposed

CHANNELS = 128  # of a matrix unit, and numbers in a row of memory


class Blocks(NamedTuple):
    """How a map lies. shift: pixels that blocks of more than one begin before it, along an axis."""

    rows: int = 1
    columns: int = 1
    shift: int = 0

    @property
    def pixels(self) -> int:
        """How many are channels of one."""
        return self.rows * self.columns

    @property
    def axes(self) -> 'tuple[_Axis, _Axis]':
        """Both axes, rows first."""
        rows, columns = (_Axis(n, self.shift if n > 1 else 0) for n in (self.rows, self.columns))
        return rows, columns

    @property
    def shifted(self) -> 'Blocks':
        """The same, beginning one pixel before the map."""
        return self._replace(shift=1) if self.pixels > 1 else self


PLAIN = Blocks()
PAIR = Blocks(1, 2)


class _Axis(NamedTuple):
    pixels: int
    shift: int

    def count(self, size: int) -> int:
        """How many blocks hold `size` pixels."""
        return -(-(size + self.shift) // self.pixels)

    def size(self, count: int) -> int:
        """How many pixels so many blocks hold, which are as few as can be."""
        return (count - (self.shift > 0)) * self.pixels

    def pads(self, size: int) -> tuple[int, int]:
        """Pixels before and behind the map that its blocks hold as well."""
        return self.shift, self.count(size) * self.pixels - self.shift - size


def suited(channels: int, height: int, width: int) -> Blocks:
    """The largest blocks of 2 x 2 that bring a map to no more than `CHANNELS`, columns before rows.

    Larger ones save less than it takes to place kernels in them.
    """
    columns = 2 if width % 2 == 0 and 2 * channels <= CHANNELS else 1
    rows = 2 if height % 2 == 0 and 2 * columns * channels <= CHANNELS else 1
    return Blocks(rows, columns)


def doubling(channels: int, *, times: int) -> list[Blocks]:
    """Of maps that double so many times, the last to `channels`: plain, and the last perhaps 2 x 2.

    So that a pixel and its copies become a block, and nothing has to be taken apart.
    """
    last = Blocks(2, 2) if 4 * channels <= CHANNELS else PLAIN
    return [*[PLAIN] * times, last]


def to_blocks(x: jax.Array, blocks: Blocks, margin: int = 0) -> jax.Array:
    """`[N, H, W, C]`, whose sides the block's divide, in blocks.

    margin: how many blocks of zeros there are to be around them.
    """
    if blocks == PLAIN:
        return x
    pads = (axis.pads(size) for axis, size in zip(blocks.axes, x.shape[1:3], strict=True))
    x = jnp.pad(x, ((0, 0), *pads, (0, 0))) if blocks.shift else x
    n, height, width, channels = x.shape
    rows, columns = blocks.rows, blocks.columns
    x = x.reshape(n, height // rows, rows, width // columns, columns, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(n, height // rows, width // columns, rows * columns * channels)
    return jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0))) if margin else x


def from_blocks(x: jax.Array, blocks: Blocks) -> jax.Array:
    """The map `[N, H, W, C]` of its blocks."""
    if blocks == PLAIN:
        return x
    n, height, width, channels = x.shape
    (rows, up), (columns, left) = blocks.axes
    x = x.reshape(n, height, width, rows, columns, -1).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(n, rows * height, columns * width, channels // (rows * columns))
    size = [axis.size(count) for axis, count in zip(blocks.axes, (height, width), strict=True)]
    return x[:, up : up + size[0], left : left + size[1]]


def of_profiles(rows: jax.Array, columns: jax.Array, blocks: Blocks, margin: int = 0) -> jax.Array:
    """Blocks, not shifted, of maps that are outer products, of `[N, H, C]` and `[N, W, C]`.

    margin: how many blocks of zeros there are to be around them.
    """
    rows, columns = (
        jnp.pad(profile, ((0, 0), (margin * n,) * 2, (0, 0)))
        for profile, n in ((rows, blocks.rows), (columns, blocks.columns))
    )
    rows = _beside(rows, blocks.rows, [i // blocks.columns for i in range(blocks.pixels)])
    columns = _beside(columns, blocks.columns, [i % blocks.columns for i in range(blocks.pixels)])
    return rows[:, :, None] * columns[:, None]


def _beside(profile: jax.Array, pixels: int, order: Sequence[int]) -> jax.Array:
    """Of every few pixels of a profile `[N, L, C]` those in order: `[N, L / pixels, order C]`."""
    return jnp.concatenate([profile[:, i::pixels] for i in order], -1)


def masked(x: jax.Array, blocks: Blocks) -> jax.Array:
    """A map in blocks, with zeros outside of the picture; nothing happens to one without shift."""
    if not blocks.shift:
        return x
    mask = np.repeat(inside(blocks, *x.shape[1:3]), x.shape[3] // blocks.pixels, axis=-1)
    return jnp.where(mask, x, jnp.zeros((), x.dtype))


def per_pixel(values: jax.Array, blocks: Blocks) -> jax.Array:
    """What every channel has, `[C]`, for every pixel of a block: `[pixels C]`."""
    return values if blocks.pixels == 1 else jnp.tile(values, blocks.pixels)


def count(blocks: Blocks, shape: Sequence[int]) -> int:
    """How many pixels of pictures a map of that shape has."""
    if not blocks.shift:
        return math.prod(shape[:-1]) * blocks.pixels
    return shape[0] * int(inside(blocks, *shape[1:3]).sum())


def inside(blocks: Blocks, height: int, width: int) -> np.ndarray:
    """Which pixels are in the picture: `[height, width, pixels]` of a map of so many blocks."""
    rows, columns = (
        _inside(axis, count) for axis, count in zip(blocks.axes, (height, width), strict=True)
    )
    both = rows[:, None, :, None] & columns[:, None, :]
    return both.reshape(height, width, blocks.pixels)


def _inside(axis: _Axis, count: int) -> np.ndarray:
    positions = np.arange(count * axis.pixels).reshape(count, axis.pixels) - axis.shift
    return (positions >= 0) & (positions < axis.size(count))


def max_pool_pairs(x: jax.Array) -> jax.Array:
    """Largest values of 2 x 2 pixels of a map in blocks of 1 x 2: plain `[N, H / 2, W / 2, C]`."""
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 1, 1), (1, 2, 1, 1), 'VALID')
    return _larger_half(x)


@jax.custom_vjp
def _larger_half(x: jax.Array) -> jax.Array:
    """Of two halves of channels the larger values; of equal ones the first has the gradient.

    Halves put together by padding, which a TPU's compiler adds up in one pass; not so the library's
    rule, which shares the gradient of equal values.
    """
    return jnp.maximum(*jnp.split(x, 2, axis=-1))


def _larger_half_backward(x, gradient):
    first, second = jnp.split(x, 2, axis=-1)
    of_first = jnp.where(first >= second, gradient, jnp.zeros((), gradient.dtype))
    sides = ((0, 0),) * (x.ndim - 1)
    behind, before = ((*sides, pads) for pads in ((0, first.shape[-1]), (first.shape[-1], 0)))
    return (jnp.pad(of_first, behind) + jnp.pad(gradient - of_first, before),)


_larger_half.defvjp(lambda x: (_larger_half(x), x), _larger_half_backward)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    inputs: Blocks,
    outputs: Blocks,
    *,
    stride: int = 1,
    repeat: int = 1,
    margin: int = 0,
) -> jax.Array:
    """`layers.convolve` of a map in blocks.

    Args:
      x: the map in `inputs`, zero outside of the picture.
      kernel: `[k, k, in, out]`, k odd.
      outputs: how the result is to lie. What is outside of the picture there is arbitrary.
      stride: of the result's pixels.
      repeat: how often every pixel of `x` is repeated along both axes first.
      margin: how many blocks of zeros there are around the map already.

    Raises:
      ValueError: where a block of the result would begin within one of `x`.
    """
    rows, columns = (
        placed(
            before, after, kernel.shape[0], count=count - 2 * margin, stride=stride, repeat=repeat
        )
        for before, after, count in zip(inputs.axes, outputs.axes, x.shape[1:3], strict=True)
    )
    by_block = in_blocks(kernel, rows, columns)
    padding = [(axis.before - margin, axis.behind - margin) for axis in (rows, columns)]
    if all(axis.grows and not margin for axis in (rows, columns)):
        return transposed.convolve(x, by_block, (1, 1), (padding[0], padding[1]))
    strides = (rows.stride, columns.stride)
    return lax.conv_general_dilated(
        x, by_block, strides, padding, dimension_numbers=transposed.DIMENSIONS
    )


class Placed(NamedTuple):
    """Where a kernel's taps stand along one axis.

    positions: for every pixel of a result's block those that it reads under each tap, counted in
    the `blocks` of `pixels` that are read together. before, behind: blocks of zeros that are read
    besides the map's.
    """

    positions: tuple[tuple[int, ...], ...]
    blocks: int
    pixels: int
    stride: int
    before: int
    behind: int

    @property
    def grows(self) -> bool:
        """Whether the result has more blocks than the map."""
        return self.stride == 1 and self.before + self.behind >= self.blocks


@functools.cache
def placed(
    before: _Axis, after: _Axis, k: int, *, count: int, stride: int = 1, repeat: int = 1
) -> Placed:
    """Where k taps stand that read `count` blocks; raises and has arguments as `convolve`."""
    step, rest = divmod(stride * after.pixels, repeat * before.pixels)
    if rest or not step:
        raise ValueError(
            f'blocks of {before.pixels} pixels cannot become blocks of {after.pixels} '
            f'at stride {stride}, every pixel repeated {repeat} times'
        )
    position = stride * (np.arange(after.pixels) - after.shift)[:, None]
    reads = (position + np.arange(k) - k // 2) // repeat + before.shift
    first, last = int(reads.min()) // before.pixels, int(reads.max()) // before.pixels
    results = after.count(-(-before.size(count) * repeat // stride))
    return Placed(
        tuple(map(tuple, (reads - first * before.pixels).tolist())),
        last - first + 1,
        before.pixels,
        step,
        -first,
        step * (results - 1) + last - (count - 1),
    )


def in_blocks(kernel: jax.Array, rows: Placed, columns: Placed) -> jax.Array:
    """The kernel `[blocks, blocks, pixels in, pixels out]` from blocks to blocks.

    By padding, not by products with zeros and ones: many kernels are so small that the number of
    operations is what counts.
    """
    kernels = [
        _spread(_spread(kernel, 0, above, rows), 1, left, columns)
        for above in rows.positions
        for left in columns.positions
    ]
    read = jnp.concatenate(kernels, -1)
    read = read.reshape(rows.blocks, rows.pixels, columns.blocks, columns.pixels, *read.shape[2:])
    read = read.transpose(0, 2, 1, 3, 4, 5)
    return read.reshape(rows.blocks, columns.blocks, -1, read.shape[-1])


def _spread(kernel: jax.Array, axis: int, positions: Sequence[int], placed: Placed) -> jax.Array:
    """Taps at their positions, zeros elsewhere; taps at one position are added up."""
    if len(set(positions)) < len(positions):
        taps = jnp.split(kernel, kernel.shape[axis], axis)
        by_position: dict[int, list[jax.Array]] = {}
        for position, tap in zip(positions, taps, strict=True):
            by_position.setdefault(position, []).append(tap)
        kernel = jnp.concatenate([sum(taps[1:], taps[0]) for taps in by_position.values()], axis)
    pads = [(0, 0)] * kernel.ndim
    behind = placed.blocks * placed.pixels - positions[0] - kernel.shape[axis]
    pads[axis] = (positions[0], behind)
    return jnp.pad(kernel, pads)
