"""How much arithmetic, and how much memory, one person's step takes: what throughput.py divides by.

Contract: FLOPs are two per multiplication, counted by formula from each layer's shape, for one
image `[1, S, S, 3]`; padding counts as pixels. Where the model multiplies less than the direct
convolution would (`layers.convolve_separable`, `layers.convolve_upsampled`), its own count is
taken; Winograd's tiles count as the direct convolution that they are equal to. Norms, activations
and optimisers are left out. XLA's cost analysis is there to check the formula against.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ttp_jax.networks import layers, perceptual
from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives.reconstruction import RECONSTRUCTION
from ttp_jax.personalize import inner_loop, liveness, partition


class Problem(NamedTuple):
    """A model and its variables, the perceptual network and its kind, side of crops, batch."""

    model: PoseModel
    variables: dict[str, Any]
    network: perceptual.Perceptual
    kind: str
    size: int
    batch: int

    def split(self) -> tuple[partition.Flat, partition.Flat]:
        """(trainable, frozen) as the paper has it."""
        return partition.split(self.variables['params'], frozen=RECONSTRUCTION.frozen)


# --- FLOPs by formula ------------------------------------------------------------------------

FIRST = ('encoder/resnet/conv1', 'appearance_encoder/conv1_0')  # they see images
PREDICTING = ('encoder', 'self_supervised_head', 'affinity_transformer')


def flops_by_formula(problem: Problem) -> dict[str, int]:
    """FLOPs of a person's 'step', of an 'online' frame (step and prediction), of a 'joint' image.

    A trained layer costs three passes: forward, its weights' gradient and its input's. The first
    layers of networks that see images have no gradient to pass on. The perceptual network is
    frozen: it takes two passes forward, for the target and for the image, and one back to the
    image.
    """
    forward = layer_flops(problem.model, problem.size)
    frozen = {name for name in forward if name.startswith('affinity_transformer')}
    trained = sum((2 if name in FIRST else 3) * forward[name] for name in forward.keys() - frozen)
    image = trained + 3 * perceptual_flops(problem.kind, problem.size)
    predict = sum(flops for name, flops in forward.items() if name.startswith(PREDICTING))
    return {
        'step': problem.batch * image,
        'online': problem.batch * image + predict,
        'joint': image + 3 * sum(forward[name] for name in frozen),
    }


def layer_flops(model: PoseModel, size: int) -> dict[str, int]:
    """Each layer's FLOPs for one image, forward, by its path in the model."""
    image, counts = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32), {}

    def intercept(layer, inputs, keywords, context):
        output = layer(*inputs, **keywords)
        if context.method_name == '__call__':
            if flops := module_flops(context.module, inputs, output):
                counts['/'.join(context.module.path)] = flops
        return output

    with nn.intercept_methods(intercept):
        jax.eval_shape(model.init, jax.random.key(0), image, image)
    mixing = 2 * model.cells(size) ** 2 * model.keypoints * model.joints
    return {**counts, 'affinity_transformer/heatmaps': mixing}


def module_flops(module, inputs, output) -> int:
    """2 x multiplications of one layer; 0 of what is not a layer."""
    x = inputs[0] if inputs else None
    if isinstance(module, layers.Conv) and isinstance(x, layers.SeparableMaps):
        (_, height, channels), width = x.rows.shape, x.columns.shape[1]
        columns_then_rows = width * module.kernel * (module.kernel + height)
        return 2 * columns_then_rows * channels * module.features
    if isinstance(module, layers.Conv) and module.upsample:
        return 2 * x.size * 4**2 * module.features
    if isinstance(module, layers.Conv):
        return 2 * output.size * module.kernel**2 * x.shape[-1]
    if isinstance(module, layers.ConvTranspose):
        return 2 * x.size * module.kernel**2 * module.features
    if isinstance(module, (nn.Dense, nn.DenseGeneral)):
        axes = getattr(module, 'axis', -1)
        return 2 * output.size * math.prod(x.shape[a] for a in np.atleast_1d(axes))
    if isinstance(module, nn.MultiHeadDotProductAttention):
        return 4 * x.size * inputs[-1].shape[1]
    return 0


def perceptual_flops(kind: str, size: int) -> int:
    """FLOPs of the perceptual network for one image, forward."""
    total, channels = 0, 3
    if kind == 'random':
        stages = [(size >> i, features) for i, features in enumerate(perceptual.RANDOM_STAGES)]
    else:
        stages = [
            (size >> sum(pooled <= i for pooled in perceptual.VGG16_POOLED), features)
            for i, features in sorted(perceptual.VGG16_CHANNELS.items())
        ]
    for side, features in stages:
        total += 2 * side**2 * 9 * channels * features
        channels = features
    return total


# --- what XLA says, and memory ---------------------------------------------------------------


def adapting_step(problem: Problem, lowering: str) -> tuple[Callable, tuple]:
    """One person's step and its arguments, as shapes."""
    trainable, frozen = problem.split()
    crops = jax.ShapeDtypeStruct((problem.batch, problem.size, problem.size, 3), jnp.float32)
    loss = functools.partial(
        inner_loop.self_supervised_loss,
        perceptual=problem.network,
        objective=RECONSTRUCTION,
        model=problem.model.clone(lowering=lowering),
    )
    tx, means = optax.adam(1e-4), jnp.ones(1 + problem.network.terms)
    state = jax.eval_shape(functools.partial(inner_loop.fresh_state, tx=tx), trainable, means)
    drawn = inner_loop.Crops(crops, crops), jax.random.key(0)
    step = functools.partial(inner_loop.adapt_step, tx=tx, loss=loss)
    return step, (state, frozen, problem.variables['batch_stats'], *drawn)


def flops_by_xla(problem: Problem, lowering: str) -> float:
    """XLA's cost analysis of one person's step as traced.

    It includes what the lowering does in excess, additions and exponentials, and leaves out what
    touches only the zeros around an image.
    """
    step, arguments = adapting_step(problem, lowering)
    analysis = jax.jit(step).lower(*arguments).cost_analysis()
    return (analysis[0] if isinstance(analysis, list) else analysis).get('flops', math.nan)


def trainable_bytes(problem: Problem) -> int:
    """How many bytes one person's trained parameters take in float32."""
    return sum(4 * leaf.size for leaf in problem.split()[0].values())


def step_bytes(problem: Problem) -> int:
    """Bytes that a person's step holds besides its arguments, by its trace (`liveness`)."""
    step, arguments = adapting_step(problem, 'matmul')
    return liveness.most_held(jax.make_jaxpr(step)(*arguments))
