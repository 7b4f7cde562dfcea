"""The labelled task: heatmaps of known keypoints (paper section 3.1).

Every mean is over a fixed number of elements per image, so that the mean of the devices' means is
the mean over all images, however unevenly joints are visible.
"""

import jax
import jax.numpy as jnp


def supervised(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean over images, joints and cells of (w prediction - w target)^2 / 2.

    Heatmaps `[N, h, w, J]`; `weight` `[N, J]` in 0 ... 1. Invisible joints count in the mean, as in
    the release.
    """
    weight = weight[:, None, None, :]
    return 0.5 * jnp.mean(jnp.square(weight * (prediction.astype(jnp.float32) - target)))
