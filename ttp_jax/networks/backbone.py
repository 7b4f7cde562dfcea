"""The residual encoder phi, shared by both tasks (paper section 3.1; ResNet as in torchvision).

Contract: images `[N, H, W, 3]`, normalised RGB (or BGR, if the weights want it), to features
`[N, H / s, W / s, features]`, where the output stride s is 32 / 2**deconvolutions with the stem's
max-pool and 16 / 2**deconvolutions without it, and half of that for each of the four stages that
`stages` leaves out. `width` is the number of channels after the stem
(64 in every published ResNet); all other channel counts follow from it.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from ttp_jax.networks import blocks, layers
from ttp_jax.networks.blocks import PLAIN, Blocks

STAGES = {  # depth -> (blocks per stage, bottleneck?)
    10: ((1, 1, 1, 1), False),
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; the stride is on the first.

    inputs, outputs: how the maps before and after it lie (`blocks`).
    """

    features: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    relu: Callable[[jax.Array], jax.Array]
    inputs: Blocks = PLAIN
    outputs: Blocks = PLAIN
    expansion = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        between = self.outputs.shifted
        first = self.conv(
            self.features, 3, self.stride, inputs=self.inputs, outputs=between, name='conv1'
        )
        y = self.relu(self.norm(layout=between, name='bn1')(first(x)))
        second = self.conv(self.features, 3, inputs=between, outputs=self.outputs, name='conv2')
        y = self.norm(layout=self.outputs, name='bn2')(second(blocks.masked(y, between)))
        return self.relu(y + _shortcut(self, x, self.features, self.inputs, self.outputs))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 and a shortcut; the stride is on the 3 x 3 (as in torchvision)."""

    features: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    relu: Callable[[jax.Array], jax.Array]
    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(self.features, 1, name='conv1')(x)
        y = self.relu(self.norm(name='bn1')(y))
        y = self.conv(self.features, 3, self.stride, name='conv2')(y)
        y = self.relu(self.norm(name='bn2')(y))
        last = self.conv(self.features * self.expansion, 1, name='conv3')
        y = last(y, norm=self.norm(name='bn3'))
        return self.relu(y + _shortcut(self, x, self.features * self.expansion))


def _shortcut(
    block: nn.Module, x: jax.Array, features: int, inputs: Blocks = PLAIN, outputs: Blocks = PLAIN
) -> jax.Array:
    """The identity, or a 1 x 1 convolution where the block changes the shape."""
    if block.stride == 1 and x.shape[-1] == features * inputs.pixels:
        return x
    how = dict(inputs=inputs, outputs=outputs)
    conv = block.conv(features, 1, block.stride, **how, name='downsample_conv')
    return conv(x, norm=block.norm(layout=outputs, name='downsample_bn'))


class ResNet(nn.Module):
    """Stem and four stages: `[N, H, W, 3]` to `[N, H / 32, W / 32, 8 * width * expansion]`.

    Fewer `stages` end earlier: with three it is `[N, H / 16, W / 16, 4 * width * expansion]`, and
    most of the numbers are gone. Raises ValueError for a depth that is not in `STAGES`.
    """

    depth: int
    width: int
    stem_pool: bool
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    stages: int = 4
    lowering: str = 'library'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.depth not in STAGES:
            raise ValueError(f'no ResNet of depth {self.depth}; known: {sorted(STAGES)}')
        counts, bottleneck = STAGES[self.depth]
        relu = functools.partial(layers.relu, lowering=self.lowering)
        lies = self.lies(*x.shape[1:3])
        inputs = PLAIN if self.stem_pool else lies[0]
        x = self.conv(self.width, 7, 2, outputs=inputs, name='conv1')(x)
        x = relu(self.norm(layout=inputs, name='bn1')(x))
        if self.stem_pool:
            x = layers.max_pool(x, 3, ((1, 1), (1, 1)), lowering=self.lowering)
            x, inputs = blocks.to_blocks(x, lies[0]), lies[0]
        for stage, outputs in enumerate(lies):
            for i in range(counts[stage]):
                lie: dict[str, Any] = {} if bottleneck else dict(inputs=inputs, outputs=outputs)
                block = (Bottleneck if bottleneck else BasicBlock)(
                    self.width * 2**stage,
                    2 if stage and i == 0 else 1,
                    self.conv,
                    self.norm,
                    relu,
                    **lie,
                    name=f'layer{stage + 1}_{i}',
                )
                x, inputs = block(x), outputs
        return blocks.from_blocks(x, inputs)

    def lies(self, height: int, width: int) -> list[Blocks]:
        """How the maps of every stage lie, of images of that size; wide ones are plain anyway."""
        if STAGES[self.depth][1]:
            return [PLAIN] * self.stages
        strides = [(4 if self.stem_pool else 2) << stage for stage in range(self.stages)]
        return [
            layers.layout(self.lowering, self.width << i, -(-height // n), -(-width // n))
            for i, n in enumerate(strides)
        ]


class Encoder(nn.Module):
    """ResNet and transposed convolutions: the features F that both heads read.

    Transposed convolutions start from N(0, 0.001^2), as in the release (paper section 4.2).
    """

    depth: int
    width: int
    stem_pool: bool
    deconvolutions: int
    features: int
    train: bool
    lowering: str = 'library'
    axis_name: str | None = None
    dtype: Any = None
    stages: int = 4

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        conv = functools.partial(layers.Conv, lowering=self.lowering, dtype=self.dtype)
        norm = functools.partial(
            layers.BatchNorm, use_running_average=not self.train, axis_name=self.axis_name
        )
        x = ResNet(
            self.depth,
            self.width,
            self.stem_pool,
            conv,
            norm,
            self.stages,
            self.lowering,
            name='resnet',
        )(images)
        for i in range(self.deconvolutions):
            x = layers.ConvTranspose(
                self.features,
                kernel_init=nn.initializers.normal(0.001),
                lowering=self.lowering,
                dtype=self.dtype,
                name=f'deconv{i}',
            )(x)
            x = layers.relu(norm(name=f'deconv_bn{i}')(x), lowering=self.lowering)
        return x
