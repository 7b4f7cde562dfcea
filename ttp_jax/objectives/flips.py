"""Flip consistency: a mirrored image must give mirrored heatmaps, left and right exchanged.

The equivariance that Honari et al. (CVPR 2018) ask of landmarks under transformations, with one
transformation only, and of whole heatmaps: nothing here needs a differentiable position. Flat
heatmaps would satisfy it as well, so it says nothing about which of two answers is right.
"""

import jax
import jax.numpy as jnp

from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives.objective import SEEING, Context, Objective, Outcome


def mirrored(images: jax.Array) -> jax.Array:
    """Images or heatmaps `[N, H, W, C]` about the middle of a crop: x becomes W - x.

    That is how `geometry` flips, alike for pixels and for heatmap cells; reversing both would put
    them almost a cell apart. Column 0 has no partner and stays what it is.
    """
    return jnp.roll(images[:, :, ::-1], 1, axis=2)


def unmirrored(heatmaps: jax.Array, mirror: tuple[int, ...]) -> jax.Array:
    """Labelled heatmaps `[N, h, w, J]` of mirrored images, as they should be of the images.

    Raises:
      ValueError: unless `mirror` has a partner for each joint.
    """
    if len(mirror) != heatmaps.shape[-1]:
        raise ValueError(
            f'mirror has {len(mirror)} joints, expected the {heatmaps.shape[-1]} of the heatmaps'
        )
    return mirrored(heatmaps)[..., jnp.array(mirror)]


def difference(a: jax.Array, b: jax.Array) -> jax.Array:
    """Mean squared difference of heatmaps `[N, h, w, J]`, but of column 0, which has no partner."""
    return jnp.mean(jnp.square((a - b)[:, :, 1:].astype(jnp.float32)))


def loss(
    model: PoseModel, target: jax.Array, source: jax.Array, rng: jax.Array, context: Context
) -> Outcome:
    """How far the target's labelled heatmaps are from those of its mirror image."""
    del source, rng
    seen = model.heatmaps(target) if context.seen is None else context.seen
    flipped = model.heatmaps(mirrored(target))
    error = difference(seen.supervised, unmirrored(flipped.supervised, context.mirror))
    return Outcome(error, {'flips': error})


FLIPS = Objective('flips', loss, heads=(), frozen=SEEING)
