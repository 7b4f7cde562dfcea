"""Layers everyone uses, and how a convolution lowers when its weights differ per person.

Images and features are `[images, height, width, channels]`; kernels `[k, k, in, out]`. Padding is PyTorch's: `k // 2`
zeros on both sides of a convolution, one zero for the 4 x 4, stride 2 transposed convolution (which doubles the size
exactly).

`lowering` names how a convolution is computed, never what: 'library' is XLA's own; 'matmul' is meant for per-person weights.
"""

from __future__ import annotations

from typing import Any, Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

LOWERINGS = ('library', 'matmul')
DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
he_normal = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')


def check_lowering(lowering: str) -> None:
  if lowering not in LOWERINGS:
    raise ValueError(f'lowering {lowering!r}: expected one of {", ".join(LOWERINGS)}')


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1, lowering: str = 'library') -> jax.Array:
  """Convolves `x [N, H, W, in]` with `kernel [k, k, in, out]`, `k // 2` zeros on both sides."""
  check_lowering(lowering)
  pad = kernel.shape[0] // 2
  return lax.conv_general_dilated(x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=DIMENSIONS)


def convolve_transpose(x: jax.Array, kernel: jax.Array, *, lowering: str = 'library') -> jax.Array:
  """PyTorch's `ConvTranspose2d(kernel 4, stride 2, padding 1)`: `[N, H, W, in]` to `[N, 2H, 2W, out]`."""
  check_lowering(lowering)
  return lax.conv_general_dilated(x, kernel[::-1, ::-1], (1, 1), [(2, 2)] * 2, lhs_dilation=(2, 2),
                                  dimension_numbers=DIMENSIONS)


class Conv(nn.Module):
  features: int
  kernel: int = 3
  stride: int = 1
  use_bias: bool = False
  lowering: str = 'library'
  dtype: Any = None
  kernel_init: Callable = he_normal
  bias_init: Callable = nn.initializers.zeros

  @nn.compact
  def __call__(self, x):
    kernel = self.param('kernel', self.kernel_init, (self.kernel, self.kernel, x.shape[-1], self.features))
    dtype = self.dtype or x.dtype
    y = convolve(x.astype(dtype), kernel.astype(dtype), stride=self.stride, lowering=self.lowering)
    if self.use_bias:
      y += self.param('bias', self.bias_init, (self.features,)).astype(dtype)
    return y


class ConvTranspose(nn.Module):
  features: int
  kernel: int = 4
  stride: int = 2
  use_bias: bool = False
  lowering: str = 'library'
  dtype: Any = None
  kernel_init: Callable = nn.initializers.normal(0.001)
  bias_init: Callable = nn.initializers.zeros

  @nn.compact
  def __call__(self, x):
    kernel = self.param('kernel', self.kernel_init, (self.kernel, self.kernel, x.shape[-1], self.features))
    dtype = self.dtype or x.dtype
    y = convolve_transpose(x.astype(dtype), kernel.astype(dtype), lowering=self.lowering)
    if self.use_bias:
      y += self.param('bias', self.bias_init, (self.features,)).astype(dtype)
    return y


class BatchNorm(nn.Module):
  use_running_average: bool | None = None
  momentum: float = 0.1
  epsilon: float = 1e-5
  axis_name: str | None = None
  scale_init: Callable = nn.initializers.ones
  bias_init: Callable = nn.initializers.zeros

  @nn.compact
  def __call__(self, x, use_running_average: bool | None = None):
    frozen = nn.merge_param('use_running_average', self.use_running_average, use_running_average)
    channels = x.shape[-1:]
    scale = self.param('scale', self.scale_init, channels)
    bias = self.param('bias', self.bias_init, channels)
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, channels)
    running_var = self.variable('batch_stats', 'var', jnp.ones, channels)
    if frozen:
      mean, var = running_mean.value, running_var.value
    else:
      axis_name = None if self.is_initializing() else self.axis_name
      mean, var, count = moments(x, axis_name)
      if not self.is_initializing():
        running_mean.value += self.momentum * (mean - running_mean.value)
        running_var.value += self.momentum * (var * count / max(count - 1, 1) - running_var.value)
    factor = scale * lax.rsqrt(var + self.epsilon)
    return (x * factor + (bias - mean * factor)).astype(x.dtype)


def moments(x, axis_name):
  axes = tuple(range(x.ndim - 1))
  x = x.astype(jnp.float32)
  mean_everywhere = lambda v: lax.pmean(v.mean(axes), axis_name) if axis_name else v.mean(axes)
  mean = mean_everywhere(x)
  var = mean_everywhere(jnp.square(x - mean))
  count = x.size // x.shape[-1] * (lax.axis_size(axis_name) if axis_name else 1)
  return mean, var, count
