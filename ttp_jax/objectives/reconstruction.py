"""The paper's task: rebuild a frame from its own keypoints and another frame's appearance (3.1)."""

import jax
import jax.numpy as jnp
from jax import lax

from ttp_jax.networks.model import PoseModel
from ttp_jax.networks.perceptual import Perceptual
from ttp_jax.objectives.objective import Context, Objective, Outcome


def reconstruction_terms(
    image: jax.Array, target: jax.Array, *, perceptual: Perceptual
) -> jax.Array:
    """Mean squared errors `[1 + terms]`: on the pixels, then on each perceptual feature map.

    Images `[N, H, W, 3]`, normalised. Features are computed in the image's dtype, errors in
    float32.
    """
    seen = [image, *perceptual.maps(image)]
    wanted = [target, *lax.stop_gradient(perceptual.maps(target.astype(image.dtype)))]
    return jnp.stack(
        [
            jnp.mean(jnp.square(a.astype(jnp.float32) - b.astype(jnp.float32)))
            for a, b in zip(seen, wanted, strict=True)
        ]
    )


def loss(
    model: PoseModel, target: jax.Array, source: jax.Array, rng: jax.Array, context: Context
) -> Outcome:
    """The terms of the reconstruction error of the target's crops `[B, S, S, 3]`."""
    del rng
    maps = None if context.seen is None else context.seen.self_supervised
    if maps is None:
        maps = model.self_supervised_heatmaps(target)
    rebuilt = model.reconstruct(maps, source)
    terms = reconstruction_terms(rebuilt.image, model.shrunk(target), perceptual=context.perceptual)
    return Outcome(jnp.zeros(()), {'pixels': terms[0]}, terms)


RECONSTRUCTION = Objective(
    'reconstruction',
    loss,
    heads=('self_supervised_head', 'appearance_encoder', 'pose_encoder', 'renderer'),
)
