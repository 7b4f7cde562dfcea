"""Convolutions of dilated maps whose kernel's gradient a TPU's compiler computes as it is.

Contract: `convolve(x, kernel, dilation, padding)` is `lax.conv_general_dilated` at stride one: `x`
with `dilation - 1` zeros between its pixels, padded, under `kernel`. It is the transpose of a
convolution with strides.

The library's rule for the gradient of the kernel slides the gradient of the result, which is
larger, over `x`. The TPU's compiler swaps the two then and reverses the larger one in memory, which
takes as long as the convolution. Here it is the gradient of what this is the transpose of.
"""

import functools

import jax
from jax import lax

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
Pads = tuple[tuple[int, int], tuple[int, int]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(
    x: jax.Array, kernel: jax.Array, dilation: tuple[int, int], padding: Pads
) -> jax.Array:
    """`x [N, h, w, in]` and `kernel [k, l, in, out]` to `[N, H, W, out]`."""
    return lax.conv_general_dilated(
        x, kernel, (1, 1), padding, lhs_dilation=dilation, dimension_numbers=DIMENSIONS
    )


def _forward(x, kernel, dilation, padding):
    return convolve(x, kernel, dilation, padding), (x, kernel)


def _backward(dilation, padding, residuals, gradient):
    x, kernel = residuals
    before = [
        (size - 1 - low, size - 1 - high)
        for size, (low, high) in zip(kernel.shape[:2], padding, strict=True)
    ]

    def transpose(kernel):
        kernel = kernel[::-1, ::-1].swapaxes(2, 3)
        return lax.conv_general_dilated(
            gradient, kernel, dilation, before, dimension_numbers=DIMENSIONS
        )

    of_x, pull_back = jax.vjp(transpose, kernel)
    return of_x, pull_back(x)[0]


convolve.defvjp(_forward, _backward)
