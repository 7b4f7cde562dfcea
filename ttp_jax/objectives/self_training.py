"""Joint training once more, with the network's own predictions in place of labels.

The paper trains on labels and on rebuilding together and personalizes by rebuilding alone
(sections 3.1, 3.2). This keeps both terms, weighed as in training: rebuilding says where things
are in this person's pictures, predictions hold on to what labels have taught. Either it is those
that are confident, of the weights of now, or those that were followed through the clip.
"""

import functools
from collections.abc import Callable

import jax

from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives import followed, pseudo_labels, reconstruction
from ttp_jax.objectives.objective import Context, Objective, Outcome

RECONSTRUCTION_WEIGHT = 1e-3  # the paper's


def loss(
    model: PoseModel,
    target: jax.Array,
    source: jax.Array,
    rng: jax.Array,
    context: Context,
    *,
    labelled_loss: Callable[..., Outcome],
) -> Outcome:
    """The labelled loss of predictions, and the weighted reconstruction error."""
    seen = model.heatmaps(target) if context.seen is None else context.seen
    context = context._replace(seen=seen)
    labelled = labelled_loss(model, target, source, rng, context)
    rebuilt = reconstruction.loss(model, target, source, rng, context)
    metrics = labelled.metrics | rebuilt.metrics
    return Outcome(labelled.loss, metrics, rebuilt.terms, RECONSTRUCTION_WEIGHT)


_HEADS = reconstruction.RECONSTRUCTION.heads
SELF_TRAINING = Objective(
    'self_training', functools.partial(loss, labelled_loss=pseudo_labels.loss), heads=_HEADS
)
FOLLOWED_TRAINING = Objective(
    'followed_training',
    functools.partial(loss, labelled_loss=followed.loss),
    heads=_HEADS,
    taught=True,
)
