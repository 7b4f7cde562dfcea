"""How fast is a convolution whose weights differ per person? Justifies `layers.LOWERINGS`.

    python experiments/convolution_lowering.py [--people 8 --images 8 --steps 4 --paper]

Forward pass and both gradients of each layer of the small model (`--paper`: twice the size and
channels), for `people` sets of weights on `images` images each. Prints GFLOP/s counted as direct
convolution, median of a few runs, and the time of the whole list. Columns:

    shared       library convolution, everyone with the same weights
    shared/scan  the same in a `lax.scan` over steps, which is how the inner loop would use it
    library      library convolution, vmapped over weights
    patches      k x k patches and one matmul, vmapped, gradients by automatic differentiation, in
                 the scan (transposed layers: lowering='matmul')
    matmul       lowering='matmul', vmapped
    matmul/scan  the same in the scan
    blocked/scan lowering='blocked' in the scan, for one person, as a CPU takes them

Some are measured on less (one person, or four images of each of two) and scaled to the same work.
Outside of the scan every run also pays for fresh memory to return its results in.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ttp_jax.networks import layers


class Layer(NamedTuple):
    """One convolution of the small model, on `size` x `size` pixels."""

    size: int
    channels: int
    features: int
    kernel: int
    stride: int = 1
    transposed: bool = False

    def __str__(self) -> str:
        name = 'transposed' if self.transposed else ('/2' if self.stride == 2 else '')
        kernel = f'{self.kernel} × {self.kernel}'
        return f'{self.size:3d}² {self.channels:3d} → {self.features:3d}  {kernel} {name}'

    @property
    def flops(self) -> int:
        """Of one image, forward and both gradients."""
        pixels = self.size**2 // (1 if self.transposed else self.stride**2)
        return 6 * pixels * self.channels * self.features * self.kernel**2


SMALL = [
    Layer(64, 3, 24, 7, 2),
    Layer(32, 24, 24, 3),
    Layer(16, 48, 48, 3),
    Layer(8, 96, 96, 3),
    Layer(4, 192, 192, 3),
    Layer(4, 192, 64, 4, 2, True),
    Layer(8, 64, 64, 4, 2, True),
    Layer(16, 64, 64, 4, 2, True),
    Layer(32, 64, 24, 1),
    Layer(64, 24, 16, 7),
    Layer(64, 16, 16, 3),
    Layer(64, 16, 32, 3, 2),
    Layer(32, 32, 32, 3),
    Layer(16, 64, 64, 3),
    Layer(8, 256, 128, 3),
    Layer(8, 128, 128, 3),
    Layer(16, 128, 64, 3),
    Layer(32, 64, 32, 3),
    Layer(64, 32, 16, 3),
    Layer(64, 16, 3, 3),
]


class Column(NamedTuple):
    """A way to compute it, and whether within a scan and on less than was asked for."""

    lowering: str
    shared: bool = False
    scan: bool = False
    people: int | None = None  # None: as many as asked for
    images: int | None = None


COLUMNS = {
    'shared': Column('library', shared=True),
    'shared/scan': Column('library', shared=True, scan=True, people=1, images=4),
    'library': Column('library', people=2, images=4),
    'patches': Column('patches', scan=True),
    'matmul': Column('matmul'),
    'matmul/scan': Column('matmul', scan=True),
    'blocked/scan': Column('blocked', scan=True, people=1),
}


def main() -> None:
    """Prints the table, a layer after another."""
    arguments = parse_arguments()
    print(f'{"GFLOP/s":32s}', *(f'{name:>12s}' for name in COLUMNS))
    totals = dict.fromkeys(COLUMNS, 0.0)
    for layer in [widen(layer) for layer in SMALL] if arguments.paper else SMALL:
        flops = layer.flops * arguments.people * arguments.images
        seconds = {name: measure(layer, column, arguments) for name, column in COLUMNS.items()}
        totals = {name: totals[name] + seconds[name] for name in COLUMNS}
        print(f'{layer!s:32s}', *(f'{flops / s / 1e9:12.1f}' for s in seconds.values()), flush=True)
    print(f'{"whole list, milliseconds":32s}', *(f'{1e3 * t:12.0f}' for t in totals.values()))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--people', type=int, default=8)
    parser.add_argument('--images', type=int, default=8, help='per person')
    parser.add_argument('--steps', type=int, default=4, help='of the scan')
    parser.add_argument('--paper', action='store_true', help='twice the size and channels')
    return parser.parse_args()


def widen(layer: Layer) -> Layer:
    """The layer at twice the size and channels; an image's three channels stay."""
    double = {n: n if n == 3 else 2 * n for n in (layer.channels, layer.features)}
    return layer._replace(
        size=2 * layer.size, channels=double[layer.channels], features=double[layer.features]
    )


def measure(layer: Layer, column: Column, arguments: argparse.Namespace) -> float:
    """Seconds per step for everyone."""
    people, images = column.people or arguments.people, column.images or arguments.images
    x, kernel = draw(layer, people, images, column.shared)
    step = functools.partial(gradient_step, lift(layer, column))
    steps = arguments.steps if column.scan else 1
    function = functools.partial(repeat, step, steps) if column.scan else step
    seconds = median_seconds(jax.jit(function), x, kernel)
    return seconds / steps * (arguments.people * arguments.images) / (people * images)


def draw(layer: Layer, people: int, images: int, shared: bool) -> tuple[jax.Array, jax.Array]:
    """Random images and kernels, everyone's or shared."""
    batch = (people * images,) if shared else (people, images)
    x = jax.random.normal(jax.random.key(0), (*batch, layer.size, layer.size, layer.channels))
    shape = (layer.kernel, layer.kernel, layer.channels, layer.features)
    kernel = 0.03 * jax.random.normal(jax.random.key(1), shape if shared else (people, *shape))
    return x, kernel


def lift(layer: Layer, column: Column) -> Callable:
    """The column's convolution over everyone."""
    if layer.transposed:
        lowering = 'matmul' if column.lowering == 'patches' else column.lowering
        function = functools.partial(layers.convolve_transpose, lowering=lowering)
    elif column.lowering == 'patches':
        function = functools.partial(convolve_patches, stride=layer.stride)
    else:
        function = functools.partial(layers.convolve, stride=layer.stride, lowering=column.lowering)
    return function if column.shared else jax.vmap(function)


def convolve_patches(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """As `layers.convolve`, by one product of gathered k x k patches."""
    k, pad = kernel.shape[0], kernel.shape[0] // 2
    height, width = ((n - 1) // stride * stride + 1 for n in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    taps = [
        x[:, a : a + height : stride, b : b + width : stride] for a in range(k) for b in range(k)
    ]
    return jnp.concatenate(taps, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def gradient_step(
    function: Callable, x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The output is its own cotangent, so that the forward pass cannot be left out."""
    output, pullback = jax.vjp(function, x, kernel)
    return pullback(output)


def repeat(
    step: Callable, steps: int, x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Some steps in a `lax.scan`, each from the gradients of the last."""

    def body(carry, _):
        return jax.tree.map(lambda v, gradient: v - 1e-6 * gradient, carry, step(*carry)), None

    return lax.scan(body, (x, kernel), length=steps)[0]


def median_seconds(
    function: Callable, *arguments: jax.Array, runs: int = 5, patience: float = 2.0
) -> float:
    """Median of `runs` after one to compile, fewer once they took `patience` seconds together."""
    jax.block_until_ready(function(*arguments))
    seconds = []
    while len(seconds) < runs and sum(seconds) < patience:
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == '__main__':
    main()
