"""The objectives: supervised heatmaps, perceptual reconstruction, rotation (paper section 3).

Contract: heatmaps `[N, h, w, J]`, joint weights `[N, J]` in 0 ... 1, images `[N, H, W, 3]`
normalised. Every mean is over a fixed number of elements per image, so that the mean of the
devices' means is the mean over all images, however unevenly joints are visible.
"""

import jax
import jax.numpy as jnp
from jax import lax

from ttp_jax.networks.perceptual import Perceptual

MOMENTUM = 0.01


def supervised(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean over images, joints and cells of (w prediction - w target)^2 / 2; `weight` is `[N, J]`.

    Invisible joints count in the mean, as in the release.
    """
    weight = weight[:, None, None, :]
    return 0.5 * jnp.mean(jnp.square(weight * (prediction.astype(jnp.float32) - target)))


def reconstruction_terms(
    image: jax.Array, target: jax.Array, *, perceptual: Perceptual
) -> jax.Array:
    """Mean squared errors `[1 + terms]`: on the pixels, then on each perceptual feature map.

    Features are computed in the image's dtype, errors in float32.
    """
    seen = [image, *perceptual.maps(image)]
    wanted = [target, *lax.stop_gradient(perceptual.maps(target.astype(image.dtype)))]
    return jnp.stack(
        [
            jnp.mean(jnp.square(a.astype(jnp.float32) - b.astype(jnp.float32)))
            for a, b in zip(seen, wanted, strict=True)
        ]
    )


def balance(
    terms: jax.Array, means: jax.Array, *, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """The sum of terms `[T]`, each over a running mean of itself; and the new running means.

    The mean moves first, by a hundredth, and no gradient goes through it. A mean of zero has seen
    nothing yet and starts at the first value. With `axis_name` the running means follow the terms'
    average over the devices.
    """
    now = lax.stop_gradient(terms)
    now = lax.pmean(now, axis_name) if axis_name else now
    means = jnp.where(means > 0, means + MOMENTUM * (now - means), now)
    return jnp.sum(terms / means), means


def rotation(logits: jax.Array, quarter_turns: jax.Array) -> jax.Array:
    """Cross-entropy of logits `[N, 4]` against the number of quarter turns `[N]` (Sun et al.)."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), quarter_turns[:, None], axis=1)
    return -jnp.mean(chosen)


def spatial_entropy(heatmaps: jax.Array) -> jax.Array:
    """Mean entropy of each heatmap's spatial softmax: the objective of TENT (Wang et al.)."""
    n, h, w, joints = heatmaps.shape
    log_p = jax.nn.log_softmax(heatmaps.reshape(n, h * w, joints), axis=1)
    return -jnp.mean(jnp.sum(jnp.exp(log_p) * log_p, axis=1))
