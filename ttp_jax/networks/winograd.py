"""3 x 3 convolutions by Winograd's tiles, with four ninths or a quarter of the multiplications.

Contract. As `layers.convolve` with `kernel [3, 3, in, out]` and stride 1: `x [N, H, W, in]` to
`[N, H, W, out]`. The output is cut into tiles of `tile` x `tile` pixels, 2 or 4; each comes from
n x n pixels of the input, n = tile + 2. Once tiles and kernels are transformed, the convolution is
one product for each of n x n positions: 36 in place of 144 where `tile` is 4.

Along one axis a tile is `output @ ((kernel @ g) * (input @ d))` of a kernel's taps g and n pixels d
(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"): taps and pixels are taken as
coefficients of polynomials, which are known by their values at n - 1 points and at infinity. Points
whose magnitudes lie close to one keep the most digits: with these a float32 result is right to
about 1e-6 (tile 2) and 5e-6 (tile 4) of the largest, where 0, 1, -1, 2, -2 lose several times as
much.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

TAPS = 3
POINTS = {2: (0, 1, -1), 4: (0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))}


class Transforms(NamedTuple):
    """Matrices for one axis, float64: output `[tile, n]`, kernel `[n, 3]`, input `[n, n]`."""

    output: np.ndarray
    kernel: np.ndarray
    input: np.ndarray


@functools.cache
def transforms(tile: int) -> Transforms:
    """Toom and Cook's matrices for a tile; the last row or column is of the point at infinity."""
    points = np.array(POINTS[tile])
    others = [np.delete(points, i) for i in range(len(points))]
    scale = np.array([np.prod(point - rest) for point, rest in zip(points, others)])
    kernel = points[:, None] ** np.arange(TAPS) / scale[:, None]
    products = [np.append(np.poly(rest)[::-1], 0) for rest in others]
    return Transforms(
        output=np.column_stack([points ** np.arange(tile)[:, None], np.eye(tile)[-1]]),
        kernel=np.vstack([kernel, np.eye(TAPS)[-1]]),
        input=np.vstack([*products, np.poly(points)[::-1]]),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x, kernel, tile):
    """`[N, H, W, in]`, `[3, 3, in, out]` to `[N, H, W, out]`, padded by one zero; tile: 2 or 4."""
    products = _multiply(_input_tiles(x, tile), _kernel_tiles(kernel, tile), 2, 1)
    return _output_pixels(products, x.shape, tile)


def _forward(x, kernel, tile):
    return convolve(x, kernel, tile), (x, kernel)


def _backward(tile, residuals, gradient):
    """Every transform transposed: automatic differentiation would sum padded copies instead."""
    x, kernel = residuals
    products = _output_tiles(gradient, tile)
    of_x = _multiply(products, _kernel_tiles(kernel, tile), 2, 2)
    of_kernel = _multiply(_input_tiles(x, tile), products, 1, 1)
    return _input_pixels(of_x, x.shape, tile), _kernel_taps(of_kernel, tile)


convolve.defvjp(_forward, _backward)


def _multiply(a, b, axis_a, axis_b):
    """A product of matrices for every position, contracting the given axes."""
    return lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((0,), (0,))))


@functools.partial(jax.jit, static_argnums=(1,))
def _input_tiles(x, tile):
    """Overlapping n x n pixels, transformed: `[N, H, W, C]` to `[n^2, tiles, C]`."""
    rows, columns = _counts(x.shape, tile)
    x = jnp.pad(
        x, ((0, 0), (1, 1 + tile * rows - x.shape[1]), (1, 1 + tile * columns - x.shape[2]), (0, 0))
    )
    for axis, count in ((1, rows), (3, columns)):  # the first stack moves columns to 3
        windows = [
            lax.slice_in_dim(x, i, i + tile * (count - 1) + 1, tile, axis) for i in range(tile + 2)
        ]
        x = jnp.stack(_combine(transforms(tile).input, windows))
    return x.reshape((tile + 2) ** 2, -1, x.shape[-1])


