"""Transposed convolutions whose kernel's gradient a TPU's compiler computes as it is.

Contract: `convolve(x, kernel, window)` is the linear transpose of a convolution that reads what
this one gives: row s i + a - p of the result has row i of `x`, multiplied by `kernel[a]`.

The library's rule for the gradient of the kernel slides the gradient of the result, which is
larger, over `x`. The TPU's compiler swaps the two then and reverses the larger one in memory, which
takes as long as the convolution. Here it is the gradient of what this is the transpose of.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
Pads = tuple[tuple[int, int], tuple[int, int]]


class Window(NamedTuple):
    """Of the convolution that this is the transpose of: (rows, columns)."""

    strides: tuple[int, int]
    padding: Pads


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """`x [N, h, w, in]` and `kernel [k, l, in, out]` to `[N, H, W, out]`."""
    around = [
        (size - 1 - before, size - 1 - behind)
        for size, (before, behind) in zip(kernel.shape[:2], window.padding, strict=True)
    ]
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        around,
        lhs_dilation=window.strides,
        dimension_numbers=DIMENSIONS,
    )


def _forward(x, kernel, window):
    return convolve(x, kernel, window), (x, kernel)


def _backward(window, residuals, gradient):
    x, kernel = residuals

    def transpose(kernel):
        return lax.conv_general_dilated(
            gradient,
            kernel.swapaxes(2, 3),
            window.strides,
            window.padding,
            dimension_numbers=DIMENSIONS,
        )

    of_x, pull_back = jax.vjp(transpose, kernel)
    return of_x, pull_back(x)[0]


convolve.defvjp(_forward, _backward)
