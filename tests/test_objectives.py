"""Objectives as values: what they need, what they move, and that they are chosen by name."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY

from ttp_jax.networks import perceptual
from ttp_jax.networks.model import VARIANTS, PoseModel
from ttp_jax.objectives import registry
from ttp_jax.objectives.entropy import spatial_entropy
from ttp_jax.objectives.objective import NORMS, Context
from ttp_jax.personalize import partition


@pytest.fixture(scope='module')
def shapes():
    """The parameter trees of every variant, as shapes: nothing is computed."""
    image = jnp.zeros((1, 32, 32, 3))
    return {
        variant: jax.eval_shape(
            PoseModel(**TINY, variant=variant).init, jax.random.key(0), image, image
        )
        for variant in VARIANTS
    }


@pytest.mark.parametrize('variant', VARIANTS)
def test_parts_are_those_of_the_parameter_tree(shapes, variant):
    assert PoseModel(**TINY, variant=variant).parts == set(shapes[variant]['params'])


@pytest.mark.parametrize('name', registry.OBJECTIVES)
@pytest.mark.parametrize('variant', VARIANTS)
def test_an_objective_runs_on_every_variant_with_its_heads_and_names_what_is_missing(
    shapes, variant, name
):
    model = PoseModel(**TINY, variant=variant)
    objective = registry.OBJECTIVES[name]
    if missing := set(objective.heads) - set(shapes[variant]['params']):
        with pytest.raises(ValueError, match=f'{name}.*{sorted(missing)[0]}.*{variant}'):
            registry.choose(name, model)
        return
    assert registry.choose(name, model) is objective
    crops = jnp.zeros((2, 32, 32, 3))
    means, features = jnp.ones(1), perceptual.load('none')
    outcome = jax.eval_shape(
        lambda variables: nn.apply(objective.loss, model)(
            variables, crops, crops, means, jax.random.key(0), Context(features)
        ),
        shapes[variant],
    )
    assert outcome.loss.shape == () and outcome.loss_means.shape == means.shape
    assert name in outcome.metrics


def test_a_variant_has_its_own_task_and_an_unknown_name_is_answered_with_the_known():
    own = {variant: registry.choose('', PoseModel(**TINY, variant=variant)) for variant in VARIANTS}
    assert own.pop('baseline') is None
    assert {variant: objective.name for variant, objective in own.items()} == {
        'transformer': 'reconstruction',
        'shared_keypoint': 'reconstruction',
        'shared_rotation': 'rotation',
    }
    with pytest.raises(ValueError, match='no objective .tent.; known: reconstruction, rotation'):
        registry.choose('tent', PoseModel(**TINY))


def test_entropy_moves_norms_alone_and_the_others_everything_but_norms_and_head(shapes):
    params = shapes['transformer']['params']
    norms, rest = partition.split(params, frozen=registry.OBJECTIVES['entropy'].frozen)
    assert norms and rest
    assert all('bn' in path or 'norm' in path for path in norms)
    moved, held = partition.split(params, frozen=registry.OBJECTIVES['reconstruction'].frozen)
    assert norms.keys() <= held.keys() and not norms.keys() & moved.keys()
    assert {path.split('/')[0] for path in held - norms.keys()} == {'affinity_transformer'}
    partition.split(params, frozen=(NORMS,))  # the pattern matches by itself


def test_entropy_of_flat_heatmaps_is_that_of_a_fair_choice_and_of_a_peak_is_none():
    flat, peak = np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4, 3))
    peak[:, 1, 2] = 100
    np.testing.assert_allclose(spatial_entropy(flat), np.log(16), rtol=1e-6)
    np.testing.assert_allclose(spatial_entropy(peak), 0, atol=1e-6)


def test_images_are_rebuilt_and_compared_at_a_part_of_their_size():
    image = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    half = PoseModel(**TINY, image_stride=2)
    np.testing.assert_allclose(half.shrunk(image)[1, 3, 5], image[1, 6:8, 10:12].mean((0, 1)), 1e-5)
    shapes = jax.eval_shape(half.init_with_output, jax.random.key(0), image, image)[0]
    seen, rebuilt = shapes
    assert rebuilt.image.shape == (2, 16, 16, 3)
    assert seen.supervised.shape[1] == half.cells(32) == PoseModel(**TINY).cells(32)


def test_images_are_compared_as_they_are_by_default():
    image = jnp.zeros((1, 32, 32, 3))
    assert PoseModel(**TINY).shrunk(image) is image


@pytest.mark.parametrize(
    ('fields', 'size', 'cells'),
    [({'stages': 3, 'deconvolutions': 2}, 32, 16), ({'stages': 4, 'deconvolutions': 3}, 32, 16)],
)
def test_cells_follow_from_how_far_the_encoder_shrinks(fields, size, cells):
    model = PoseModel(**TINY | fields)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shape = jax.eval_shape(model.init_with_output, jax.random.key(0), image, image)[0][0]
    assert shape.supervised.shape[1] == model.cells(size) == cells


def test_a_crop_must_suit_both_encoders():
    with pytest.raises(ValueError, match='crops of 24 pixels: expected a multiple of 16, by which'):
        PoseModel(**TINY).cells(24)
    with pytest.raises(ValueError, match='crops of 40 pixels: .* of 16, by which the image enc'):
        PoseModel(**TINY, image_stride=2, stages=2).cells(40)
