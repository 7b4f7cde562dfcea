"""Which frames a step of personalization learns from, and when predictions are made (paper 3.2).

Contract: a schedule is a function `schedule(t, rng, *, length, batch, augment) -> Draw` of the
current frame. Online and offline are two schedules of one loop.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ttp_jax import geometry


class Draw(NamedTuple):
    """Frames of one step: target and source indices `[B]`, and augmentations with leaves `[B]`."""

    target: jax.Array
    source: jax.Array
    augmentation: geometry.Augmentation


def online(
    t: jax.Array, rng: jax.Array, *, length: jax.Array, batch: int, augment: Mapping[str, float]
) -> Draw:
    """Copies of frame t, the first as it is, the others always rotated; sources from 0 ... t."""
    del length  # the future is not known yet
    source_rng, augment_rng = jax.random.split(rng)
    augmentation = _augmentations(augment_rng, batch, {**augment, 'rotation_prob': 1.0})
    augmentation = jax.tree.map(
        lambda drawn, none: drawn.at[0].set(none), augmentation, geometry.Augmentation()
    )
    return Draw(
        jnp.full(batch, t), jax.random.randint(source_rng, (batch,), 0, t + 1), augmentation
    )


def offline(
    t: jax.Array, rng: jax.Array, *, length: jax.Array, batch: int, augment: Mapping[str, float]
) -> Draw:
    """Targets and sources uniform over the whole clip, augmented as in training."""
    del t
    target_rng, source_rng, augment_rng = jax.random.split(rng, 3)
    return Draw(
        jax.random.randint(target_rng, (batch,), 0, length),
        jax.random.randint(source_rng, (batch,), 0, length),
        _augmentations(augment_rng, batch, augment),
    )


def _augmentations(
    rng: jax.Array, batch: int, augment: Mapping[str, float]
) -> geometry.Augmentation:
    """One of its own for each sample of a batch."""

    def draw(key: jax.Array) -> geometry.Augmentation:
        return geometry.sample_augmentation(key, **augment)

    return jax.vmap(draw)(jax.random.split(rng, batch))


SCHEDULES = {'online': online, 'offline': offline}
