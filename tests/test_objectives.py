"""Objectives as values: what they need, what they move, and that they are chosen by name."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY

from ttp_jax import geometry, heatmaps
from ttp_jax.data.skeletons import PENN_ACTION
from ttp_jax.networks import layers, perceptual
from ttp_jax.networks.model import VARIANTS, PoseModel
from ttp_jax.objectives import alignment, flips, pseudo_labels, registry, temporal
from ttp_jax.objectives.entropy import spatial_entropy
from ttp_jax.objectives.objective import NORMS, Context
from ttp_jax.objectives.supervised import supervised
from ttp_jax.personalize import inner_loop, partition


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
    context = Context(perceptual.load('none'), mirror=PENN_ACTION.mirror)
    if objective.taught:
        side = model.cells(32)
        labels = jnp.zeros((2, side, side, model.joints)), jnp.ones((2, model.joints))
        context = context._replace(labels=labels)
    outcome = jax.eval_shape(
        lambda variables: nn.apply(objective.loss, model)(
            variables, crops, crops, jax.random.key(0), context
        ),
        shapes[variant],
    )
    assert outcome.loss.shape == ()
    assert outcome.terms is None or outcome.terms.shape == (1,)
    assert outcome.metrics and {value.shape for value in outcome.metrics.values()} == {()}


@pytest.mark.parametrize(
    'name', [name for name in registry.OBJECTIVES if name not in ('rotation', 'entropy_all')]
)
def test_a_batch_in_parts_finds_what_the_batch_finds_where_the_task_says_so(name):
    model, objective = PoseModel(**TINY), registry.OBJECTIVES[name]
    rng = np.random.default_rng(0)
    target, source = (jnp.float32(rng.normal(size=(4, 32, 32, 3))) for _ in range(2))
    labels = jnp.float32(rng.uniform(size=(4, 16, 16, 13))), jnp.ones((4, 13))
    variables = jax.jit(model.init)(jax.random.key(0), target, source)
    network = perceptual.load('none')

    @functools.partial(jax.jit, static_argnums=1)
    def loss_and_gradient(params, parts):
        return jax.value_and_grad(inner_loop.self_supervised_loss, has_aux=True)(
            params,
            {},
            variables['batch_stats'],
            jnp.ones(1),
            inner_loop.Crops(target, source, labels if objective.taught else None),
            jax.random.key(1),
            model=model,
            perceptual=network,
            objective=objective,
            mirror=PENN_ACTION.mirror,
            parts=parts,
        )

    params = partition.flatten(variables['params'])
    ((whole, means), gradient), found = (loss_and_gradient(params, parts) for parts in (1, 2))
    if not objective.by_image:
        assert abs(found[0][0] - whole) > 1e-4 * whole
        return
    np.testing.assert_allclose(found[0][0], whole, rtol=1e-5)
    np.testing.assert_allclose(found[0][1], means, rtol=1e-5)
    of_encoder = 'encoder/resnet/conv1/kernel'
    scale = abs(gradient[of_encoder]).max()
    np.testing.assert_allclose(
        found[1][of_encoder], gradient[of_encoder], atol=1e-4 * scale, rtol=1e-3
    )


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


NEIGHBOURS = ('entropy_all', 'pseudo_labels', 'flips', 'temporal', 'alignment')


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('name', NEIGHBOURS)
def test_tasks_that_rebuild_nothing_move_encoder_and_self_supervised_head_alone(
    shapes, variant, name
):
    params = shapes[variant]['params']
    moved, held = partition.split(params, frozen=registry.OBJECTIVES[name].frozen)
    assert {path.split('/')[0] for path in moved} <= {'encoder', 'self_supervised_head'}
    norms, _ = partition.split(params, frozen=registry.OBJECTIVES['entropy'].frozen)
    assert norms.keys() <= held.keys()


def gaussians(joints, *, peak=1.0, size=16):
    """Heatmaps `[1, size, size, J]` of joints `[J, 2]` in cells."""
    maps = [heatmaps.gaussian_map(jnp.array(j), size=(size, size), sigma=1.0) for j in joints]
    return peak * jnp.stack(maps, axis=-1)[None]


def test_mirrored_heatmaps_with_sides_exchanged_are_consistent_and_others_are_not():
    joints, mirror = [(4.0, 5.0), (11.0, 6.0), (8.0, 9.0)], (1, 0, 2)
    seen = gaussians(joints)
    of_mirrored = gaussians([(16 - joints[j][0], joints[j][1]) for j in mirror])
    consistent = flips.difference(seen, flips.unmirrored(of_mirrored, mirror))
    np.testing.assert_allclose(consistent, 0, atol=1e-12)
    assert flips.difference(seen, flips.unmirrored(of_mirrored, (0, 1, 2))) > 1e-3
    with pytest.raises(ValueError, match='mirror has 0 joints, expected the 3 of the heatmaps'):
        flips.unmirrored(of_mirrored, ())


def test_images_are_mirrored_as_crops_are_flipped():
    frame = np.random.default_rng(0).uniform(0, 255, (40, 50, 3))
    box = np.array([10.0, 8, 30, 28])
    warp = [
        geometry.warp(
            frame,
            geometry.augmented_affine(box, geometry.Augmentation(flip=flip), size=16),
            size=16,
        )
        for flip in (False, True)
    ]
    mine = flips.mirrored(warp[0][None])[0]
    np.testing.assert_allclose(mine[:, 1:], warp[1][:, 1:], atol=1e-2)


def test_sure_predictions_are_their_own_labels_and_unsure_ones_are_none():
    joints = [(4.0, 5.0), (11.0, 6.0)]
    sure = gaussians(joints)
    maps, weights = pseudo_labels.labels(sure, sigma=1.0)
    np.testing.assert_array_equal(weights, [[1, 1]])
    np.testing.assert_allclose(supervised(sure, maps, weights), 0, atol=1e-6)
    blurred = 0.7 * sure  # sure enough, not what a label looks like: there is something to learn
    assert supervised(blurred, *pseudo_labels.labels(blurred, sigma=1.0)) > 1e-4
    maps, weights = pseudo_labels.labels(gaussians(joints, peak=0.4), sigma=1.0)
    np.testing.assert_array_equal(weights, [[0, 0]])


def test_no_gradient_goes_through_pseudo_labels():
    def learned(predicted):
        maps, weights = pseudo_labels.labels(predicted, sigma=1.0)
        return maps.sum() + weights.sum()

    assert not jax.grad(learned)(gaussians([(4.0, 5.0)])).any()


def test_joints_that_look_alike_in_both_frames_are_told_and_exchanged_ones_are_not():
    features = jnp.eye(3)[jnp.array([[0, 1], [2, 0]])][None]  # `[1, 2, 2, 3]`: a colour a cell
    joints = jnp.zeros((1, 2, 2, 3)).at[0, [0, 0, 1], [0, 1, 0], [0, 1, 2]].set(1.0)
    seen = temporal.descriptors(features, joints)
    np.testing.assert_allclose(seen[0], np.eye(3), atol=1e-5)
    least = np.log(1 + 2 * np.exp(-1 / temporal.TEMPERATURE))
    np.testing.assert_allclose(temporal.confusion(seen, seen), least, rtol=1e-3)
    exchanged = seen[:, jnp.array([1, 0, 2])]
    assert temporal.confusion(seen, exchanged) > 1
    alike = jnp.ones_like(seen) / np.sqrt(3)
    np.testing.assert_allclose(temporal.confusion(alike, alike), np.log(3), rtol=1e-5)


def test_features_are_aligned_when_their_statistics_are_those_that_were_stored():
    x = np.random.default_rng(0).normal(3.0, 2.0, (2, 4, 4, 5))
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(alignment.misalignment(x, mean, variance), 0, atol=1e-5)
    off = alignment.misalignment(x + np.sqrt(variance), mean, variance)
    np.testing.assert_allclose(off, 1, rtol=1e-4)  # one stored deviation
    np.testing.assert_allclose(
        alignment.misalignment(x, mean, variance / 2), 1, rtol=1e-3
    )  # one stored variance


def test_every_norm_of_an_encoder_is_compared_with_what_it_has_stored():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            for name in ('bn1', 'bn2'):
                x = layers.BatchNorm(use_running_average=True, name=name)(x)
            return x

    x = np.float32(np.random.default_rng(0).normal(0.0, 1.0, (4, 8, 8, 2)))
    x = (x - x.mean((0, 1, 2))) / x.std((0, 1, 2))
    stored = {name: {'mean': jnp.zeros(2), 'var': jnp.ones(2)} for name in ('bn1', 'bn2')}
    stored['bn2']['mean'] += 2.0
    norm = {'scale': jnp.ones(2), 'bias': jnp.zeros(2)}
    variables = {'params': {'bn1': norm, 'bn2': norm}, 'batch_stats': stored}
    found = nn.apply(lambda encoder: alignment.norms_of(encoder, x), Two())(variables)
    np.testing.assert_allclose(found, [0, 2], atol=1e-3)


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
