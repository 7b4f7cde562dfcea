"""The whole model: an image's heatmaps, and the image rebuilt from another frame (paper section 3).

Contract: images are normalised `[N, H, W, 3]`; heatmaps are `[N, h, w, channels]` with
h = H / stride; keypoints are (x, y) in heatmap cells, centres at integers. The supervised heatmaps
of the Transformer variant are convex combinations of the self-supervised ones:
`supervised = self_supervised @ affinity^T`, rows of the affinity summing to one.

Variants (paper section 4.2):
  transformer       the paper's: affinity matrix between self-supervised and labelled keypoints
  shared_keypoint   encoder shared, labelled heatmaps from their own 1 x 1 convolution
  shared_rotation   as above; the self-supervised task is telling which way up the image is
  baseline          labelled heatmaps only
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ttp_jax import heatmaps
from ttp_jax.networks import backbone, blocks, layers

# Blocks of zeros around what image encoders read. With fewer than the blocks that come of them the
# TPU's compiler reverses whole maps for the gradient of the kernel.
MARGIN = 1
VARIANTS = ('transformer', 'shared_keypoint', 'shared_rotation', 'baseline')


class Heatmaps(NamedTuple):
    """What the encoder and its heads make of an image.

    supervised `[N, h, w, J]`; self_supervised `[N, h, w, K]`, affinity `[N, J, K]` and rotation
    `[N, 4]` logits are None where the variant has none.
    """

    supervised: jax.Array
    self_supervised: jax.Array | None = None
    affinity: jax.Array | None = None
    rotation: jax.Array | None = None


class Reconstruction(NamedTuple):
    """The target rebuilt: image `[N, H / s, W / s, 3]`, its keypoints `[N, K, 2]`, (x, y) in cells.

    s: the model's `image_stride`.
    """

    image: jax.Array
    keypoints: jax.Array


class DecoderLayer(nn.Module):
    """One post-norm Transformer decoder layer (Vaswani et al.), no positional encoding.

    queries `[N, J, C]`, memory `[N, P, C]` to `[N, J, C]`.
    """

    heads: int
    feedforward: int
    dropout: float
    train: bool

    @nn.compact
    def __call__(self, queries: jax.Array, memory: jax.Array) -> jax.Array:
        attention = functools.partial(
            nn.MultiHeadDotProductAttention,
            self.heads,
            dropout_rate=self.dropout,
            broadcast_dropout=False,
            deterministic=not self.train,
        )
        norm = functools.partial(nn.LayerNorm, epsilon=1e-5)
        drop = nn.Dropout(self.dropout, deterministic=not self.train)
        x = norm(name='norm1')(queries + drop(attention(name='self_attention')(queries)))
        x = norm(name='norm2')(x + drop(attention(name='cross_attention')(x, memory)))
        y = drop(nn.relu(nn.Dense(self.feedforward, name='linear1')(x)))
        y = drop(nn.Dense(x.shape[-1], name='linear2')(y))
        return norm(name='norm3')(x + y)


class AffinityTransformer(nn.Module):
    """Features `[N, h, w, C]` to the affinity matrix `[N, J, K]` (paper section 3.1)."""

    joints: int
    keypoints: int
    heads: int
    feedforward: int
    dropout: float
    train: bool
    layers: int = 1

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        n, channels = features.shape[0], features.shape[-1]
        queries = self.param('queries', nn.initializers.normal(1.0), (self.joints, channels))
        queries = jnp.broadcast_to(queries, (n, *queries.shape))
        memory = features.reshape(n, -1, channels)
        x = queries
        for i in range(self.layers):  # the paper's only one is called 'decoder'
            layer = DecoderLayer(
                self.heads, self.feedforward, self.dropout, self.train, name=f'decoder{i or ""}'
            )
            x = layer(x, memory)
        x = nn.LayerNorm(epsilon=1e-5, name='norm')(x)
        return nn.softmax(nn.Dense(self.keypoints, name='affinity')(x), axis=-1)


class _ConvNormRelu(nn.Module):
    """The convolution, norm and ReLU that the image networks are made of."""

    train: bool
    lowering: str
    axis_name: str | None
    dtype: Any

    def unit(
        self,
        x: jax.Array | layers.SeparableMaps,
        features: int,
        name: str,
        kernel: int = 3,
        **options: Any,
    ) -> jax.Array:
        """One of them, of these names in the parameter tree; options: of `layers.Conv`."""
        outputs = options.get('outputs', blocks.PLAIN)
        x = layers.Conv(
            features, kernel, lowering=self.lowering, dtype=self.dtype, name=name, **options
        )(x)
        norm = layers.BatchNorm(
            use_running_average=not self.train,
            axis_name=self.axis_name,
            layout=outputs,
            name=name.replace('conv', 'bn'),
        )
        return blocks.masked(layers.relu(norm(x), lowering=self.lowering), outputs)

    def pair(
        self,
        x: jax.Array | layers.SeparableMaps,
        features: int,
        stage: int,
        inputs: blocks.Blocks,
        outputs: blocks.Blocks,
        **first: Any,
    ) -> jax.Array:
        """The two that a stage is made of. first: options of the first one."""
        name, between = f'conv{stage}', outputs.shifted
        x = self.unit(x, features, f'{name}_0', inputs=inputs, outputs=between, **first)
        return self.unit(x, features, f'{name}_1', inputs=between, outputs=outputs)


class ImageEncoder(_ConvNormRelu):
    """Pose or appearance encoder: `[N, H, W, C]` to `[N, H / 8, W / 8, 8 * width]`.

    The pose encoder's maps may come as `SeparableMaps`, which are never multiplied out.
    """

    width: int = 32

    @nn.compact
    def __call__(self, x: jax.Array | layers.SeparableMaps) -> jax.Array:
        height, width = _size_of(x)
        inputs = layers.layout(self.lowering, self.width, height, width)
        if not isinstance(x, layers.SeparableMaps):
            x = blocks.to_blocks(x, inputs, MARGIN)
        for stage in (1, 2, 3, 4):
            first = dict(kernel=7, margin=MARGIN) if stage == 1 else dict(stride=2)
            features, shrink = self.width * 2 ** (stage - 1), 2 ** (stage - 1)
            outputs = layers.layout(self.lowering, features, height // shrink, width // shrink)
            x = self.pair(x, features, stage, inputs, outputs, **first)
            inputs = outputs
        assert isinstance(x, jax.Array)
        return blocks.from_blocks(x, inputs)


def _size_of(maps: jax.Array | layers.SeparableMaps) -> tuple[int, int]:
    """Height and width."""
    if isinstance(maps, layers.SeparableMaps):
        return maps.rows.shape[1], maps.columns.shape[1]
    return maps.shape[1], maps.shape[2]


class Renderer(_ConvNormRelu):
    """Appearance and pose, concatenated, to the image: `[N, H / 8, W / 8, C]` to `[N, H, W, 3]`."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, inputs = x.shape[-1], blocks.PLAIN
        lies = [blocks.PLAIN] * 4
        if self.lowering == 'tpu':
            lies = blocks.doubling(channels // 16, times=3)
        for stage, outputs in enumerate(lies, start=1):
            channels //= 2
            x = self.pair(x, channels, stage, inputs, outputs, upsample=stage > 1)
            inputs = outputs
        return layers.Conv(
            3,
            3,
            use_bias=True,
            lowering=self.lowering,
            dtype=self.dtype,
            inputs=inputs,
            outputs=inputs,
            name='image',
        )(x)


class PoseModel(nn.Module):
    """Every network of the method; which ones exist follows from `variant`.

    `train` chooses batch statistics and dropout, `lowering` how convolutions are computed
    (layers.py), `axis_name` the devices that share batch statistics. None of them changes the
    parameters: `model.clone(train=False, lowering=...)` applies the same tree. With an
    `image_stride` of 2 images are rebuilt, and compared, at half their size: a step costs less, and
    heatmaps stay as fine. Raises ValueError for an unknown variant or depth.
    """

    joints: int = 13
    keypoints: int = 30
    variant: str = 'transformer'
    depth: int = 50
    stages: int = 4
    width: int = 64
    stem_pool: bool = True
    deconvolutions: int = 3
    features: int = 256
    image_width: int = 32
    image_stride: int = 1
    layers: int = 1
    heads: int = 4
    feedforward: int = 1024
    dropout: float = 0.1
    sigma: float = 2.0
    train: bool = False
    lowering: str = 'library'
    axis_name: str | None = None
    dtype: Any = None

    def setup(self) -> None:
        """Makes the networks of the variant."""
        if self.variant not in VARIANTS:
            raise ValueError(f'no variant {self.variant!r}; known: {", ".join(VARIANTS)}')
        common = dict(
            train=self.train, lowering=self.lowering, axis_name=self.axis_name, dtype=self.dtype
        )
        head = functools.partial(
            layers.Conv,
            kernel=1,
            use_bias=True,
            lowering=self.lowering,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(0.001),
        )
        self.encoder = backbone.Encoder(
            self.depth,
            self.width,
            self.stem_pool,
            self.deconvolutions,
            self.features,
            stages=self.stages,
            **common,
        )
        if self.variant == 'transformer':
            self.affinity_transformer = AffinityTransformer(
                self.joints,
                self.keypoints,
                self.heads,
                self.feedforward,
                self.dropout,
                self.train,
                self.layers,
            )
        else:
            self.supervised_head = head(self.joints)
        if self.variant == 'shared_rotation':
            self.rotation_head = nn.Dense(4)
        if self.reconstructs:
            self.self_supervised_head = head(self.keypoints)
            self.appearance_encoder = ImageEncoder(**common, width=self.image_width)
            self.pose_encoder = ImageEncoder(**common, width=self.image_width)
            self.renderer = Renderer(**common)

    @property
    def parts(self) -> frozenset[str]:
        """The names of the networks that this variant is made of, as in its parameter tree."""
        parts = {'encoder'}
        parts |= {'affinity_transformer' if self.variant == 'transformer' else 'supervised_head'}
        if self.variant == 'shared_rotation':
            parts |= {'rotation_head'}
        if self.reconstructs:
            parts |= {'self_supervised_head', 'appearance_encoder', 'pose_encoder', 'renderer'}
        return frozenset(parts)

    @property
    def reconstructs(self) -> bool:
        """Whether the self-supervised task is the reconstruction of an image."""
        return self.variant in ('transformer', 'shared_keypoint')

    def cells(self, size: int) -> int:
        """Side of the heatmaps of a crop of `size` pixels.

        Raises:
          ValueError: for a size that the encoder cannot shrink evenly.
        """
        shrink = 2 ** (self.stages + self.stem_pool)
        if size % shrink:
            raise ValueError(
                f'crops of {size} pixels: expected a multiple of {shrink}, by which '
                'the encoder shrinks them'
            )
        if size % (8 * self.image_stride):
            raise ValueError(
                f'crops of {size} pixels: expected a multiple of {8 * self.image_stride}, by which '
                'the image encoders shrink them'
            )
        return size // shrink * 2**self.deconvolutions

    def heatmaps(self, images: jax.Array) -> Heatmaps:
        """Images `[N, H, W, 3]` to heatmaps: all that prediction needs (paper section 3.1)."""
        return self.read(self.encoder(images))

    def read(self, features: jax.Array) -> Heatmaps:
        """The encoder's features `[N, h, w, features]` to heatmaps."""
        rotation = self_supervised = affinity = None
        if self.variant == 'shared_rotation':
            rotation = self.rotation_head(features.mean((1, 2)))
        if self.reconstructs:
            self_supervised = self.self_supervised_head(features)
        if self.variant == 'transformer':
            affinity = self.affinity_transformer(features)
            supervised = jnp.einsum('nhwk,njk->nhwj', self_supervised, affinity)
        else:
            supervised = self.supervised_head(features)
        return Heatmaps(supervised, self_supervised, affinity, rotation)

    def self_supervised_heatmaps(self, images: jax.Array) -> jax.Array:
        """Images to `[N, h, w, K]`: what the reconstruction needs, without the Transformer."""
        return self.self_supervised_head(self.encoder(images))

    def reconstruct(self, self_supervised: jax.Array, source: jax.Array) -> Reconstruction:
        """The target, `shrunk`, from its keypoints and the source's appearance (3.1).

        self_supervised `[N, h, w, K]` of the target; source `[N, H, W, 3]`.
        """
        source = self.shrunk(source)
        keypoints = keypoint_bottleneck(self_supervised)
        maps = pose_maps(
            keypoints,
            size=self_supervised.shape[1:3],
            image_size=source.shape[1:3],
            sigma=self.sigma,
        )
        appearance = self.appearance_encoder(source)
        image = self.renderer(jnp.concatenate([appearance, self.pose_encoder(maps)], axis=-1))
        return Reconstruction(image, keypoints)

    def shrunk(self, images: jax.Array) -> jax.Array:
        """Images `[N, H, W, 3]` as they are rebuilt: means of s x s pixels, s = `image_stride`."""
        s = self.image_stride
        if s == 1:
            return images
        n, height, width, channels = images.shape
        return images.reshape(n, height // s, s, width // s, s, channels).mean((2, 4))

    def __call__(
        self, target: jax.Array, source: jax.Array
    ) -> tuple[Heatmaps, Reconstruction | None]:
        """Both tasks on one batch: the target's heatmaps, and the rebuilt target."""
        seen = self.heatmaps(target)
        if seen.self_supervised is None:
            return seen, None
        return seen, self.reconstruct(seen.self_supervised, source)


def keypoint_bottleneck(self_supervised: jax.Array) -> jax.Array:
    """Heatmaps `[N, h, w, K]` to keypoints `[N, K, 2]`, (x, y) in heatmap cells."""
    per_keypoint = jax.vmap(heatmaps.soft_argmax, in_axes=-1)
    return jax.vmap(per_keypoint)(self_supervised.astype(jnp.float32))


def pose_maps(
    keypoints: jax.Array, *, size: Sequence[int], image_size: Sequence[int], sigma: float
) -> layers.SeparableMaps:
    """The Gaussian maps `[N, H, W, K]`, bilinearly upsampled to the image, as their two factors.

    Both a Gaussian and bilinear interpolation are separable, so each axis is upsampled alone.
    """

    def profile(centre, cells, pixels):
        line = jnp.exp(-((jnp.arange(cells) - centre[..., None]) ** 2) / (2 * sigma**2))
        line = jax.image.resize(line, (*line.shape[:-1], pixels), 'bilinear')
        return jnp.moveaxis(line, 1, -1)

    return layers.SeparableMaps(
        profile(keypoints[..., 1], size[0], image_size[0]),
        profile(keypoints[..., 0], size[1], image_size[1]),
    )
