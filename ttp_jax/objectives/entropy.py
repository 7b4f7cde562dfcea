"""Entropy of the predicted heatmaps, to be lowered: TENT's objective (Wang et al., ICLR 2021).

As in TENT, 'entropy' trains the scales and biases of norms alone; 'entropy_all' trains what the
paper's task may move of the networks that see, to tell the objective from the parameters. Unlike
there, norms keep the statistics of the training data: the frames of one step are augmented copies
of a few images, whose own statistics say little.
"""

import jax
import jax.numpy as jnp

from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives.objective import NORMS, SEEING, Context, Objective, Outcome, everything_but


def spatial_entropy(heatmaps: jax.Array) -> jax.Array:
    """Mean entropy in nats of each heatmap's spatial softmax; heatmaps `[N, h, w, J]`."""
    n, h, w, joints = heatmaps.shape
    log_p = jax.nn.log_softmax(heatmaps.reshape(n, h * w, joints), axis=1)
    return -jnp.mean(jnp.sum(jnp.exp(log_p) * log_p, axis=1))


def loss(
    model: PoseModel, target: jax.Array, source: jax.Array, rng: jax.Array, context: Context
) -> Outcome:
    """The entropy of the target's labelled heatmaps."""
    del source, rng
    seen = model.heatmaps(target) if context.seen is None else context.seen
    entropy = spatial_entropy(seen.supervised.astype(jnp.float32))
    return Outcome(entropy, {'entropy': entropy})


ENTROPY = Objective('entropy', loss, heads=(), frozen=(everything_but(NORMS),))
ENTROPY_ALL = Objective('entropy_all', loss, heads=(), frozen=SEEING)
