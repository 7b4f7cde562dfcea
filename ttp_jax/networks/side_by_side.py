"""Convolutions of several people, each with their own kernel, as a TPU's matrix unit likes them.

Contract. `convolve(x, kernel, window)` takes `x [N, H, W, in]` and `kernel [k, k, in, out]` of one
person and is XLA's convolution; under vmap over people, people share products.

A matrix unit multiplies 128 channels by 128, however few there are. So as many people as fit stand
side by side as channels, `[N, H, W, people in]`, and one kernel has everyone's on its diagonal,
zeros elsewhere. Without this rule vmap makes one grouped convolution, of which the TPU's compiler
expects more than of one person after the other. Layers with more than 64 channels stay grouped.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

CHANNELS = 128  # of a matrix unit, and numbers in a row of memory
DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


class Window(NamedTuple):
    """How the kernel moves: zeros on all sides, and between pixels where `dilation` is above 1.

    flipped: the kernel is turned upside down and left to right first, as a transposed convolution
    wants it.
    """

    stride: int = 1
    padding: int = 0
    dilation: int = 1
    flipped: bool = False


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """XLA's convolution: `[N, H, W, in]` and `[k, k, in, out]` to `[N, H', W', out]`."""
    return _lifted(window).forward(x, kernel)


def _forward(x, kernel, window):
    return convolve(x, kernel, window), (x, kernel)


def _backward(window, residuals, gradient):
    return _lifted(window).backward(*residuals, gradient)


convolve.defvjp(_forward, _backward)


class _Lifted(NamedTuple):
    """One person's convolution and its gradients, which know what to do under vmap."""

    forward: Callable
    backward: Callable


@functools.cache
def _lifted(window: Window) -> _Lifted:
    plain = functools.partial(_plain, window=window)

    @custom_vmap
    def forward(x, kernel):
        return plain(x, kernel)

    @custom_vmap
    def backward(x, kernel, gradient):
        return jax.vjp(plain, x, kernel)[1](gradient)

    @forward.def_vmap
    def forward_of_people(people, batched, x, kernel):
        if not batched[1]:
            return _in_one_batch(plain)(x, kernel), True
        x, kernel = _everyones(people, batched, x, kernel)
        return _of_people(x, kernel, plain), True

    @backward.def_vmap
    def backward_of_people(people, batched, x, kernel, gradient):
        x, gradient = _everyones(people, batched[::2], x, gradient)
        if not batched[1]:
            of_x = jax.vjp(functools.partial(_in_one_batch(plain), kernel=kernel), x)[1](gradient)
            each = jax.vmap(lambda x, g: jax.vjp(functools.partial(plain, x), kernel)[1](g)[0])
            return (*of_x, each(x, gradient)), (True, True)
        of_both = functools.partial(_of_people, convolution=plain)
        return jax.vjp(of_both, x, kernel)[1](gradient), (True, True)

    return _Lifted(forward, backward)


def _plain(x, kernel, *, window: Window):
    # Flipped here, where the convolution can take it so: of a kernel that is flipped before
    # it stands on a diagonal the TPU's compiler (libtpu 0.0.42) makes nothing but a failed check.
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1] if window.flipped else kernel,
        (window.stride,) * 2,
        [(window.padding,) * 2] * 2,
        lhs_dilation=(window.dilation,) * 2,
        dimension_numbers=DIMENSIONS,
    )


def _everyones(people: int, batched, *arrays):
    """The arrays with an axis of people first, also those that had none."""
    return tuple(
        array if has_axis else jnp.broadcast_to(array, (people, *array.shape))
        for array, has_axis in zip(arrays, batched, strict=True)
    )


def _in_one_batch(convolution: Callable) -> Callable:
    """The convolution for people who share a kernel: everyone's images in one batch."""

    def apply(x, kernel):
        y = convolution(x.reshape(-1, *x.shape[2:]), kernel)
        return y.reshape(*x.shape[:2], *y.shape[1:])

    return apply


def _of_people(x, kernel, convolution: Callable):
    """`[P, N, H, W, in]` and `[P, k, k, in, out]` to `[P, N, H', W', out]`."""
    together = people_together(len(x), max(kernel.shape[-2:]))
    if together == 1:
        return jax.vmap(convolution)(x, kernel)
    groups = [
        _on_the_diagonal(x[i : i + together], kernel[i : i + together], convolution)
        for i in range(0, len(x), together)
    ]
    return jnp.concatenate(groups)


def people_together(people: int, channels: int) -> int:
    """How many of `people` share a product: as many as fit, the same number in each."""
    most = max(1, min(people, CHANNELS // channels))
    return next(count for count in range(most, 0, -1) if people % count == 0)


def _on_the_diagonal(x, kernel, convolution: Callable):
    people, n, height, width, channels = x.shape
    k, _, _, features = kernel.shape[1:]
    x = x.transpose(1, 2, 3, 0, 4).reshape(n, height, width, people * channels)
    own = jnp.eye(people, dtype=kernel.dtype)
    diagonal = jnp.einsum('pabio,pq->abpiqo', kernel, own)
    y = convolution(x, diagonal.reshape(k, k, people * channels, people * features))
    return y.reshape(*y.shape[:3], people, features).transpose(3, 0, 1, 2, 4)