@functools.partial(jax.jit, static_argnums=(1, 2))
def _input_pixels(tiles, shape, tile):
    """The transpose of `_input_tiles`: where windows overlap, they are summed."""
    rows, columns = _counts(shape, tile)
    x = tiles.reshape(tile + 2, tile + 2, shape[0], rows, columns, -1)
    for axis in (3, 1):  # columns [n, N, rows, columns, C], then rows [N, rows, pixels, C]
        pixels = _combine(transforms(tile).input.T, list(x))
        inner = [_shift(pixel, axis, 0, 1) for pixel in pixels[:tile]]
        for i, pixel in enumerate(pixels[tile:]):  # these overlap the next window's first pixels
            inner[i] += _shift(pixel, axis, 1, 0)
        x = jnp.stack(inner, axis=axis + 1)
        x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return x[:, 1 : 1 + shape[1], 1 : 1 + shape[2]]


def _shift(x, axis, before, after):
    return jnp.pad(x, [(before, after) if i == axis else (0, 0) for i in range(x.ndim)])


@functools.partial(jax.jit, static_argnums=(1, 2))
def _output_pixels(products, shape, tile):
    """`[n^2, tiles, C]` to `[N, H, W, C]`."""
    rows, columns = _counts(shape, tile)
    y = products.reshape(tile + 2, tile + 2, shape[0], rows, columns, -1)
    for axis in (4, 2):  # [n, N, rows, columns, tile, C], then [N, rows, tile, columns, tile, C]
        y = jnp.stack(_combine(transforms(tile).output, list(y)), axis=axis)
    return y.reshape(shape[0], tile * rows, tile * columns, -1)[:, : shape[1], : shape[2]]


@functools.partial(jax.jit, static_argnums=(1,))
def _output_tiles(y, tile):
    """The transpose of `_output_pixels`: `[N, H, W, C]` to `[n^2, tiles, C]`."""
    rows, columns = _counts(y.shape, tile)
    y = jnp.pad(
        y, ((0, 0), (0, tile * rows - y.shape[1]), (0, tile * columns - y.shape[2]), (0, 0))
    )
    y = y.reshape(-1, rows, tile, columns, tile, y.shape[-1])
    for axis in (2, 4):  # rows; then columns, where the stack of rows has taken their place
        pixels = [lax.index_in_dim(y, i, axis, keepdims=False) for i in range(tile)]
        y = jnp.stack(_combine(transforms(tile).output.T, pixels))
    return y.reshape((tile + 2) ** 2, -1, y.shape[-1])


@functools.partial(jax.jit, static_argnums=(1,))
def _kernel_tiles(kernel, tile):
    """`[3, 3, in, out]` to `[n^2, in, out]`."""
    for _ in ('rows', 'columns'):
        kernel = jnp.stack(_combine(transforms(tile).kernel, list(kernel))).swapaxes(0, 1)
    return kernel.swapaxes(0, 1).reshape(-1, *kernel.shape[2:])


@functools.partial(jax.jit, static_argnums=(1,))
def _kernel_taps(tiles, tile):
    """The transpose of `_kernel_tiles`."""
    taps = tiles.reshape(tile + 2, tile + 2, *tiles.shape[1:]).swapaxes(0, 1)
    for _ in ('columns', 'rows'):
        taps = jnp.stack(_combine(transforms(tile).kernel.T, list(taps.swapaxes(0, 1))))
    return taps


def _counts(shape, tile):
    """How many tiles cover an image `[N, H, W, C]`: in a column, and in a row."""
    return -(-shape[1] // tile), -(-shape[2] // tile)


def _combine(matrix: np.ndarray, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """`matrix @ parts`, written out: XLA would transpose for products this small.

    The rows that belong to a point and to its negative are the sum and the difference of the same
    two halves, which are computed once.
    """
    sums, rows = [], list(matrix)
    while rows:
        row = rows.pop(0)
        if rows and np.array_equal(abs(row), abs(rows[0])):
            other = rows.pop(0)
            even, odd = _sum((row + other) / 2, parts), _sum((row - other) / 2, parts)
            sums += [even + odd, even - odd]
        else:
            sums.append(_sum(row, parts))
    return sums


def _sum(factors, parts):
    terms = [
        part if factor == 1 else part * np.asarray(factor, part.dtype)
        for factor, part in zip(factors, parts)
        if abs(factor) > 1e-9
    ]
    return functools.reduce(jnp.add, terms)
