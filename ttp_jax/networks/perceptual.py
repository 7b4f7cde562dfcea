"""Frozen networks, by whose features a reconstruction is compared (paper section 3.1).

Contract: images `[N, H, W, 3]` in ImageNet normalisation, RGB (or BGR, as the model sees them), to
a list of feature maps `[N, h_i, w_i, C_i]`. A network is a pure function
`features(weights, images, lowering)` and its weights, which are shared by everyone: under vmap over
people they stay one copy, and people are folded into the batch.

Choices: `random` (untrained convolutions, the default where there are no weights), `vgg16` (the
paper's), `squeezenet`; the last two from a file of arrays.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttp_jax import geometry
from ttp_jax.networks import blocks, layers
from ttp_jax.networks.blocks import PAIR, PLAIN, Blocks

Weights = Mapping[str, jax.Array]

FROM_FILE = ('vgg16', 'squeezenet')  # networks whose weights somebody has trained
KINDS = ('none', 'random', *FROM_FILE)

# Running means of the six reconstruction terms (pixels, then five VGG-16 maps) that the release
# starts from, for ImageNet weights.
VGG16_MEANS = (0.1966, 0.8725, 3.4260, 7.4396, 4.1430, 1.1304)


class Perceptual(NamedTuple):
    """A frozen network: `features(weights, images, lowering)` gives `terms` feature maps.

    `means` is where the running means of the 1 + terms losses start; a zero stands for the first
    batch's own loss. `lowering` is how its convolutions are computed, see layers.py.
    """

    features: Callable[[Weights, jax.Array, str], list[jax.Array]]
    weights: Weights
    terms: int
    means: tuple[float, ...]
    lowering: str = 'library'

    def maps(self, images: jax.Array) -> list[jax.Array]:
        """Feature maps of images, with its own weights and lowering."""
        with jax.named_scope('perceptual'):
            return self.features(self.weights, images, self.lowering)


def _conv(
    weights: Weights, name: str, x: jax.Array, lowering: str, *lies: Blocks, stride: int = 1
) -> jax.Array:
    """A layer with its bias; lies: how maps lie before and after it (`blocks`), if not plain."""
    inputs, outputs = lies or (PLAIN, PLAIN)
    kernel = weights[f'{name}.weight'].astype(x.dtype)
    bias = weights[f'{name}.bias'].astype(x.dtype)
    y = layers.convolve(x, kernel, stride=stride, lowering=lowering, inputs=inputs, outputs=outputs)
    return y + blocks.per_pixel(bias, outputs)


# --- random features -------------------------------------------------------------------------

RANDOM_STAGES = (16, 32, 64)


def random_features(
    weights: Weights, images: jax.Array, lowering: str = 'library'
) -> list[jax.Array]:
    """Three untrained stages of convolution and ReLU, each after the first at half the size."""
    height, width = images.shape[1:3]
    inputs = layers.layout(lowering, RANDOM_STAGES[0], height, width)
    maps, x = [], blocks.to_blocks(images, inputs)
    for i, features in enumerate(RANDOM_STAGES):
        outputs = layers.layout(lowering, features, -(-height >> i), -(-width >> i))
        lies, stride = (inputs, outputs), 2 if i else 1
        x = jax.nn.relu(_conv(weights, f'conv{i}', x, lowering, *lies, stride=stride))
        inputs = outputs
        maps.append(x)
    return maps


def random_weights(seed: int) -> dict[str, np.ndarray]:
    """He-normal kernels `[3, 3, in, out]`, the same for the same seed on every machine."""
    rng = np.random.Generator(np.random.PCG64([seed, 0x9E3779B9]))
    weights, channels = {}, 3
    for i, features in enumerate(RANDOM_STAGES):
        scale = np.sqrt(2 / (9 * channels))
        kernel = rng.standard_normal((3, 3, channels, features), dtype=np.float32)
        weights[f'conv{i}.weight'] = np.float32(scale) * kernel
        weights[f'conv{i}.bias'] = np.zeros(features, np.float32)
        channels = features
    return weights


# --- VGG-16 ----------------------------------------------------------------------------------

# torchvision's numbering of `features`: convolutions, and the pools that open the later blocks.
VGG16_SLICES = ((0, 2), (5, 7), (10, 12), (14, 17, 19), (21, 24, 26))
VGG16_POOLED = (5, 10, 17, 24)
VGG16_CHANNELS = {
    0: 64,
    2: 64,
    5: 128,
    7: 128,
    10: 256,
    12: 256,
    14: 256,
    17: 512,
    19: 512,
    21: 512,
    24: 512,
    26: 512,
}


def vgg16_features(
    weights: Weights, images: jax.Array, lowering: str = 'library'
) -> list[jax.Array]:
    """relu1_2, relu2_2, relu3_2, relu4_2 and relu5_2.

    In torchvision's numbering these are the outputs of `features` cut at 4, 9, 14, 21 and 28. On a
    TPU relu1_2 is in blocks of 1 x 2 pixels: its 64 channels would use a quarter of a matrix unit.
    """
    first = _first_slice(weights, images, lowering)
    pool = functools.partial(layers.max_pool, window=2, lowering=lowering)
    maps, x = [first], blocks.max_pool_pairs(first) if lowering == 'tpu' else pool(first)
    for group in VGG16_SLICES[1:]:
        for i in group:
            x = pool(x) if i in VGG16_POOLED[1:] else x
            x = jax.nn.relu(_conv(weights, f'features.{i}', x, lowering))
        maps.append(x)
    return maps


def _first_slice(weights: Weights, images: jax.Array, lowering: str) -> jax.Array:
    layout = PAIR if lowering == 'tpu' else PLAIN
    x, inputs = blocks.to_blocks(images, layout), layout
    for i, outputs in zip(VGG16_SLICES[0], (layout.shifted, layout), strict=True):
        x = jax.nn.relu(_conv(weights, f'features.{i}', x, lowering, inputs, outputs))
        x, inputs = blocks.masked(x, outputs), outputs
    return x


def vgg16_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays in a file of VGG-16's weights, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 3
    for i, features in VGG16_CHANNELS.items():
        shapes[f'features.{i}.weight'] = (3, 3, channels, features)
        shapes[f'features.{i}.bias'] = (features,)
        channels = features
    return shapes


# --- SqueezeNet 1.0 --------------------------------------------------------------------------

# fire module -> (squeeze, expand) channels; max-pools stand before 2, 5 and 9.
FIRES = {
    2: (16, 64),
    3: (16, 64),
    4: (32, 128),
    5: (32, 128),
    6: (48, 192),
    7: (48, 192),
    8: (64, 256),
    9: (64, 256),
}
SQUEEZENET_MAPS = (3, 5, 7, 9)
# Caffe's mean pixel, in the BGR order and 0 ... 255 range that its weights expect.
CAFFE_MEAN = (104.0, 117.0, 123.0)


def squeezenet_features(
    weights: Weights, images: jax.Array, lowering: str = 'library'
) -> list[jax.Array]:
    """Activations after conv1 and the fire modules 3, 5, 7 and 9 of Caffe's SqueezeNet 1.0."""
    x = geometry.denormalise(images)[..., ::-1] - jnp.asarray(CAFFE_MEAN)
    x = jax.nn.relu(_unpadded_stem(weights, x, lowering))
    maps = [x]
    for i in FIRES:
        x = layers.max_pool(x, 3, _ceil_pad(x), lowering=lowering) if i in (2, 5, 9) else x
        squeezed = jax.nn.relu(_conv(weights, f'fire{i}/squeeze1x1', x, lowering))
        x = jnp.concatenate(
            [
                jax.nn.relu(_conv(weights, f'fire{i}/expand{k}x{k}', squeezed, lowering))
                for k in (1, 3)
            ],
            axis=-1,
        )
        maps += [x] if i in SQUEEZENET_MAPS else []
    return maps


