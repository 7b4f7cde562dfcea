"""Convolution and batch norm, and how a convolution lowers when its weights differ per person.

Contract. Features are `[images, height, width, channels]`, kernels `[k, k, in, out]`. Padding is
PyTorch's: `k // 2` zeros on both sides of a convolution; the transposed convolution is kernel 4,
stride 2, one zero, so that it doubles the size. Write the model for one person; `vmap` over people
and their weights is the caller's.

`lowering` says how a convolution is computed, never what it computes:

'library'  XLA's convolution, for shared weights on an accelerator. vmap over kernels makes it one
           grouped convolution; on a CPU that is ten to twenty times slower, and so are the
           gradients of any library convolution in the body of a loop (`lax.scan`), shared weights
           or not.
'matmul'   `correlation`: vmap makes its products batched matmuls, which keep their speed there and
           in loops. It holds about three times the library's memory between forward and backward
           pass.
'winograd' as 'matmul', but 3 x 3 kernels take Winograd's tiles where these pay (`_tile`), with up
           to four times fewer products. Equal to about 5e-6 of the largest value, in float32.
'blocked'  as 'winograd', and a layer that would move more than a core's caches hold takes a few
           images at a time (`_images_at_once`): for a core by itself, as loops share badly.
'tpu'      the library's convolution and `max_pool`, as the TPU's compiler arranges both in memory
           as suits their neighbours; layers of few channels take a few pixels as channels of one
           (`blocks`), in layouts that `layout` gives. For one set of weights: people who have their
           own take turns (`many_people`).

`suited_lowering` says which to take where; `experiments/convolution_lowering.py` measures them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ttp_jax.networks import blocks, correlation, transposed, winograd
from ttp_jax.networks.blocks import PLAIN, Blocks

Padding = tuple[tuple[int, int], tuple[int, int]]
LOWERINGS = ('library', 'matmul', 'winograd', 'blocked', 'tpu')
ON_LIBRARY = ('library', 'tpu')
# PyTorch's default, U(-1, 1) / sqrt(fan in), which the release's image networks start from. Batch
# norm follows, so that the scale of a kernel sets only how fast Adam turns it: small is fast.
default_init = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


def suited_lowering(weights: str, *, platform: str) -> str:
    """The lowering that suits the devices that a program is for, wherever it is compiled.

    Measured on two CPU cores; a TPU's by its compiler's estimates; not known of GPUs.

    Args:
      platform: of the devices, `jax.Device.platform`.
      weights: 'joint' where all cores of a CPU work on one batch with one set of weights; 'private'
        where the weights of several people meet in one product; 'alone' where each person has a
        device (on a CPU: a core) to themselves.

    Raises:
      KeyError: for other `weights`.
    """
    cpu = {'joint': 'winograd', 'private': 'matmul', 'alone': 'blocked'}
    gpu = {'joint': 'library', 'private': 'matmul', 'alone': 'library'}
    tpu = dict.fromkeys(cpu, 'tpu')
    return {'cpu': cpu, 'tpu': tpu}.get(platform, gpu)[weights]


def relu(x: jax.Array, *, lowering: str = 'library') -> jax.Array:
    """The larger of x and 0; for a TPU with a gradient that needs nothing but the result."""
    return _relu(x) if lowering == 'tpu' else nn.relu(x)


@jax.custom_vjp
def _relu(x: jax.Array) -> jax.Array:
    """Its gradient reads the result, which the next layer's gradient needs anyway.

    By its sign: of a comparison a TPU's compiler makes packed bits in the forward pass, in an
    operation of their own, and unpacks them in another.
    """
    return jnp.maximum(x, 0)


def _relu_forward(x):
    y = _relu(x)
    return y, y


_relu.defvjp(_relu_forward, lambda y, gradient: (gradient * jnp.sign(y),))


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    lowering: str = 'library',
    inputs: Blocks = PLAIN,
    outputs: Blocks = PLAIN,
    margin: int = 0,
) -> jax.Array:
    """Convolves `x [N, H, W, in]` with `kernel [k, k, in, out]`, k odd, k // 2 zeros on both sides.

    inputs, outputs, margin: how `x` and the result lie (`blocks.convolve`); plain but with 'tpu'.

    Returns:
      `[N, ceil(H / stride), ceil(W / stride), out]`.

    Raises:
      ValueError: for an unknown lowering.
    """
    _check_lowering(lowering)
    if inputs.pixels * outputs.pixels > 1:
        return blocks.convolve(x, kernel, inputs, outputs, stride=stride, margin=margin)
    padding = kernel.shape[0] // 2
    if lowering in ON_LIBRARY:
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=transposed.DIMENSIONS,
        )
    tileable = lowering != 'matmul' and kernel.shape[0] == 3 and stride == 1
    tile = _tile(x, kernel.shape[3]) if tileable else 0
    convolution: Callable = _Tiled(tile) if tile else _Direct(stride, padding)
    return _compute(convolution, x, kernel, lowering)


def convolve_transpose(x: jax.Array, kernel: jax.Array, *, lowering: str = 'library') -> jax.Array:
    """PyTorch's `ConvTranspose2d(kernel 4, stride 2, padding 1)`: `[N, 2H, 2W, out]`.

    `x [N, H, W, in]`; `kernel [4, 4, in, out]` is PyTorch's weight `[in, out, 4, 4]` transposed by
    (2, 3, 0, 1) and not flipped: input row y, multiplied by `kernel[a]`, is added to output row
    `2 y + a - 1`.

    Raises:
      ValueError: for an unknown lowering.
    """
    _check_lowering(lowering)
    if lowering == 'tpu':
        return transposed.convolve(x, kernel[::-1, ::-1], (2, 2), ((2, 2), (2, 2)))
    if lowering == 'library':
        return lax.conv_general_dilated(
            x,
            kernel[::-1, ::-1],
            (1, 1),
            [(2, 2)] * 2,
            lhs_dilation=(2, 2),
            dimension_numbers=transposed.DIMENSIONS,
        )
    convolution = _correlate_transpose
    if lowering != 'matmul' and _tile(x, 4 * kernel.shape[3]) == 4:
        convolution, kernel = _doubling_winograd, _by_parity(kernel)
    return _compute(convolution, x, kernel, lowering)


def convolve_upsampled(
    x: jax.Array,
    kernel: jax.Array,
    *,
    lowering: str = 'library',
    inputs: Blocks = PLAIN,
    outputs: Blocks = PLAIN,
) -> jax.Array:
    """`convolve` of `x [N, H, W, in]` with every pixel repeated 2 x 2: `[N, 2H, 2W, out]`, k = 3.

    Of three neighbours in the repeated image two are the same pixel, so that this is a transposed
    convolution with sums of taps for a kernel: 16 instead of 36 products per pixel of `x`. inputs,
    outputs: as in `convolve`.

    Raises:
      ValueError: for an unknown lowering or another kernel.
    """
    if kernel.shape[:2] != (3, 3):
        raise ValueError(f'kernel is {kernel.shape[0]} x {kernel.shape[1]}, expected 3 x 3')
    if inputs.pixels * outputs.pixels > 1:
        return blocks.convolve(x, kernel, inputs, outputs, repeat=2)
    if lowering == 'library':
        return convolve(x.repeat(2, axis=1).repeat(2, axis=2), kernel)
    # Row y of the output reads rows y - 1, y, y + 1 of the repeated image. For an odd row these are
    # rows i, i, i + 1 of x, for an even one i - 1, i, i: by `convolve_transpose`'s order of taps
    # 2, 1 + 2, 0 + 1 and 0.
    kernel = _neighbours_added(_neighbours_added(kernel[::-1, ::-1], axis=0), axis=1)
    return convolve_transpose(x, kernel, lowering=lowering)


def _neighbours_added(taps: jax.Array, axis: int) -> jax.Array:
    """k + 1 sums of each tap and the one before it, which is zero at both ends."""
    left, right = ((0, 0),) * axis, ((0, 0),) * (taps.ndim - axis - 1)
    return jnp.pad(taps, (*left, (0, 1), *right)) + jnp.pad(taps, (*left, (1, 0), *right))


# The 'winograd' and 'blocked' lowerings: how to compute a layer, and how many images at a time.
# The thresholds were measured on cores with 1 MiB of cache each, and 32 MiB that they share.

BLOCK_BYTES = 3e6  # that a core should gather from images for one reading of the kernel


def _tile(x: jax.Array, features: int) -> int:
    """Winograd's tile for a 3 x 3 convolution of `x` to `features` channels, or 0 where none pays.

    Enough channels pay for transforming pixels, and enough pixels for transforming the kernel. Only
    for float32, since differences of tiles lose digits.
    """
    channels, pixels = x.shape[-1], math.prod(x.shape[:3])
    if x.dtype != jnp.float32 or channels * features < 32 * 32:
        return 0
    return 4 if pixels >= channels + features else 2 if 8 * pixels >= channels + features else 0


def _images_at_once(x: jax.Array, kernel: jax.Array) -> int:
    """How many images to convolve at a time.

    The fewest that divide the batch evenly and keep a core busy for one reading of the kernel.
    """
    k, _, channels, features = kernel.shape
    image = 4 * k * (channels + features) * x.shape[1] * x.shape[2]
    wanted = max(BLOCK_BYTES, 8 * 4 * kernel.size) / image
    return next(
        (n for n in range(1, x.shape[0]) if x.shape[0] % n == 0 and n >= wanted), x.shape[0]
    )


@dataclasses.dataclass(frozen=True)
class _Direct:
    """A convolution as a value, so that layers of one shape are traced once."""

    stride: int
    padding: int

    def __call__(self, x, kernel):
        return correlation.correlate(x, kernel, self.stride, self.padding)


@dataclasses.dataclass(frozen=True)
class _Tiled:
    """A convolution by Winograd's tiles, as a value."""

    tile: int

    def __call__(self, x, kernel):
        return winograd.convolve(x, kernel, self.tile)


