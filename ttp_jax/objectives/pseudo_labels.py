"""Confident pseudo-labels: the network's own surest predictions, as if somebody had labelled them.

Charles et al. (CVPR 2016) fine-tune to a person on predictions that they trust, and DeepLabCut's
video adaptation (Ye et al., Nature Communications 2024) on those above a confidence. Here a
prediction is the mean over an image and its mirror image, and it is learned on the same image in
another light. Unlike there, labels come from the weights of the step before and not from those at
the start, and none are spread by tracking or optical flow: a step knows two frames, not the video.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from ttp_jax import heatmaps
from ttp_jax.data import pairs
from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives.flips import mirrored, unmirrored
from ttp_jax.objectives.objective import SEEING, Context, Objective, Outcome, sample_keys
from ttp_jax.objectives.supervised import supervised

CONFIDENCE = 0.5  # of a heatmap's maximum; a label's own is 1
COLOUR_STD = 0.25  # of the other light, as in configs/real.py


def labels(predicted: jax.Array, *, sigma: float) -> tuple[jax.Array, jax.Array]:
    """Heatmaps `[N, h, w, J]` to target heatmaps of the same shape, and weights `[N, J]`.

    The weight is 1 where the maximum is at least `CONFIDENCE`, else 0. No gradient goes through.
    """

    def one(heatmap):
        cell, score = heatmaps.decode(heatmap)
        sure = (score >= CONFIDENCE).astype(jnp.float32)
        size = (heatmap.shape[0], heatmap.shape[1])
        return heatmaps.target_heatmap(cell, sure, size=size, stride=1.0, sigma=sigma)

    per_joint = jax.vmap(one, in_axes=-1, out_axes=(-1, -1))
    return jax.vmap(per_joint)(lax.stop_gradient(predicted.astype(jnp.float32)))


def loss(
    model: PoseModel, target: jax.Array, source: jax.Array, rng: jax.Array, context: Context
) -> Outcome:
    """The labelled loss of the target in another light, against its own confident predictions."""
    del source
    seen = model.heatmaps(target) if context.seen is None else context.seen
    flipped = model.heatmaps(mirrored(target)).supervised
    mean = (seen.supervised + unmirrored(flipped, context.mirror)) / 2
    maps, weights = labels(mean, sigma=model.sigma)
    other_light = functools.partial(pairs.recolour, std=COLOUR_STD)
    (image,) = jax.vmap(other_light)(sample_keys(rng, len(target)), target)
    error = supervised(model.heatmaps(image).supervised, maps, weights)
    return Outcome(error, {'pseudo_labels': error, 'sure': jnp.mean(weights)})


PSEUDO_LABELS = Objective('pseudo_labels', loss, heads=(), frozen=SEEING)
