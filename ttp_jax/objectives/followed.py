"""Followed predictions: the network's own, looked at more often and followed through the clip.

Charles et al. (CVPR 2016) personalize to a video on labels that they spread from its surest frames
to all others. Here the shared network first predicts the whole clip with more care than a single
look allows: from several crops of each frame and their mirror images, choosing for each joint one
path through the peaks of all frames (`personalize.follow`). That is right more often than a single
look, and what a person's private copy then learns to say at one. The labels stay what they are, so
it cannot talk itself into anything, nor become better than they are for long. Online a frame's
labels follow from the past alone. Joint training has no such labels, and better ones.
"""

import functools

import jax

from ttp_jax.data import pairs
from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives.objective import SEEING, Context, Objective, Outcome, sample_keys
from ttp_jax.objectives.pseudo_labels import COLOUR_STD
from ttp_jax.objectives.supervised import supervised


def loss(
    model: PoseModel, target: jax.Array, source: jax.Array, rng: jax.Array, context: Context
) -> Outcome:
    """The labelled loss of the target in another light, against what was followed.

    Raises ValueError without `context.labels`.
    """
    del source
    if context.labels is None:
        raise ValueError("objective 'followed' learns from a clip's own predictions, found none")
    maps, weights = context.labels
    other_light = functools.partial(pairs.recolour, std=COLOUR_STD)
    (image,) = jax.vmap(other_light)(sample_keys(rng, len(target)), target)
    error = supervised(model.heatmaps(image).supervised, maps, weights)
    return Outcome(error, {'followed': error})


FOLLOWED = Objective('followed', loss, heads=(), frozen=SEEING, taught=True)
