"""Feature maps with a few pixels as channels of one, for layers of few channels on a matrix unit.

Contract. A map `[N, H, W, C]` in blocks of `(rows, columns)` pixels, 2 x 2 where nothing else is
said, is `[N, H / rows, W / columns, rows columns C]`; its channels are `[row, column, C]` of the
block. Convolutions take the plain kernel `[k, k, in, out]` and compute what `layers.convolve` does,
padding included; only where numbers lie differs, and that zeros are multiplied: a matrix unit of
128 x 128 multiplies them anyway where there are 32 channels.

Along one axis, output pixel n i + p of blocks of n reads pixels n i + p + a - k // 2 under taps a.
Such a pixel is pixel p' of block i + d, so that the kernel becomes one of blocks,
`[d, d, p' p' in, p p out]`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
SQUARE = (2, 2)
PAIR = (1, 2)


def to_blocks(x: jax.Array, block: tuple[int, int] = SQUARE) -> jax.Array:
    """`[N, H, W, C]`, whose sides the block's divide, in blocks."""
    n, height, width, channels = x.shape
    rows, columns = block
    x = x.reshape(n, height // rows, rows, width // columns, columns, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, height // rows, width // columns, rows * columns * channels)


def of_profiles(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Blocks of 2 x 2 of maps that are outer products, of `[N, H, C]` and `[N, W, C]`."""
    n, height, channels = rows.shape
    rows = rows.reshape(n, height // 2, 1, 2, 1, channels)
    columns = columns.reshape(n, 1, columns.shape[1] // 2, 1, 2, channels)
    return (rows * columns).reshape(n, height // 2, -1, 4 * channels)


def from_blocks(x: jax.Array, block: tuple[int, int] = SQUARE) -> jax.Array:
    """The map `[N, H, W, C]` of its blocks."""
    n, height, width, channels = x.shape
    rows, columns = block
    x = x.reshape(n, height, width, rows, columns, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, rows * height, columns * width, channels // (rows * columns))


def convolve(x: jax.Array, kernel: jax.Array, block: tuple[int, int] = SQUARE) -> jax.Array:
    """Blocks of `in` channels to blocks of `out`, stride 1."""
    rows, columns = (_taps(kernel.shape[0], pixels) for pixels in block)
    return _convolve(x, kernel, rows, columns)


def convolve_halving(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Blocks of 2 x 2 to plain `[N, h, w, out]`: stride 2."""
    taps = _taps(kernel.shape[0], 2)[:, :, :1]
    return _convolve(x, kernel, taps, taps)


def convolve_doubling(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Plain `[N, h, w, in]` with every pixel repeated 2 x 2 to blocks of 2 x 2."""
    taps = _taps(kernel.shape[0], 2).sum(axis=1, keepdims=True)
    return _convolve(x, kernel, taps, taps)


def max_pool_pairs(x: jax.Array) -> jax.Array:
    """Largest values of 2 x 2 pixels of a map in blocks of 1 x 2: plain `[N, H / 2, W / 2, C]`."""
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 1, 1), (1, 2, 1, 1), 'VALID')
    return jnp.maximum(*jnp.split(x, 2, axis=-1))


def _convolve(x, kernel, rows, columns):
    """Convolves with the kernel that taps of rows and columns, `[d, p', p, a]`, place in blocks."""
    (rows, *above_below), (columns, *left_right) = _used(rows), _used(columns)
    taps = (jnp.asarray(rows, kernel.dtype), jnp.asarray(columns, kernel.dtype))
    by_block = jnp.einsum('dxpa,eyqb,abio->dexyipqo', *taps, kernel)
    inputs = kernel.shape[2] * rows.shape[1] * columns.shape[1]
    outputs = kernel.shape[3] * rows.shape[2] * columns.shape[2]
    return lax.conv_general_dilated(
        x,
        by_block.reshape(*by_block.shape[:2], inputs, outputs),
        (1, 1),
        (above_below, left_right),
        dimension_numbers=DIMENSIONS,
    )


def _used(taps):
    """Taps of the blocks that are read at all, and how many there are before and after a block."""
    used = np.flatnonzero(taps.any(axis=(1, 2, 3)))
    middle = len(taps) // 2
    return taps[used[0] : used[-1] + 1], middle - used[0], used[-1] - middle


@functools.cache
def _taps(k: int, pixels: int) -> np.ndarray:
    """Whether output pixel p reads pixel p' of block d under tap a: `[d, p', p, a]`."""
    reach = -(-(k // 2) // pixels)
    taps = np.zeros((2 * reach + 1, pixels, pixels, k), np.float32)
    for p in range(pixels):
        for a in range(k):
            block, pixel = divmod(p + a - k // 2, pixels)
            taps[block + reach, pixel, p, a] = 1
    return taps
