"""The encoder computes the same wherever its numbers lie."""

import chex
import jax
import jax.numpy as jnp
import pytest

from ttp_jax.networks import backbone


def varied(variables):
    """Norms that do something, and running variances that are none."""
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    moved = [x + 0.1 * jax.random.uniform(key, x.shape) for x, key in zip(leaves, keys)]
    return jax.tree.unflatten(tree, moved)


@pytest.mark.parametrize(
    ('depth', 'stem_pool', 'width', 'stages', 'side'),
    [
        (10, False, 16, 3, 32),  # blocks of 2 x 2 twice, then of 1 x 2
        (10, True, 48, 2, 32),  # of 1 x 2 behind a pool
        (10, False, 16, 2, 36),  # 18 pixels, then 9, which make no blocks
        (50, False, 16, 1, 16),  # bottlenecks are plain
    ],
)
def test_in_blocks_it_computes_and_learns_the_same(depth, stem_pool, width, stages, side):
    encoder = backbone.Encoder(depth, width, stem_pool, 0, 0, train=True, stages=stages)
    images = jax.random.normal(jax.random.key(0), (2, side, side, 3))
    variables = varied(jax.jit(encoder.init)(jax.random.key(1), images))

    def weighed(params, images, lowering):
        features, changed = encoder.clone(lowering=lowering).apply(
            variables | {'params': params}, images, mutable=['batch_stats']
        )
        return jnp.vdot(features, jnp.cos(jnp.arange(features.size))), (features, changed)

    derive = jax.jit(jax.value_and_grad(weighed, (0, 1), has_aux=True), static_argnums=2)
    tpu, library = (derive(variables['params'], images, how) for how in ('tpu', 'library'))
    chex.assert_trees_all_close(tpu, library, atol=2e-4, rtol=2e-4)
