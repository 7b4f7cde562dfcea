"""Convolution and batch norm, and how a convolution lowers when its weights differ per person.

Contract. Features are `[images, height, width, channels]`, kernels `[k, k, in, out]`. Padding is
PyTorch's: `k // 2` zeros on both sides of a convolution; the transposed convolution is kernel 4,
stride 2, one zero, so that it doubles the size. Write the model for one person; `vmap` over people
and their weights is the caller's.

`lowering` says how a convolution is computed, never what it computes:

'library'  XLA's convolution: for shared weights, outside of loops. vmap over kernels makes it one
           grouped convolution; on a CPU that is ten to twenty times slower, and so is any library
           convolution in the body of a loop (`lax.scan`), shared weights or not.
'matmul'   vmap makes its products batched matmuls, which keep their speed there and in loops.
           Horizontal taps are gathered as channels, vertical ones are summed after the product:
           `k (in + out)` numbers move per pixel, where gathering k x k patches moves `k k in`.
           It holds about three times the library's memory between forward and backward pass.
'winograd' as 'matmul', but 3 x 3 kernels of stride 1 take Winograd's tiles where these pay
           (`_suits_winograd`): 16 products where there were 36. Equal to about 1e-6 of the largest
           value in float32. On a CPU VGG-16's layers become 1.4 to 2 times faster, the networks
           that are personalized on the whole not at all; no GPU has been asked.

`experiments/convolution_lowering.py` measures the first two, and patches.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Padding = tuple[tuple[int, int], tuple[int, int]]
LOWERINGS = ('library', 'matmul', 'winograd')
DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
# PyTorch's default, U(-1, 1) / sqrt(fan in), which the release's image networks start from. Batch norm
# follows, so that the scale of a kernel sets only how fast Adam turns it: small is fast.
default_init = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1,
             lowering: str = 'library') -> jax.Array:
    """Convolves `x [N, H, W, in]` with `kernel [k, k, in, out]`, k odd, k // 2 zeros on both sides.

    Returns `[N, ceil(H / stride), ceil(W / stride), out]`. Raises ValueError for an unknown
    lowering.
    """
    _check_lowering(lowering)
    padding = kernel.shape[0] // 2
    if lowering == 'winograd' and stride == 1 and _suits_winograd(x, kernel):
        return _winograd(x, kernel)
    if lowering != 'library':
        return _correlate(x, kernel, stride, padding)
    return lax.conv_general_dilated(x, kernel, (stride, stride), [(padding, padding)] * 2,
                                    dimension_numbers=DIMENSIONS)


def convolve_transpose(x: jax.Array, kernel: jax.Array, *, lowering: str = 'library') -> jax.Array:
    """PyTorch's `ConvTranspose2d(kernel 4, stride 2, padding 1)`: `[N, 2H, 2W, out]`.

    `x [N, H, W, in]`; `kernel [4, 4, in, out]` is PyTorch's weight `[in, out, 4, 4]` transposed by
    (2, 3, 0, 1) and not flipped: input row y adds `kernel[a]` of itself to output row `2 y + a - 1`.
    Raises ValueError for an unknown lowering.
    """
    _check_lowering(lowering)
    if lowering != 'library':
        size = (2 * x.shape[1], 2 * x.shape[2])
        return _correlate_transpose(x, kernel.swapaxes(2, 3), 2, 1, size)
    return lax.conv_general_dilated(x, kernel[::-1, ::-1], (1, 1), [(2, 2)] * 2,
                                    lhs_dilation=(2, 2), dimension_numbers=DIMENSIONS)


def convolve_upsampled(x: jax.Array, kernel: jax.Array, *, lowering: str = 'library') -> jax.Array:
    """`convolve` of `x [N, H, W, in]` with every pixel repeated 2 x 2: `[N, 2H, 2W, out]`, k = 3.

    Of three neighbours in the repeated image two are the same pixel, so that this is a transposed
    convolution with sums of taps for a kernel: 16 instead of 36 products per pixel of `x`. Raises
    ValueError for an unknown lowering or another kernel.
    """
    if kernel.shape[:2] != (3, 3):
        raise ValueError(f'kernel is {kernel.shape[0]} x {kernel.shape[1]}, expected 3 x 3')
    if lowering == 'library':
        return convolve(x.repeat(2, axis=1).repeat(2, axis=2), kernel)
    # Row y of the output reads rows y - 1, y, y + 1 of the repeated image. Of an odd row these are
    # rows i, i, i + 1 of x, of an even one i - 1, i, i; `convolve_transpose` says which tap is whose.
    taps = jnp.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], kernel.dtype)
    return convolve_transpose(x, jnp.einsum('ua,vb,abio->uvio', taps, taps, kernel), lowering=lowering)


def max_pool(x: jax.Array, window: int, padding: Padding = ((0, 0), (0, 0))) -> jax.Array:
    """Largest values of windows of 2 x 2 or 3 x 3 pixels at stride 2: `[N, H, W, C]` to about half.

    padding: pixels that are never the largest, (before, after) for rows and for columns. As
    `lax.reduce_window`, whose gradient XLA scatters pixel by pixel on a CPU: five times slower.
    Equal largest values share the gradient; behind a ReLU those are zeros, which pass none on.
    """
    for axis, (before, after) in enumerate(padding, start=1):
        x = _max_along(x, axis, window, before, after)
    return x


def _max_along(x, axis, window, before, after):
    """The same along one axis, as maxima of even and odd pixels."""
    size = (x.shape[axis] + before + after - window) // 2 + 1
    length = 2 * (size + window // 3)  # with three, the last window begins one pair before the end
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (before, length - before - x.shape[axis], 0)
    pairs = lax.pad(x, jnp.array(-jnp.inf, x.dtype), edges)
    pairs = pairs.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1:])
    even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
    if window == 2:
        return jnp.maximum(even, odd)
    first, third = (lax.slice_in_dim(even, i, i + size, axis=axis) for i in (0, 1))
    return jnp.maximum(jnp.maximum(first, lax.slice_in_dim(odd, 0, size, axis=axis)), third)


def _check_lowering(lowering: str) -> None:
    if lowering not in LOWERINGS:
        names = ', '.join(map(repr, LOWERINGS))
        raise ValueError(f'lowering is {lowering!r}, expected one of {names}')


class SeparableMaps(NamedTuple):
    """Maps `[N, H, W, C]` that are outer products: `rows [N, H, C]` times `columns [N, W, C]`."""
    rows: jax.Array
    columns: jax.Array

    def dense(self) -> jax.Array:
        """The maps themselves, `[N, H, W, C]`."""
        return jnp.einsum('nhc,nwc->nhwc', *self)


def convolve_separable(maps: SeparableMaps, kernel: jax.Array) -> jax.Array:
    """`convolve(maps.dense(), kernel)` without making the maps: `[N, H, W, out]`, stride 1.

    Columns meet the kernel first, which is little work; then each image is one product of its rows,
    `[H, k in]` by `[k in, W out]`. That is `k` times fewer multiplications, and no wide map is ever
    in memory.
    """
    rows, columns = (_neighbours(profile, kernel.shape[0]) for profile in maps)
    columns = jnp.einsum('nwbc,abco->nacwo', columns, kernel)
    return jnp.einsum('nhac,nacwo->nhwo', rows, columns)


def _neighbours(profile: jax.Array, k: int) -> jax.Array:
    """`[N, L, C]` to `[N, L, k, C]`: each position's `k` neighbours, zeros beyond the ends."""
    padded = jnp.pad(profile, ((0, 0), (k // 2, k // 2), (0, 0)))
    return jnp.stack([padded[:, t:t + profile.shape[1]] for t in range(k)], axis=2)


# The 'matmul' lowering. Rows and taps fall into `stride` phases: output row i under tap
# a = phase + stride t reads padded row phase + stride (i + t), so that each phase is a stride-1
# problem in its own rows and no zero is multiplied. The convolution and its transpose are each
# other's gradients and share their few pieces; automatic differentiation of the gathering would
# make sums of padded copies instead.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _correlate(x, kernel, stride, padding):
    """`[N, H, W, in]` to `[N, H', W', out]`, `H' = (H + 2 padding - k) // stride + 1`."""
    size = _output_size(x, kernel, stride, padding)
    sums = []
    for phase, rows in enumerate(_gather_columns(x, kernel.shape[0], stride, padding, size)):
        products = _multiply(rows, _phase_matrix(kernel, phase, stride), 0)
        taps = jnp.split(products, products.shape[-1] // kernel.shape[-1], axis=-1)
        sums += [tap[:, t:t + size[0]] for t, tap in enumerate(taps)]
    return sum(sums).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _correlate_transpose(y, kernel, stride, padding, size):
    """The transpose of `_correlate` in `x`: `[N, H', W', out]` to `[N, *size, in]`, same kernel."""
    k = kernel.shape[0]
    height, width = (-(-(n + 2 * padding) // stride) for n in size)  # in cells of stride pixels
    phases = []
    for phase, taps in enumerate(_gather_rows(y, k, stride)):
        columns = _multiply(taps, _phase_matrix(kernel, phase, stride), 1)
        columns = columns.reshape(*columns.shape[:3], k, kernel.shape[2])
        summed = _sum_columns(columns, stride, width)
        phases.append(_pad(summed, (0, height - summed.shape[1]), (0, 0)))
    phases += [jnp.zeros_like(phases[0])] * (stride - len(phases))
    x = jnp.stack(phases, axis=2)  # [N, height, stride, width * stride, in]
    x = x.reshape(x.shape[0], height * stride, *x.shape[3:])
    return x[:, padding:padding + size[0], padding:padding + size[1]].astype(y.dtype)


def _kernel_gradient(x, y, k, stride, padding):
    """`sum(_correlate(x, kernel) * y)` differentiated by the kernel: `[k, k, in, out]`."""
    by_row = [None] * k
    phases = zip(_gather_columns(x, k, stride, padding, y.shape[1:3]), _gather_rows(y, k, stride))
    for phase, (rows, taps) in enumerate(phases):
        products = lax.dot_general(_as_matrix(rows), _as_matrix(taps), (((0,), (0,)), ((), ())))
        products = products.reshape(k, x.shape[-1], -1, y.shape[-1])
        by_row[phase::stride] = products.transpose(2, 0, 1, 3)
    return jnp.stack(by_row)


def _correlate_forward(x, kernel, stride, padding):
    return _correlate(x, kernel, stride, padding), (x, kernel)


def _correlate_backward(stride, padding, residuals, gradient):
    x, kernel = residuals
    return (_correlate_transpose(gradient, kernel, stride, padding, x.shape[1:3]),
            _kernel_gradient(x, gradient, kernel.shape[0], stride, padding))


def _transpose_forward(y, kernel, stride, padding, size):
    return _correlate_transpose(y, kernel, stride, padding, size), (y, kernel)


def _transpose_backward(stride, padding, size, residuals, gradient):
    del size
    y, kernel = residuals
    return (_correlate(gradient, kernel, stride, padding),
            _kernel_gradient(gradient, y, kernel.shape[0], stride, padding))


_correlate.defvjp(_correlate_forward, _correlate_backward)
_correlate_transpose.defvjp(_transpose_forward, _transpose_backward)


# Winograd's F(2 x 2, 3 x 3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"):
# each 2 x 2 tile of the output comes from a 4 x 4 tile of the input, and in the transformed tiles a
# convolution is a product per position. Per axis, with d of the input, g of the kernel, m of the
# products: (d0 - d2, d1 + d2, d2 - d1, d1 - d3); (g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2);
# (m0 + m1 + m2, m1 - m2 - m3). Written out as sums: XLA would transpose for products this small.


def _suits_winograd(x, kernel):
    """Whether there are enough pixels to pay for transforming the kernel, and channels to pay for
    transforming the pixels; in float32, as differences of tiles lose digits."""
    n, height, width, channels = x.shape
    return (kernel.shape[:2] == (3, 3) and x.dtype == jnp.float32 and height % 2 == width % 2 == 0
            and min(channels, kernel.shape[3]) >= 48 and height * width >= 16 * 16
            and n * height * width >= 2 * (channels + kernel.shape[3]))


@jax.custom_vjp
def _winograd(x, kernel):
    """`[N, H, W, in]` and `[3, 3, in, out]` to `[N, H, W, out]`; H and W even, one zero around."""
    tiles = _input_tiles(x)
    products = _multiply_tiles(_as_matrices(tiles), _kernel_tiles(kernel), 2, 1)
    return _sum_tiles(products.reshape(*tiles.shape[:-1], -1))


def _winograd_forward(x, kernel):
    return _winograd(x, kernel), (x, kernel)


def _winograd_backward(residuals, gradient):
    x, kernel = residuals
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    products = _multiply_tiles(_as_matrices(_input_tiles(x)), _as_matrices(_spread_tiles(gradient)),
                               1, 1)
    return _winograd(gradient, turned), _sum_kernel_tiles(products)


_winograd.defvjp(_winograd_forward, _winograd_backward)


def _kernel_tiles(kernel):
    """`[3, 3, in, out]` to `[16, in, out]`."""
    def spread(g0, g1, g2):
        return g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2

    return jnp.stack([tile for rows in spread(*kernel) for tile in spread(*rows)])


def _sum_kernel_tiles(tiles):
    """The transpose of `_kernel_tiles`: `[16, in, out]` to `[3, 3, in, out]`."""
    def gather(u0, u1, u2, u3):
        return u0 + (u1 + u2) / 2, (u1 - u2) / 2, (u1 + u2) / 2 + u3

    rows = gather(*tiles.reshape(4, 4, *tiles.shape[1:]))
    return jnp.stack([jnp.stack(gather(*row)) for row in rows])


def _input_tiles(x):
    """`[N, H, W, C]` to `[16, N, H / 2, W / 2, C]`."""
    x = _pad(x, (1, 1), (1, 1))
    return jnp.stack([tile for rows in _input_tiles_along(x, 1) for tile in _input_tiles_along(rows, 2)])


def _input_tiles_along(x, axis):
    even, odd = (lax.slice_in_dim(x, start, None, 2, axis) for start in (0, 1))
    d0, d1, d2, d3 = (lax.slice_in_dim(half, start, start + even.shape[axis] - 1, 1, axis)
                      for start in (0, 1) for half in (even, odd))
    return d0 - d2, d1 + d2, d2 - d1, d1 - d3


def _sum_tiles(products):
    """`[16, N, H / 2, W / 2, C]` to `[N, H, W, C]`."""
    m = products.reshape(4, 4, *products.shape[1:])
    rows = (m[0] + m[1] + m[2], m[1] - m[2] - m[3])
    pixels = [jnp.stack([r[0] + r[1] + r[2], r[1] - r[2] - r[3]], axis=3) for r in rows]
    y = jnp.stack(pixels, axis=2)  # [N, H / 2, 2, W / 2, 2, C]
    return y.reshape(y.shape[0], 2 * y.shape[1], 2 * y.shape[3], -1)


def _spread_tiles(y):
    """The transpose of `_sum_tiles`: `[N, H, W, C]` to `[16, N, H / 2, W / 2, C]`."""
    def spread(y0, y1):
        return y0, y0 + y1, y0 - y1, -y1

    n, height, width, channels = y.shape
    y = y.reshape(n, height // 2, 2, width // 2, 2, channels)
    return jnp.stack([tile for rows in spread(y[:, :, 0], y[:, :, 1])
                      for tile in spread(rows[:, :, :, 0], rows[:, :, :, 1])])


def _as_matrices(tiles):
    """`[16, ..., C]` to `[16, pixels, C]`."""
    return tiles.reshape(16, -1, tiles.shape[-1])


def _multiply_tiles(a, b, axis_a, axis_b):
    """Sixteen products of matrices, summed over the given axes."""
    return lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((0,), (0,))))


def _output_size(x, kernel, stride, padding):
    return tuple((n + 2 * padding - kernel.shape[0]) // stride + 1 for n in x.shape[1:3])


def _gather_columns(x, k, stride, padding, size):
    """Per phase `[N, H' + taps - 1, W', k * in]`: as channels, the inputs of each output column."""
    x = _pad(x, (padding, padding), (padding, padding))
    columns = [x[:, :, b:b + (size[1] - 1) * stride + 1:stride] for b in range(k)]
    for phase in range(min(stride, k)):
        stop = (size[0] + _taps(phase, k, stride) - 2) * stride + phase + 1
        yield jnp.concatenate([column[:, phase:stop:stride] for column in columns], axis=-1)


def _gather_rows(y, k, stride):
    """Per phase `[N, H' + taps - 1, W', taps * out]`: as channels, the outputs reading each row."""
    height = y.shape[1]
    for phase in range(min(stride, k)):
        last = _taps(phase, k, stride) - 1
        padded = _pad(y, (last, last), (0, 0))
        rows = [padded[:, last - t:2 * last - t + height] for t in range(last + 1)]
        yield jnp.concatenate(rows, axis=-1)


def _sum_columns(columns, stride, width):
    """The transpose of gathering columns: `[N, H, W', k, in]` to `[N, H, width * stride, in]`."""
    k = columns.shape[3]
    last = (k - 1) // stride
    columns = jnp.pad(columns, ((0, 0), (0, 0), (last, width - columns.shape[2]), (0, 0), (0, 0)))
    shifted = [columns[:, :, last - b // stride:last - b // stride + width, b] for b in range(k)]
    phases = [sum(shifted[phase::stride], jnp.zeros_like(shifted[0])) for phase in range(stride)]
    return jnp.stack(phases, axis=3).reshape(*columns.shape[:2], width * stride, -1)


def _phase_matrix(kernel, phase, stride):
    """The kernel's rows of one phase as a matrix `[k * in, taps * out]`."""
    rows = kernel[phase::stride]
    return rows.transpose(1, 2, 0, 3).reshape(rows.shape[1] * rows.shape[2], -1)


def _multiply(x, matrix, axis):
    """Contracts the channels of `x` with one axis of a matrix; in float32, as taps are summed."""
    contracted = ((x.ndim - 1,), (axis,))
    precise = jnp.promote_types(x.dtype, jnp.float32)
    return lax.dot_general(x, matrix, (contracted, ((), ())), preferred_element_type=precise)


def _as_matrix(x):
    """`[..., channels]` to `[pixels, channels]`: XLA copies an operand that it sums over several axes."""
    return x.reshape(-1, x.shape[-1])


def _taps(phase, k, stride):
    return -(-(k - phase) // stride)


def _pad(x, height, width):
    return jnp.pad(x, ((0, 0), height, width, (0, 0)))


class Conv(nn.Module):
    """A convolution of odd size. Parameters 'kernel' `[k, k, in, features]` and maybe 'bias'.

    `upsample`: of the image with every pixel repeated 2 x 2 (kernel 3, stride 1). `dtype` is what it
    computes and returns in (None: the input's); parameters stay float32. Raises ValueError for an
    even size.
    """
    features: int
    kernel: int = 3
    stride: int = 1
    upsample: bool = False
    use_bias: bool = False
    lowering: str = 'library'
    dtype: Any = None
    kernel_init: Callable = default_init
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array | SeparableMaps) -> jax.Array:
        if self.kernel % 2 == 0:
            raise ValueError(f'{_name(self)}: kernel is {self.kernel}, expected an odd size')
        if isinstance(x, SeparableMaps):
            return self._separable(x)
        convolution = functools.partial(convolve, stride=self.stride, lowering=self.lowering)
        if self.upsample:
            convolution = functools.partial(convolve_upsampled, lowering=self.lowering)
        return _apply_kernel(self, convolution, x)

    def _separable(self, maps: SeparableMaps) -> jax.Array:
        if self.stride != 1 or self.use_bias:
            raise ValueError(f'{_name(self)}: separable maps need stride 1 and no bias')
        shape = (self.kernel, self.kernel, maps.rows.shape[-1], self.features)
        dtype = self.dtype or maps.rows.dtype
        maps = jax.tree.map(lambda profile: profile.astype(dtype), maps)
        return convolve_separable(maps, self.param('kernel', self.kernel_init, shape).astype(dtype))


class ConvTranspose(nn.Module):
    """Doubles the size. Parameters 'kernel' `[4, 4, in, features]` and maybe 'bias'.

    See `convolve_transpose` for the kernel's orientation. `dtype` as in `Conv`. Raises ValueError
    for other than kernel 4, stride 2.
    """
    features: int
    kernel: int = 4
    stride: int = 2
    use_bias: bool = False
    lowering: str = 'library'
    dtype: Any = None
    kernel_init: Callable = nn.initializers.normal(0.001)
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if (self.kernel, self.stride) != (4, 2):
            raise ValueError(f'{_name(self)}: kernel {self.kernel}, stride {self.stride}, '
                             'expected kernel 4, stride 2')
        return _apply_kernel(self, functools.partial(convolve_transpose, lowering=self.lowering), x)


def _apply_kernel(layer: Conv | ConvTranspose, convolution: Callable, x: jax.Array) -> jax.Array:
    dtype = layer.dtype or x.dtype
    shape = (layer.kernel, layer.kernel, x.shape[-1], layer.features)
    kernel = layer.param('kernel', layer.kernel_init, shape)
    y = convolution(x.astype(dtype), kernel.astype(dtype))
    if not layer.use_bias:
        return y
    return y + layer.param('bias', layer.bias_init, (layer.features,)).astype(dtype)


def _name(layer: nn.Module) -> str:
    return '/'.join(layer.path) or type(layer).__name__


class BatchNorm(nn.Module):
    """Batch norm with PyTorch's bookkeeping: normalises by biased, remembers unbiased variance.

    `[..., channels]` in and out, in the input's dtype; statistics are float32. Parameters 'scale'
    and 'bias'; collection 'batch_stats' holds 'mean' and 'var', which move by `momentum` per call.
    `use_running_average` (attribute or argument) uses the stored statistics instead. With
    `axis_name` the batch is the whole of that mapped axis, on all devices.
    """
    use_running_average: bool | None = None
    momentum: float = 0.1
    epsilon: float = 1e-5
    axis_name: str | None = None
    scale_init: Callable = nn.initializers.ones
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, use_running_average: bool | None = None) -> jax.Array:
        use_stored = nn.merge_param('use_running_average', self.use_running_average,
                                    use_running_average)
        channels = x.shape[-1:]
        scale = self.param('scale', self.scale_init, channels)
        bias = self.param('bias', self.bias_init, channels)
        stored_mean = self.variable('batch_stats', 'mean', jnp.zeros, channels)
        stored_var = self.variable('batch_stats', 'var', jnp.ones, channels)
        if use_stored:
            return _normalise(x, stored_mean.value, stored_var.value, scale, bias, self.epsilon)
        # The axis is not bound when a model is initialised outside of its pmap.
        mean, var, count = _moments(x, None if self.is_initializing() else self.axis_name)
        if not self.is_initializing():
            stored_mean.value += self.momentum * (mean - stored_mean.value)
            unbiased = var * (count / max(count - 1, 1))
            stored_var.value += self.momentum * (unbiased - stored_var.value)
        return _normalise(x, mean, var, scale, bias, self.epsilon)


def _normalise(x, mean, var, scale, bias, epsilon):
    factor = scale * lax.rsqrt(var + epsilon)
    return (x * factor + (bias - mean * factor)).astype(x.dtype)


def _moments(x, axis_name):
    """Mean and biased variance per channel over all else and `axis_name`; of how many values."""
    def average(values):
        local = values.mean(range(values.ndim - 1))
        return lax.pmean(local, axis_name) if axis_name else local

    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = average(x)
    devices = lax.axis_size(axis_name) if axis_name else 1
    return mean, average(jnp.square(x - mean)), x.size // x.shape[-1] * devices
