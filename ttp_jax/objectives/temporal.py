"""Consistency over time: a joint looks like itself in any two frames of a clip.

Video methods ask that joints move smoothly from frame to frame. A step here has two frames that lie
any time apart, so their poses may differ, and to ask that joints stay in place would be wrong. What
does stay is what a joint looks like, the cue by which Charles et al. (CVPR 2016) carry predictions
from frame to frame. So the features under a predicted joint must be told by those under the joints
of the other frame, in the contrastive form of van den Oord et al. (2018): features that are the
same everywhere would satisfy a plain distance, and do not satisfy this.
"""

import jax
import jax.numpy as jnp

from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives.objective import SEEING, Context, Objective, Outcome

TEMPERATURE = 0.1


def descriptors(features: jax.Array, heatmaps: jax.Array) -> jax.Array:
    """What lies under each joint: `[N, J, C]`, of length 1.

    Features `[N, h, w, C]`, averaged by the positive part of heatmaps `[N, h, w, J]`.
    """
    weights = jax.nn.relu(heatmaps.astype(jnp.float32))
    found = jnp.einsum('nhwc,nhwj->njc', features.astype(jnp.float32), weights)
    return found * jax.lax.rsqrt(jnp.sum(jnp.square(found), axis=-1, keepdims=True) + 1e-12)


def confusion(a: jax.Array, b: jax.Array) -> jax.Array:
    """How badly each joint of one frame is told among those of the other; both `[N, J, C]`.

    Cross-entropy in nats of the right one under the softmax of cosines, both ways. The least it can
    be, with joints at right angles to each other, is `log(1 + (J - 1) exp(-1 / TEMPERATURE))`.
    """
    logits = jnp.einsum('njc,nkc->njk', a, b) / TEMPERATURE

    def missed(axis):
        return -jnp.mean(jnp.diagonal(jax.nn.log_softmax(logits, axis), axis1=1, axis2=2))

    return (missed(1) + missed(2)) / 2


def loss(
    model: PoseModel, target: jax.Array, source: jax.Array, rng: jax.Array, context: Context
) -> Outcome:
    """How badly joints of the target are told by what they look like in the source."""
    del rng, context
    frames = [model.encoder(image) for image in (target, source)]
    seen = [descriptors(features, model.read(features).supervised) for features in frames]
    error = confusion(*seen)
    return Outcome(error, {'temporal': error})


TEMPORAL = Objective('temporal', loss, heads=(), frozen=SEEING)
