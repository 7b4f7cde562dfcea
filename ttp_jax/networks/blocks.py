"""Feature maps with 2 x 2 pixels as channels of one, for layers of few channels on a matrix unit.

Contract. A blocked map is `[N, H / 2, W / 2, 4 C]`; its channels are `[row parity, column parity,
C]` of the map `[N, H, W, C]`. Convolutions take the plain kernel `[k, k, in, out]` and compute what
`layers.convolve` does, padding included; only where numbers lie differs, and that zeros are
multiplied: a matrix unit of 128 x 128 multiplies them anyway where there are 32 channels.

Along one axis, output pixel 2 i + p reads pixels 2 i + p + a - k // 2 under taps a. Such a pixel is
pixel p' of block i + d, so that the kernel becomes one of blocks, `[d, d, p' p' in, p p out]`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def to_blocks(x: jax.Array) -> jax.Array:
    """`[N, H, W, C]`, of even sides, to `[N, H / 2, W / 2, 4 C]`."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, height // 2, width // 2, 4 * channels)


def from_blocks(x: jax.Array) -> jax.Array:
    """`[N, h, w, 4 C]` to `[N, 2 h, 2 w, C]`."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, 2 * height, 2 * width, channels // 4)


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Blocked `[N, h, w, 4 in]` to blocked `[N, h, w, 4 out]`, stride 1."""
    return _convolve(x, kernel, _taps(kernel.shape[0]))


def convolve_halving(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Blocked `[N, h, w, 4 in]` to plain `[N, h, w, out]`: stride 2."""
    return _convolve(x, kernel, _taps(kernel.shape[0])[:, :, :1])


def convolve_doubling(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Plain `[N, h, w, in]` with every pixel repeated 2 x 2 to blocked `[N, h, w, 4 out]`."""
    return _convolve(x, kernel, _taps(kernel.shape[0]).sum(axis=1, keepdims=True))


def _convolve(x, kernel, taps):
    """Convolves with the kernel that `taps` `[d, p', p, a]` place in blocks."""
    used = np.flatnonzero(taps.any(axis=(1, 2, 3)))
    middle = len(taps) // 2
    padding = (middle - used[0], used[-1] - middle)
    taps = jnp.asarray(taps[used[0] : used[-1] + 1], kernel.dtype)
    by_block = jnp.einsum('dxpa,eyqb,abio->dexyipqo', taps, taps, kernel)
    reach, inputs, outputs = taps.shape[0], taps.shape[1] ** 2, taps.shape[2] ** 2
    by_block = by_block.reshape(reach, reach, inputs * kernel.shape[2], outputs * kernel.shape[3])
    return lax.conv_general_dilated(
        x, by_block, (1, 1), [padding] * 2, dimension_numbers=DIMENSIONS
    )


@functools.cache
def _taps(k: int) -> np.ndarray:
    """Whether output pixel p reads pixel p' of block d under tap a: `[d, p', p, a]`."""
    reach = (k // 2 + 1) // 2
    taps = np.zeros((2 * reach + 1, 2, 2, k), np.float32)
    for p in range(2):
        for a in range(k):
            block, pixel = divmod(p + a - k // 2, 2)
            taps[block + reach, pixel, p, a] = 1
    return taps
