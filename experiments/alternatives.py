"""Ways to compute the same: what the TPU's compiler expects of each, and what it takes here.

    python -m experiments.alternatives --json=FILE        # a few minutes on one core

The compiler's numbers are estimates, of which nothing was measured; the times are of this machine.
Where both columns are there (the first needs `pip install -e '.[tpu]'`), the table shows whether
they agree on which way is the fastest. Each way is a piece of the program with its neighbours,
forward and backward, as layouts follow from neighbours.
"""

import argparse
import functools
import json
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from experiments import accelerator, compiled_text

if accelerator.has_compiler():
    accelerator.pretend_to_be_on_a_tpu()

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ttp_jax import geometry
from ttp_jax.networks import blocks, layers, transposed
from ttp_jax.networks.blocks import PLAIN, Blocks

IMAGES, SIDE = 8, 64
SQUARE = Blocks(2, 2)
Row = dict[str, Any]


def gradients(function: Callable) -> Callable:
    """`(*arguments, gradient of the output) -> (output, gradients of all arguments)`."""

    def both(*arguments):
        *inputs, gradient = arguments
        output, pull_back = jax.vjp(function, *inputs)
        return output, pull_back(gradient)

    return both


def pool(lowering: str) -> tuple[Callable, list]:
    """Two convolutions with a pool between them, as in VGG."""

    def layer(x, first, second):
        x = layers.max_pool(jax.nn.relu(layers.convolve(x, first)), 2, lowering=lowering)
        return layers.convolve(x, second)

    half = (IMAGES, SIDE // 2, SIDE // 2, 128)
    return gradients(layer), [images(64), (3, 3, 64, 64), (3, 3, 64, 128), half]


def repeated(lowering: str) -> tuple[Callable, list]:
    """A convolution of repeated pixels between two others, as in the renderer."""

    def layer(x, first, second, third):
        x = jax.nn.relu(layers.convolve(x, first))
        x = jax.nn.relu(layers.convolve_upsampled(x, second, lowering=lowering))
        return layers.convolve(x, third)

    kernels = [(3, 3, 64, 64), (3, 3, 64, 32), (3, 3, 32, 32)]
    doubled = (IMAGES, 2 * SIDE, 2 * SIDE, 32)
    return gradients(layer), [images(64), *kernels, doubled]


def narrow(between: Blocks, outputs: Blocks) -> tuple[Callable, list]:
    """Two layers of 32 channels, whose maps lie like that between and after them."""

    def layer(x, first, second):
        x = layers.convolve(x, first, inputs=outputs, outputs=between)
        x = blocks.masked(jax.nn.relu(x), between)
        return layers.convolve(x, second, inputs=between, outputs=outputs)

    height, width = SIDE // outputs.rows, SIDE // outputs.columns
    features, kernel = (IMAGES, height, width, 32 * outputs.pixels), (3, 3, 32, 32)
    return gradients(layer), [features, kernel, kernel, features]


def placed(into_blocks: Callable) -> tuple[Callable, list]:
    """A layer from shifted blocks of 2 x 2 pixels to blocks; how its kernel gets there."""

    def layer(x, kernel):
        by_block = into_blocks(kernel)
        return lax.conv_general_dilated(
            x, by_block, (1, 1), [(0, 0)] * 2, dimension_numbers=transposed.DIMENSIONS
        )

    side, channels = SIDE // 2, SQUARE.pixels * 24
    shapes = [
        (IMAGES, side + 1, side + 1, channels),
        (3, 3, 24, 24),
        (IMAGES, side, side, channels),
    ]
    return gradients(layer), shapes


def by_products(kernel: jax.Array) -> jax.Array:
    """By products with zeros and ones."""
    taps = np.zeros((2, 2, 2, 3), np.float32)  # block and pixel that are read, pixel, tap
    for pixel, tap in np.ndindex(2, 3):
        taps[*divmod(pixel + tap, 2), pixel, tap] = 1
    by_block = jnp.einsum('dxpa,eyqb,abio->dexyipqo', taps, taps, kernel)
    return by_block.reshape(2, 2, 4 * kernel.shape[2], -1)


def by_padding(kernel: jax.Array) -> jax.Array:
    """As `blocks.convolve` does it."""
    axes = zip(SQUARE.shifted.axes, SQUARE.axes, strict=True)
    rows, columns = (blocks.placed(before, after, 3, count=SIDE // 2 + 1) for before, after in axes)
    return blocks.in_blocks(kernel, rows, columns)


def normalised(moments: Callable) -> tuple[Callable, list]:
    """A layer, batch norm by the batch's own statistics, and another layer."""

    def layer(x, first, second):
        x = layers.convolve(x, first)
        mean, var = moments(x)
        x = jax.nn.relu((x - mean) * lax.rsqrt(var + 1e-5))
        return layers.convolve(x, second)

    kernel, features = (3, 3, 128, 128), images(128)
    return gradients(layer), [features, kernel, kernel, features]


def read_twice(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean, and then what is around it."""
    mean = x.mean((0, 1, 2))
    return mean, jnp.square(x - mean).mean((0, 1, 2))


def read_once(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both from sums of one reading."""
    mean = x.mean((0, 1, 2))
    return mean, jnp.maximum(jnp.square(x).mean((0, 1, 2)) - jnp.square(mean), 0)


def private(lowering: str, *, in_turn: bool = False) -> tuple[Callable, list]:
    """Two layers of four people, each with their own weights."""

    def layer(x, first, second):
        x = jax.nn.relu(layers.convolve(x, first, lowering=lowering))
        return layers.convolve(x, second, lowering=lowering)

    features, kernel = (IMAGES // 2, SIDE // 2, SIDE // 2, 64), (3, 3, 64, 64)
    shapes = [(4, *shape) for shape in (features, kernel, kernel, features)]
    if in_turn:
        return lambda *people: lax.map(lambda mine: gradients(layer)(*mine), people), shapes
    return gradients(jax.vmap(layer)), shapes


def crops(packed: bool) -> tuple[Callable, list]:
    """Crops of frames of a clip, which is laid out once."""
    lay_out = geometry.pack if packed else lambda frames: frames
    warp = functools.partial(geometry.warp, size=SIDE)

    def all_crops(frames, affines):
        laid_out = lay_out(frames)
        affines = jnp.eye(2, 3) * 0.6 + 0.1 * affines
        crop = lambda t, affine: geometry.normalise(warp(laid_out[t], affine))
        return jax.vmap(crop)(jnp.arange(2 * IMAGES) % len(frames), affines)

    frames = jax.ShapeDtypeStruct((IMAGES, 112, 112, 3), jnp.uint8)
    return all_crops, [frames, (2 * IMAGES, 2, 3)]


def images(channels: int) -> tuple[int, ...]:
    """Shape of a batch of features."""
    return (IMAGES, SIDE, SIDE, channels)


WAYS: dict[str, dict[str, tuple[Callable, list]]] = {
    'max-pool': {'even and odd': pool('library'), 'reduce_window': pool('tpu')},
    'repeated pixels': {
        'repeated': repeated('library'),
        'transposed convolution': repeated('tpu'),
        'products': repeated('matmul'),
    },
    'private weights': {
        'grouped convolution': private('library'),
        'in turn': private('tpu', in_turn=True),
        'products': private('matmul'),
    },
    'layers of 32 channels': {
        'plain': narrow(PLAIN, PLAIN),
        '2 x 2 pixels as channels': narrow(SQUARE, SQUARE),
        '... shifted between': narrow(SQUARE.shifted, SQUARE),
    },
    'kernels in blocks': {'products': placed(by_products), 'padding': placed(by_padding)},
    'statistics of a batch': {
        'read twice': normalised(read_twice),
        'read once': normalised(read_once),
    },
    'crops': {'three channels': crops(False), 'packed': crops(True)},
}


def shapes_of(arguments: Sequence, sharding=None) -> list[jax.ShapeDtypeStruct]:
    """The arguments as arrays' types; float32 where only a shape is said."""

    def one(argument):
        shape, dtype = getattr(argument, 'shape', argument), getattr(argument, 'dtype', np.float32)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    return [one(argument) for argument in arguments]


def expected(function: Callable, arguments: Sequence) -> Row:
    """What the compiler of a v5e expects, and the bytes of results that it leaves out."""
    device = accelerator.chips_of(accelerator.Setting('small', 'personalization'))[0]
    here = jax.sharding.SingleDeviceSharding(device)
    text = jax.jit(function).lower(*shapes_of(arguments, here)).compile().as_text()
    return {
        'estimated_cycles': sum(compiled_text.cycles_by_part(text or '', ()).values()),
        'unestimated_bytes': sum(compiled_text.unestimated(text or '').values()),
    }


def seconds_here(function: Callable, arguments: Sequence, calls: int = 5) -> float:
    """The median of a few calls on this machine, after one that compiles."""
    rng = np.random.default_rng(0)
    values = [
        jnp.asarray(
            rng.integers(0, 256, kind.shape)
            if kind.dtype == np.uint8
            else rng.standard_normal(kind.shape),
            kind.dtype,
        )
        for kind in shapes_of(arguments)
    ]
    program, seconds = jax.jit(function), []
    for _ in range(calls + 1):
        start = time.perf_counter()
        jax.block_until_ready(program(*values))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def rows(*, tpu: bool) -> list[Row]:
    """Every way's numbers."""
    found = []
    for what, ways in WAYS.items():
        for way, (function, arguments) in ways.items():
            row = {'what': what, 'way': way, 'seconds': seconds_here(function, arguments)}
            if tpu:
                row |= expected(function, arguments)
            found.append(row | {'device': jax.devices()[0].device_kind, **accelerator.provenance()})
    return found


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    cells = [
        [
            row['what'],
            row['way'],
            f'{row["estimated_cycles"] / 1e6:.2f}' if 'estimated_cycles' in row else '',
            f'{row["unestimated_bytes"] / 1e6:.1f}' if 'unestimated_bytes' in row else '',
            f'{1e3 * row["seconds"]:.1f}',
        ]
        for row in rows
    ]
    headings = ['what', 'way', 'M cycles of a v5e, estimated by the compiler', 'without, MB']
    headings += ['ms here, measured']
    return '\n'.join(accelerator.markdown(headings, cells))


def main() -> None:
    """Compiles and times everything, and prints the table."""
    parser = argparse.ArgumentParser(prog='python -m experiments.alternatives')
    parser.add_argument('--json', type=pathlib.Path)
    arguments = parser.parse_args()
    found = rows(tpu=accelerator.has_compiler())
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + '\n')
    print(table(found))


if __name__ == '__main__':
    main()