def _unpadded_stem(weights: Weights, x: jax.Array, lowering: str) -> jax.Array:
    """A 7 x 7 convolution of stride 2 without padding, computed by one that pads three pixels.

    Without the image's first row and column, and without the first row and column of the result,
    the padded convolution has the windows of the unpadded one.
    """
    height, width = ((n - 7) // 2 + 1 for n in x.shape[1:3])
    return _conv(weights, 'conv1', x[:, 1:, 1:], lowering, stride=2)[
        :, 1 : 1 + height, 1 : 1 + width
    ]


def _ceil_pad(x: jax.Array) -> layers.Padding:
    """Padding that makes a 3 x 3, stride 2 pool round its output size up, as Caffe does."""
    height, width = x.shape[1:3]
    return (0, (1 - height) % 2), (0, (1 - width) % 2)


def squeezenet_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays in a file of SqueezeNet's weights, by name."""
    shapes: dict[str, tuple[int, ...]] = {'conv1.weight': (7, 7, 3, 96), 'conv1.bias': (96,)}
    channels = 96
    for i, (squeeze, expand) in FIRES.items():
        for name, k, fan_in, features in (
            ('squeeze1x1', 1, channels, squeeze),
            ('expand1x1', 1, squeeze, expand),
            ('expand3x3', 3, squeeze, expand),
        ):
            shapes[f'fire{i}/{name}.weight'] = (k, k, fan_in, features)
            shapes[f'fire{i}/{name}.bias'] = (features,)
        channels = 2 * expand
    return shapes


# --- choosing one ----------------------------------------------------------------------------


def load(kind: str, *, weights: str | None = None, seed: int = 0) -> Perceptual:
    """The frozen network named by `kind`.

    Args:
      kind: 'none', 'random', 'vgg16' or 'squeezenet'.
      weights: an `.npz` of HWIO kernels `<layer>.weight` and biases `<layer>.bias`; for `vgg16`
        under torchvision's names (`features.0.weight` ...), for `squeezenet` under Caffe's.
      seed: of the random features.

    Raises:
      ValueError: the kind is unknown, the file is missing or no such file, or an array in it is
        missing or has another shape; the message names the array.
    """
    if kind == 'none':
        return Perceptual(lambda *_: [], {}, 0, (0.0,))
    if kind == 'random':
        n = len(RANDOM_STAGES)
        return Perceptual(random_features, _on_device(random_weights(seed)), n, (0.0,) * (n + 1))
    if kind == 'vgg16':
        arrays = _read(weights, vgg16_shapes())
        return Perceptual(vgg16_features, arrays, len(VGG16_SLICES), VGG16_MEANS)
    if kind == 'squeezenet':
        arrays = _read(weights, squeezenet_shapes())
        n = 1 + len(SQUEEZENET_MAPS)
        return Perceptual(squeezenet_features, arrays, n, (0.0,) * (n + 1))
    raise ValueError(f'no perceptual network {kind!r}; known: {", ".join(KINDS)}')


def _read(path: str | None, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, jax.Array]:
    """The arrays of an npz file that `shapes` asks for, each checked."""
    if not path:
        raise ValueError('this perceptual network needs config.perceptual.weights=<file.npz>')
    if not pathlib.Path(path).is_file():
        raise ValueError(f'perceptual weights {path}: no such file')
    try:
        with np.load(path) as file:
            found = {name: file[name] for name in shapes if name in file}
    except (ValueError, OSError) as error:
        raise ValueError(f'perceptual weights {path}: not an npz file ({error})') from None
    for name, shape in shapes.items():
        if name not in found:
            raise ValueError(f'perceptual weights {path}: {name} is missing')
        if found[name].shape != tuple(shape):
            raise ValueError(
                f'perceptual weights {path}: {name} has shape {found[name].shape}, '
                f'expected {tuple(shape)}'
            )
    return _on_device(found)


def _on_device(arrays: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(value, jnp.float32) for name, value in arrays.items()}