def _compute(convolution: Callable, x: jax.Array, kernel: jax.Array, lowering: str) -> jax.Array:
    """Convolves all images at once or, if the lowering is 'blocked', a few at a time."""
    images = _images_at_once(x, kernel) if lowering == 'blocked' else x.shape[0]
    if images == x.shape[0]:
        return convolution(x, kernel)
    return _block_by_block(convolution, x.shape[0] // images, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
@functools.partial(jax.jit, static_argnums=(0, 1))
def _block_by_block(convolution, count, x, kernel):
    y = lax.map(lambda block: convolution(block, kernel), _cut(x, count))
    return y.reshape(-1, *y.shape[2:])


def _block_forward(convolution, count, x, kernel):
    return _block_by_block(convolution, count, x, kernel), (x, kernel)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _block_backward(convolution, count, residuals, gradient):
    x, kernel = residuals

    def step(total, block):
        image, gradient = block
        of_image, of_kernel = jax.vjp(convolution, image, kernel)[1](gradient)
        return total + of_kernel, of_image

    nothing = jnp.zeros(kernel.shape, jnp.promote_types(kernel.dtype, jnp.float32))
    of_kernel, of_x = lax.scan(step, nothing, (_cut(x, count), _cut(gradient, count)))
    return of_x.reshape(x.shape), of_kernel.astype(kernel.dtype)


_block_by_block.defvjp(_block_forward, _block_backward)


def _cut(x, count):
    return x.reshape(count, -1, *x.shape[1:])


def _correlate_transpose(x, kernel):
    size = (2 * x.shape[1], 2 * x.shape[2])
    return correlation.correlate_transpose(x, kernel.swapaxes(2, 3), 2, 1, size)


# A transposed convolution is a 3 x 3 convolution to the 2 x 2 pixels that each pixel becomes. Along
# an axis the first of the two is read from pixels i - 1 and i by taps 3 and 1, the second from i
# and i + 1 by taps 2 and 0: `[neighbour, which of the two, tap]`.
PARITIES = np.zeros((3, 2, 4), np.float32)
PARITIES[[0, 1, 1, 2], [0, 0, 1, 1], [3, 1, 2, 0]] = 1


def _by_parity(kernel):
    """`[4, 4, in, out]` to `[3, 3, in, 2 * 2 * out]`."""
    by_parity = jnp.einsum('apu,bqv,uvio->abipqo', PARITIES, PARITIES, kernel)
    return by_parity.reshape(*by_parity.shape[:3], -1)


def _doubling_winograd(x, kernel):
    """`[N, H, W, in]` and `_by_parity`'s kernel to `[N, 2H, 2W, out]`."""
    n, height, width, _ = x.shape
    y = winograd.convolve(x, kernel, 4).reshape(n, height, width, 2, 2, -1)
    return y.swapaxes(2, 3).reshape(n, 2 * height, 2 * width, -1)


def max_pool(
    x: jax.Array, window: int, padding: Padding = ((0, 0), (0, 0)), *, lowering: str = 'library'
) -> jax.Array:
    """Largest values of windows of 2 x 2 or 3 x 3 pixels at stride 2: `[N, H, W, C]` to about half.

    The same as `lax.reduce_window`, whose gradient XLA scatters pixel by pixel on a CPU, which is
    five times slower; on a TPU it is the one with fewer passes over memory. Where several values
    are the largest they share the gradient, or one has it all ('tpu'); after a ReLU those are
    zeros, which pass no gradient on.

    Args:
      x: features.
      window: 2 or 3.
      padding: how many pixels to add, (before, after) for rows and for columns; they are never the
        largest.
      lowering: only 'tpu' differs from the others.
    """
    if lowering == 'tpu':
        sizes, strides = (1, window, window, 1), (1, 2, 2, 1)
        edges = ((0, 0), *padding, (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, sizes, strides, edges)
    for axis, (before, after) in enumerate(padding, start=1):
        x = _max_along(x, axis, window, before, after)
    return x


def _max_along(x, axis, window, before, after):
    """Largest values along one axis, as maxima of even and odd pixels."""
    size = (x.shape[axis] + before + after - window) // 2 + 1
    length = 2 * (size + window // 3)  # with three, the last window begins one pair before the end
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (before, length - before - x.shape[axis], 0)
    pairs = lax.pad(x, jnp.array(-jnp.inf, x.dtype), edges)
    pairs = pairs.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
    if window == 2:
        return jnp.maximum(even, odd)
    first, third = (lax.slice_in_dim(even, i, i + size, axis=axis) for i in (0, 1))
    return jnp.maximum(jnp.maximum(first, lax.slice_in_dim(odd, 0, size, axis=axis)), third)


def _check_lowering(lowering: str) -> None:
    if lowering not in LOWERINGS:
        names = ', '.join(map(repr, LOWERINGS))
        raise ValueError(f'lowering is {lowering!r}, expected one of {names}')


def layout(lowering: str, channels: int, height: int, width: int) -> Blocks:
    """How a map of so many channels is to lie for a lowering."""
    return blocks.suited(channels, height, width) if lowering == 'tpu' else PLAIN


class SeparableMaps(NamedTuple):
    """Maps `[N, H, W, C]` that are outer products: `rows [N, H, C]` times `columns [N, W, C]`."""

    rows: jax.Array
    columns: jax.Array


def convolve_separable(maps: SeparableMaps, kernel: jax.Array) -> jax.Array:
    """`convolve` of the maps at stride 1, without multiplying them out: `[N, H, W, out]`.

    Columns meet the kernel first, which is little work; then each image is one product of its rows,
    `[H, in k]` by `[in k, out W]`. That is `k` times fewer multiplications, and no wide map is ever
    in memory. Pixels of a row stay last, and channels come before taps, so that no operand and no
    gradient has to be transposed on the way: XLA does that number by number on a CPU.
    """
    k, _, channels, features = kernel.shape
    n, height = maps.rows.shape[:2]
    rows, columns = (_neighbours(profile, k) for profile in maps)  # [N, C, k, L]
    taps = kernel.transpose(2, 0, 3, 1).reshape(channels, k * features, k)
    columns = jnp.broadcast_to(taps, (n, *taps.shape)) @ columns  # [N, C, k out, W]
    rows = rows.reshape(n, channels * k, height).swapaxes(1, 2)
    y = rows @ columns.reshape(n, channels * k, -1)
    return y.reshape(n, height, features, -1).swapaxes(2, 3)


def _neighbours(profile: jax.Array, k: int) -> jax.Array:
    """`[N, L, C]` to `[N, C, k, L]`: each position's `k` neighbours, zeros beyond the ends."""
    profile = profile.swapaxes(1, 2)
    padded = jnp.pad(profile, ((0, 0), (0, 0), (k // 2, k // 2)))
    return jnp.stack([padded[..., t : t + profile.shape[2]] for t in range(k)], axis=2)


class Conv(nn.Module):
    """A convolution of odd size. Parameters 'kernel' `[k, k, in, features]` and maybe 'bias'.

    `upsample`: first repeat every pixel 2 x 2 (kernel 3, stride 1). `inputs`, `outputs`, `margin`:
    how what comes in, and goes out, lies (`blocks`); with a bias the result is plain, as the sum
    over pixels that is the bias' gradient is slow in blocks. `dtype` is what it computes and
    returns in (None: the input's); parameters stay float32. A `norm` that is given with the input
    is applied to the result, or to the kernel where that pays. Raises ValueError for an even size.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    upsample: bool = False
    use_bias: bool = False
    lowering: str = 'library'
    dtype: Any = None
    inputs: Blocks = PLAIN
    outputs: Blocks = PLAIN
    margin: int = 0
    kernel_init: Callable = default_init
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array | SeparableMaps, norm: BatchNorm | None = None) -> jax.Array:
        if self.kernel % 2 == 0:
            raise ValueError(f'{_name(self)}: kernel is {self.kernel}, expected an odd size')
        if isinstance(x, SeparableMaps):
            y = self._separable(x)
        elif norm is not None and self._expands(x) and not norm.use_running_average:
            x = x.astype(self.dtype or x.dtype)[:, :: self.stride, :: self.stride]
            kernel = self.param('kernel', self.kernel_init, (1, 1, x.shape[-1], self.features))
            return norm(x, kernel=kernel)
        else:
            y = _apply_kernel(self, self._convolution(), x, self.inputs, self.outputs)
        return y if norm is None else norm(y)

    def _expands(self, x: jax.Array) -> bool:
        """Whether, on a TPU, it makes many channels of so few that their covariance is little."""
        mixes = self.kernel == self.inputs.pixels == self.outputs.pixels == 1 and not self.use_bias
        few = x.shape[-1] <= min(128, self.features // 2)
        return self.lowering == 'tpu' and mixes and few

    def _convolution(self) -> Callable:
        how: dict[str, Any]
        how = dict(lowering=self.lowering, inputs=self.inputs, outputs=self.outputs)
        if self.upsample:
            return functools.partial(convolve_upsampled, **how)
        return functools.partial(convolve, stride=self.stride, margin=self.margin, **how)

    def _separable(self, maps: SeparableMaps) -> jax.Array:
        if self.stride != 1 or self.use_bias:
            raise ValueError(f'{_name(self)}: separable maps need stride 1 and no bias')
        shape = (self.kernel, self.kernel, maps.rows.shape[-1], self.features)
        dtype = self.dtype or maps.rows.dtype
        maps = jax.tree.map(lambda profile: profile.astype(dtype), maps)
        kernel = self.param('kernel', self.kernel_init, shape).astype(dtype)
        if self.inputs.pixels > 1:
            return self._convolution()(blocks.of_profiles(*maps, self.inputs, self.margin), kernel)
        return convolve_separable(maps, kernel)


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
            raise ValueError(
                f'{_name(self)}: kernel {self.kernel}, stride {self.stride}, '
                'expected kernel 4, stride 2'
            )
        return _apply_kernel(self, functools.partial(convolve_transpose, lowering=self.lowering), x)


def _apply_kernel(
    layer: Conv | ConvTranspose,
    convolution: Callable,
    x: jax.Array,
    inputs: Blocks = PLAIN,
    outputs: Blocks = PLAIN,
) -> jax.Array:
    dtype = layer.dtype or x.dtype
    shape = (layer.kernel, layer.kernel, x.shape[-1] // inputs.pixels, layer.features)
    kernel = layer.param('kernel', layer.kernel_init, shape)
    y = convolution(x.astype(dtype), kernel.astype(dtype))
    if not layer.use_bias:
        return y
    bias = layer.param('bias', layer.bias_init, (layer.features,)).astype(dtype)
    return blocks.from_blocks(y, outputs) + bias


def _name(layer: nn.Module) -> str:
    return '/'.join(layer.path) or type(layer).__name__


class BatchNorm(nn.Module):
    """Batch norm as in PyTorch: normalises by the biased variance and stores the unbiased one.

    `[..., channels]` in and out, in the input's dtype; statistics are float32. Parameters 'scale'
    and 'bias'; collection 'batch_stats' holds 'mean' and 'var', which move by `momentum` per call.
    `use_running_average` (attribute or argument) uses the stored statistics instead. With
    `axis_name` the batch is the whole of that mapped axis, on all devices. `layout`: how the map
    lies (`blocks`); pixels outside of the picture have no say in statistics.

    With a `kernel` `[1, 1, in, channels]` it normalises what that makes of `x [N, H, W, in]`, which
    is never there: its mean and variance follow from the mean and covariance of `x`, and the kernel
    is multiplied by what the result would have been. A map is written once where it was written,
    read for its statistics, read again and written again, and as often in the gradients.
    """

    use_running_average: bool | None = None
    momentum: float = 0.1
    epsilon: float = 1e-5
    axis_name: str | None = None
    layout: Blocks = PLAIN
    scale_init: Callable = nn.initializers.ones
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        use_running_average: bool | None = None,
        *,
        kernel: jax.Array | None = None,
    ) -> jax.Array:
        use_stored = nn.merge_param(
            'use_running_average', self.use_running_average, use_running_average
        )
        features = x.shape[-1] if kernel is None else kernel.shape[-1]
        channels = (features // self.layout.pixels,)
        scale = self.param('scale', self.scale_init, channels)
        bias = self.param('bias', self.bias_init, channels)
        stored_mean = self.variable('batch_stats', 'mean', jnp.zeros, channels)
        stored_var = self.variable('batch_stats', 'var', jnp.ones, channels)
        mean, var = stored_mean.value, stored_var.value
        if not use_stored:
            mean, var, count = self._moments(x, kernel, near=stored_mean.value)
            if not self.is_initializing():
                stored_mean.value += self.momentum * (mean - stored_mean.value)
                unbiased = var * (count / max(count - 1, 1))
                stored_var.value += self.momentum * (unbiased - stored_var.value)
        factor = scale * lax.rsqrt(var + self.epsilon)
        offset = bias - mean * factor
        if kernel is not None:
            y = convolve(x, (kernel * factor).astype(x.dtype))
            return y + offset.astype(x.dtype)
        factor, offset = (blocks.per_pixel(values, self.layout) for values in (factor, offset))
        return (x * factor + offset).astype(x.dtype)

    def _moments(self, x: jax.Array, kernel: jax.Array | None, near: jax.Array):
        """Per channel: mean, biased variance, and how many values, on all devices.

        Sums and sums of squares of one reading, which a TPU takes while it computes the map. Around
        `near`, close to the mean after a few steps, so that nothing is lost in their difference.
        """
        if kernel is None:
            averages = _averages(x, near, self.layout)
        else:
            averages = _averages_of_product(x, kernel[0, 0], near)
        count = blocks.count(self.layout, x.shape)
        # The axis is not bound when a model is initialised outside of its pmap.
        if self.axis_name and not self.is_initializing():
            averages = [lax.pmean(values, self.axis_name) for values in averages]
            count *= lax.axis_size(self.axis_name)
        offset, square = averages
        return near + offset, jnp.maximum(square - jnp.square(offset), 0), count


def _averages(x: jax.Array, near: jax.Array, layout: Blocks) -> list[jax.Array]:
    """Per channel: the average of x - near and of its square, in float32."""
    count = blocks.count(layout, x.shape)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    apart = blocks.masked(x - blocks.per_pixel(near, layout), layout)
    return [
        values.sum(range(x.ndim - 1)).reshape(layout.pixels, -1).sum(0) / count
        for values in (apart, jnp.square(apart))
    ]


def _averages_of_product(x: jax.Array, matrix: jax.Array, near: jax.Array) -> list[jax.Array]:
    """`_averages` of `x [N, H, W, in]` times `matrix [in, channels]`, without computing that."""
    count = math.prod(x.shape[:3])
    sums, products = _sums_and_products(x)
    mean = sums / count
    covariance = products / count - jnp.outer(mean, mean)
    multiply = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    offset = multiply(mean, matrix) - near
    variance = jnp.sum(matrix * multiply(covariance, matrix), 0)
    return [offset, variance + jnp.square(offset)]


@jax.custom_vjp
def _sums_and_products(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of all pixels of `x [N, H, W, C]`: the sum `[C]`, and the sum of outer products `[C, C]`.

    Both are convolutions, as a kernel's gradient is one: so a TPU leaves maps where they lie, and
    adds up in its matrix unit, which takes a quarter of the time. In float32.
    """
    multiply = functools.partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        padding='VALID',
        dimension_numbers=('CHWN', 'IHWO', 'HWNC'),
        preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
    )
    ones = jnp.ones((*x.shape[:3], 1), x.dtype)
    return multiply(ones, x)[0, 0, 0], multiply(x, x)[0, 0]


def _sums_and_products_backward(x, gradients):
    sums, products = (gradient.astype(x.dtype) for gradient in gradients)
    return (sums + convolve(x, (products + products.T)[None, None]),)


_sums_and_products.defvjp(lambda x: (_sums_and_products(x), x), _sums_and_products_backward)
