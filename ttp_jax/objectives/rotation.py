"""Telling how an image was turned: the task of Sun et al., a row of the paper's table (4.2)."""

import jax
import jax.numpy as jnp

from ttp_jax.data import pairs
from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives.objective import Context, Objective, Outcome, sample_keys


def cross_entropy(logits: jax.Array, quarter_turns: jax.Array) -> jax.Array:
    """Cross-entropy of logits `[N, 4]` against the number of quarter turns `[N]`."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), quarter_turns[:, None], axis=1)
    return -jnp.mean(chosen)


def loss(
    model: PoseModel, target: jax.Array, source: jax.Array, rng: jax.Array, context: Context
) -> Outcome:
    """How badly the model tells by how many quarter turns each target was turned."""
    del source, context
    turned, turns = jax.vmap(pairs.quarter_turn)(sample_keys(rng, len(target)), target)
    logits = model.heatmaps(turned).rotation
    assert logits is not None, 'the registry asks for a rotation head'
    error = cross_entropy(logits, turns)
    return Outcome(error, {'rotation': error})


ROTATION = Objective('rotation', loss, heads=('rotation_head',))
