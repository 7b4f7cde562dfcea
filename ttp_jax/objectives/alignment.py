"""Features aligned to training: what comes into each norm should have the statistics it had then.

Activation matching (Mirza et al., ActMAD, CVPR 2023) moves a network until means and variances of
its features are those of the training data. ActMAD measures them on the training images, at every
position. Here they are what batch norms have stored, per channel, as Yin et al. (DeepInversion,
CVPR 2020) use them: no training image is needed. Differences are in units of the stored deviation,
so that layers count alike. A step sees augmented copies of few frames: what is typical of one
person counts as a difference too.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ttp_jax.networks.layers import BatchNorm
from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives.objective import SEEING, Context, Objective, Outcome

EPSILON = 1e-5  # added to variances, as norms do

STATISTICS = ('mean', 'var')


def misalignment(x: jax.Array, mean: jax.Array, variance: jax.Array) -> jax.Array:
    """How far the statistics of x `[..., C]` are from stored ones `[C]`; 0 if they are equal.

    Mean over channels of |difference of means| in stored deviations, plus |difference of variances|
    in stored variances.
    """
    x = x.astype(jnp.float32).reshape(-1, x.shape[-1])
    variance = variance + EPSILON
    off_centre = jnp.abs(x.mean(0) - mean) / jnp.sqrt(variance)
    off_spread = jnp.abs(x.var(0) + EPSILON - variance) / variance
    return jnp.mean(off_centre + off_spread)


def norms_of(encoder: nn.Module, images: jax.Array) -> list[jax.Array]:
    """The misalignment of every batch norm's input in one pass of the encoder."""
    found = []

    def watch(call, args, kwargs, context):
        norm = context.module
        if isinstance(norm, BatchNorm) and context.method_name == '__call__':
            stored: list[jax.Array] = [
                norm.get_variable('batch_stats', name) for name in STATISTICS
            ]
            found.append(misalignment(args[0], *stored))
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        encoder(images)
    return found


def loss(
    model: PoseModel, target: jax.Array, source: jax.Array, rng: jax.Array, context: Context
) -> Outcome:
    """The mean misalignment of the encoder's norms on the target's crops."""
    del source, rng, context
    error = jnp.mean(jnp.stack(norms_of(model.encoder, target)))
    return Outcome(error, {'alignment': error})


ALIGNMENT = Objective('alignment', loss, heads=(), frozen=SEEING, by_image=False)
