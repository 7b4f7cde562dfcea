"""The study of looks reads heatmaps as the package's own predictions do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from noise_clips import make_clip

import ttp_jax
from experiments import looks
from ttp_jax.data.skeletons import PENN_ACTION
from ttp_jax.personalize import inner_loop

KEPT = 2.0**-10  # the relative error of heatmaps that are kept in half precision


def test_the_mean_of_the_looks_is_what_is_predicted_from_them():
    network = looks.read(ttp_jax.PEOPLE)
    clip = make_clip(np.random.default_rng(0), 'a', frames=3)
    study = looks.Study(network, [clip], scales=(1.0, 0.8))
    points, heights = study.peaks(4, 'taylor')

    frames, boxes = jnp.asarray(clip.frames), jnp.asarray(clip.boxes)
    size = jnp.array(frames.shape[1:3], jnp.float32)
    predict = functools.partial(
        inner_loop.predict_frames,
        model=network.model,
        spec=network.spec,
        mirror=PENN_ACTION.mirror,
        scales=(0.8,),
        decoding='taylor',
    )
    expected = jax.jit(predict)(
        network.variables['params'],
        network.variables['batch_stats'],
        inner_loop.Person(frames, size, boxes, jnp.int32(3)),
        jnp.arange(3),
    )
    highest, second = heights[..., 0], heights[..., 1]
    np.testing.assert_allclose(highest, expected.scores, rtol=KEPT)
    clear = highest - second > 4 * KEPT * highest
    assert clear.any()
    np.testing.assert_allclose(points[clear, 0], expected.joints[clear], atol=0.5)
