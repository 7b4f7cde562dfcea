"""Convolution and its transpose as products of matrices, for weights that differ per person.

Contract. `x [N, H, W, in]`, `kernel [k, k, in, out]`, `padding` zeros on all sides:
`correlate` gives `[N, H', W', out]` with `H' = (H + 2 padding - k) // stride + 1`, and
`correlate_transpose` is its transpose in `x`. vmap makes the products batched matmuls.

Horizontal taps are gathered as channels, vertical ones are summed after the product: `k (in + out)`
numbers move per pixel, where gathering k x k patches moves `k k in`.

Rows and taps fall into `stride` phases: output row i under tap a = phase + stride t reads padded
row phase + stride (i + t), so that each phase is a stride-1 problem in its own rows and no zero is
multiplied. The convolution and its transpose are each other's gradients and share their few pieces;
automatic differentiation of the gathering would make sums of padded copies instead.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
@functools.partial(jax.jit, static_argnums=(2, 3))
def correlate(x, kernel, stride, padding):
    """`[N, H, W, in]` to `[N, H', W', out]`, `H' = (H + 2 padding - k) // stride + 1`."""
    size = _output_size(x, kernel, stride, padding)
    sums: list[jax.Array] = []
    for phase, rows in enumerate(_gather_columns(x, kernel.shape[0], stride, padding, size)):
        products = _multiply(rows, _phase_matrix(kernel, phase, stride), 0)
        taps = jnp.split(products, products.shape[-1] // kernel.shape[-1], axis=-1)
        sums += [tap[:, t : t + size[0]] for t, tap in enumerate(taps)]
    return functools.reduce(jnp.add, sums).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def correlate_transpose(y, kernel, stride, padding, size):
    """The transpose of `correlate` in `x`: `[N, H', W', out]` to `[N, *size, in]`, same kernel."""
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
    return x[:, padding : padding + size[0], padding : padding + size[1]].astype(y.dtype)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _kernel_gradient(x, y, k, stride, padding):
    """`sum(correlate(x, kernel) * y)` differentiated by the kernel: `[k, k, in, out]`."""
    by_row: dict[int, jax.Array] = {}
    phases = zip(_gather_columns(x, k, stride, padding, y.shape[1:3]), _gather_rows(y, k, stride))
    for phase, (rows, taps) in enumerate(phases):
        products = lax.dot_general(_as_matrix(rows), _as_matrix(taps), (((0,), (0,)), ((), ())))
        products = products.reshape(k, x.shape[-1], -1, y.shape[-1])
        by_row |= dict(zip(range(phase, k, stride), products.transpose(2, 0, 1, 3)))
    return jnp.stack([by_row[row] for row in range(k)])


def _correlate_forward(x, kernel, stride, padding):
    return correlate(x, kernel, stride, padding), (x, kernel)


def _correlate_backward(stride, padding, residuals, gradient):
    x, kernel = residuals
    return (
        correlate_transpose(gradient, kernel, stride, padding, x.shape[1:3]),
        _kernel_gradient(x, gradient, kernel.shape[0], stride, padding),
    )


def _transpose_forward(y, kernel, stride, padding, size):
    return correlate_transpose(y, kernel, stride, padding, size), (y, kernel)


def _transpose_backward(stride, padding, size, residuals, gradient):
    del size
    y, kernel = residuals
    return (
        correlate(gradient, kernel, stride, padding),
        _kernel_gradient(gradient, y, kernel.shape[0], stride, padding),
    )


correlate.defvjp(_correlate_forward, _correlate_backward)
correlate_transpose.defvjp(_transpose_forward, _transpose_backward)


def _output_size(x, kernel, stride, padding):
    return tuple((n + 2 * padding - kernel.shape[0]) // stride + 1 for n in x.shape[1:3])


def _gather_columns(x, k, stride, padding, size):
    """Per phase `[N, H' + taps - 1, W', k * in]`: the inputs of an output column, as channels."""
    x = _pad(x, (padding, padding), (padding, padding))
    columns = [x[:, :, b : b + (size[1] - 1) * stride + 1 : stride] for b in range(k)]
    for phase in range(min(stride, k)):
        stop = (size[0] + _taps(phase, k, stride) - 2) * stride + phase + 1
        yield jnp.concatenate([column[:, phase:stop:stride] for column in columns], axis=-1)


def _gather_rows(y, k, stride):
    """Per phase `[N, H' + taps - 1, W', taps * out]`: the outputs that read a row, as channels."""
    height = y.shape[1]
    for phase in range(min(stride, k)):
        last = _taps(phase, k, stride) - 1
        padded = _pad(y, (last, last), (0, 0))
        rows = [padded[:, last - t : 2 * last - t + height] for t in range(last + 1)]
        yield jnp.concatenate(rows, axis=-1)


def _sum_columns(columns, stride, width):
    """The transpose of gathering columns: `[N, H, W', k, in]` to `[N, H, width * stride, in]`."""
    k = columns.shape[3]
    last = (k - 1) // stride
    columns = jnp.pad(columns, ((0, 0), (0, 0), (last, width - columns.shape[2]), (0, 0), (0, 0)))
    shifted = [columns[:, :, last - b // stride : last - b // stride + width, b] for b in range(k)]
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
    """`[..., channels]` to `[pixels, channels]`.

    XLA would copy an operand that a product sums over several axes at once.
    """
    return x.reshape(-1, x.shape[-1])


def _taps(phase, k, stride):
    """How many of `k` taps fall into a phase."""
    return -(-(k - phase) // stride)


def _pad(x, height, width):
    return jnp.pad(x, ((0, 0), height, width, (0, 0)))
