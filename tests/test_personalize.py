"""One person's inner loop and its lift over people: what must not change, and what must."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import TINY

from ttp_jax import train
from ttp_jax.data import pairs
from ttp_jax.networks import model as networks
from ttp_jax.networks import perceptual
from ttp_jax.objectives import registry
from ttp_jax.objectives.reconstruction import RECONSTRUCTION
from ttp_jax.personalize import inner_loop, many_people, partition, schedules

SPEC = pairs.CropSpec(size=32, cells=16)
TX = optax.adam(1e-3)


@pytest.fixture(scope='module')
def shared():
    """(state, trainable, frozen, dependencies) of a tiny model that nobody has trained."""
    model, network = networks.PoseModel(**TINY, lowering='matmul'), perceptual.load('random')
    state = train.create_state(jax.random.key(1), model=model, tx=TX, perceptual=network, size=32)
    # Untrained heads start near zero; predictions should depend on the weights.
    params = jax.tree.map(
        lambda x: x + 0.05 * jax.random.normal(jax.random.key(2), x.shape), state.params
    )
    trainable, frozen = partition.split(params, frozen=RECONSTRUCTION.frozen)
    return (
        state.replace(params=params),
        trainable,
        frozen,
        dict(
            model=model,
            perceptual=network,
            objective=RECONSTRUCTION,
            tx=TX,
            spec=SPEC,
            batch=4,
            augment={},
        ),
    )


def alone(shared, clip, schedule, *, padded=None):
    """`personalize_person` on one clip, compiled."""
    state, trainable, frozen, dependencies = shared
    frames = padded or len(clip.frames)
    person = many_people.stack_people([clip], frames=frames, size=clip.frames.shape[1:3])
    run = jax.jit(
        functools.partial(inner_loop.personalize_person, schedule=schedule, **dependencies)
    )
    return run(
        trainable,
        frozen,
        state.batch_stats,
        jnp.ones(4),
        jax.tree.map(lambda x: jnp.asarray(x[0]), person),
        jax.random.key(0),
    )


def together(shared, clips, schedule, *, seed=0, lowering='matmul', people_per_chunk=4, keep=()):
    state, trainable, frozen, dependencies = shared
    runner = many_people.make_runner(
        schedule=schedule, lowering=lowering, segment=3, **dependencies
    )
    return dict(
        many_people.personalize_people(
            clips,
            runner=runner,
            trainable=trainable,
            frozen=frozen,
            batch_stats=state.batch_stats,
            loss_means=jnp.ones(4),
            seed=seed,
            people_per_chunk=people_per_chunk,
            keep=keep,
        )
    )


@pytest.fixture(scope='module')
def everyone(shared, tiny_clips):
    """All four people adapted together, offline."""
    return together(shared, tiny_clips, 'offline', keep=range(4))


def test_frozen_leaves_stay_bitwise_and_all_others_move(shared, everyone):
    _, trainable, frozen, _ = shared
    assert not set(trainable) & set(frozen)
    assert any('affinity_transformer' in path for path in frozen)
    assert any(path.endswith('deconv_bn0/scale') for path in frozen)
    for adapted in everyone.values():
        assert set(adapted.trainable) == set(trainable)
        for path, before in trainable.items():
            assert np.any(np.asarray(adapted.trainable[path]) != np.asarray(before)), path


def test_two_people_end_with_different_weights(everyone):
    a, b = everyone[0].trainable, everyone[3].trainable
    assert all(np.any(np.asarray(a[path]) != np.asarray(b[path])) for path in a)


@pytest.mark.parametrize('schedule', ['online', 'offline'])
def test_padding_leaves_the_person_untouched(shared, tiny_clips, schedule):
    clip = tiny_clips[1]
    plain, _, state = alone(shared, clip, schedule)
    padded, _, padded_state = alone(shared, clip, schedule, padded=9)
    n = len(clip.frames)
    np.testing.assert_allclose(padded.joints[:n], plain.joints, atol=1e-3)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
        padded_state.trainable,
        state.trainable,
    )


def test_permuting_people_permutes_their_results(shared, tiny_clips, everyone):
    order = [2, 0, 3, 1]
    permuted = together(shared, [tiny_clips[i] for i in order], 'offline')
    for row, index in enumerate(order):
        np.testing.assert_array_equal(permuted[row].joints, everyone[index].joints)
        assert permuted[row].joints.shape == (len(tiny_clips[index].frames), 13, 2)


def test_the_company_does_not_matter(shared, tiny_clips, everyone):
    """Three people in chunks of one give what they gave among four."""
    few = together(shared, tiny_clips[:3], 'offline', people_per_chunk=1)
    for index in range(3):
        np.testing.assert_allclose(few[index].losses, everyone[index].losses, rtol=1e-3)


def test_segments_equal_one_pure_scan(shared, tiny_clips):
    """The driver's segments and people give what `personalize_person` gives one person."""
    clip = tiny_clips[0]
    state, trainable, frozen, dependencies = shared
    person = many_people.stack_people([clip], frames=6, size=(48, 48))
    key = many_people.person_keys([clip], 0)[0]
    predictions, losses, _ = jax.jit(
        functools.partial(inner_loop.personalize_person, schedule='online', **dependencies)
    )(
        trainable,
        frozen,
        state.batch_stats,
        jnp.ones(4),
        jax.tree.map(lambda x: jnp.asarray(x[0]), person),
        key,
    )
    driven = together(shared, [clip], 'online')[0]
    np.testing.assert_allclose(driven.losses, losses, rtol=1e-3)
    # Later scores drift: Adam moves a bias that has no gradient by the sign of rounding errors.
    np.testing.assert_allclose(driven.scores[0], predictions.scores[0], rtol=1e-2, atol=1e-3)
    assert driven.joints.shape == (6, 13, 2)


def test_lowering_changes_speed_not_results(shared, tiny_clips, everyone):
    library = together(shared, tiny_clips[:1], 'offline', lowering='library')[0]
    np.testing.assert_allclose(library.losses, everyone[0].losses, rtol=1e-3)


def test_online_never_looks_ahead(shared, tiny_clips):
    clip = tiny_clips[0]
    frames = clip.frames.copy()
    frames[4:] = 255 - frames[4:]
    changed = dataclasses.replace(clip, frames=frames)
    before, _, _ = alone(shared, clip, 'online')
    after, _, _ = alone(shared, changed, 'online')
    np.testing.assert_array_equal(before.scores[:4], after.scores[:4])
    assert np.any(np.asarray(before.scores[4:]) != np.asarray(after.scores[4:]))


def test_offline_learns_from_the_whole_clip_before_it_predicts(shared, tiny_clips):
    clip = tiny_clips[0]
    frames = clip.frames.copy()
    frames[4:] = 255 - frames[4:]
    before, _, _ = alone(shared, clip, 'offline')
    after, _, _ = alone(shared, dataclasses.replace(clip, frames=frames), 'offline')
    assert np.all(np.any(np.asarray(before.scores[:4]) != np.asarray(after.scores[:4]), axis=1))


def test_schedules_draw_what_the_paper_says():
    keys = jax.random.split(jax.random.key(0), 200)
    draw = lambda schedule, t, length: jax.vmap(
        lambda key: schedules.SCHEDULES[schedule](
            jnp.array(t), key, length=jnp.array(length), batch=8, augment={}
        )
    )(keys)
    now = draw('online', 3, 10)
    assert set(np.unique(now.target)) == {3} and set(np.unique(now.source)) == {0, 1, 2, 3}
    plain = jax.tree.map(lambda x: np.asarray(x[:, 0]), now.augmentation)
    assert (plain.scale == 1).all() and (plain.rotation == 0).all() and not plain.flip.any()
    assert (np.asarray(now.augmentation.rotation[:, 1:]) != 0).all()
    later = draw('offline', 3, 10)
    assert set(np.unique(later.target)) == set(np.unique(later.source)) == set(range(10))
    assert 0.3 < np.mean(np.asarray(later.augmentation.rotation) == 0) < 0.5


def test_people_are_chunked_evenly_and_each_is_adapted_once():
    rows = many_people.chunks([5, 9, 7, 7, 2], people_per_chunk=2, devices=1)
    assert [len(row) for row in rows] == [2, 2, 2]
    assert rows[0][0] == 1 and sorted({i for row in rows for i in row}) == list(range(5))
    assert all(
        len(row) % 4 == 0 for row in many_people.chunks([3] * 5, people_per_chunk=2, devices=4)
    )


def test_every_variant_that_has_a_task_adapts(tiny_clips):
    for variant, task in (
        ('shared_keypoint', ''),
        ('shared_rotation', ''),
        ('shared_rotation', 'entropy'),
    ):
        model, network = networks.PoseModel(**TINY, variant=variant), perceptual.load('none')
        objective = registry.choose(task, model)
        state = train.create_state(
            jax.random.key(1), model=model, tx=TX, perceptual=network, size=32
        )
        trainable, frozen = partition.split(state.params, frozen=objective.frozen)
        shared = (
            state,
            trainable,
            frozen,
            dict(
                model=model,
                perceptual=network,
                objective=objective,
                tx=TX,
                spec=SPEC,
                batch=4,
                augment={},
            ),
        )
        adapted = together((state, *shared[1:]), tiny_clips[:1], 'offline', keep=[0])[0]
        moved = [p for p, v in trainable.items() if np.any(np.asarray(adapted.trainable[p]) != v)]
        assert any(p.startswith('encoder') for p in moved)


def test_partition_claims_every_leaf_and_names_a_pattern_that_claims_none(shared):
    state, trainable, frozen, _ = shared
    jax.tree.map(np.testing.assert_array_equal, partition.merge(trainable, frozen), state.params)
    with pytest.raises(ValueError, match="'decoder/.*' matches no parameter"):
        partition.split(state.params, frozen=['decoder/.*'])
    with pytest.raises(ValueError, match='nothing to train'):
        partition.split(state.params, frozen=['.*'])
    with pytest.raises(ValueError, match='both trainable and frozen'):
        partition.merge(trainable, trainable)


def changed(shared, clip, tx):
    """Which leaves one person's offline steps change, and by how much at most."""
    state, trainable, frozen, dependencies = shared
    _, _, person_state = alone(
        (state, trainable, frozen, dependencies | {'tx': tx}), clip, 'offline'
    )
    return {
        path: float(abs(leaf - trainable[path]).max())
        for path, leaf in person_state.trainable.items()
    }


def test_the_encoder_waits_while_image_networks_learn(shared, tiny_clips):
    clip = tiny_clips[0]
    steps = len(clip.frames)
    waiting = inner_loop.optimizer(learning_rate=1e-3, image_learning_rate=1e-2, images_first=steps)
    moved = changed(shared, clip, waiting)
    assert all(
        (distance > 0) == path.startswith(('appearance_encoder', 'pose_encoder', 'renderer'))
        for path, distance in moved.items()
    )
    started = changed(
        shared,
        clip,
        inner_loop.optimizer(learning_rate=1e-3, image_learning_rate=1e-2, images_first=steps - 1),
    )
    encoder = [distance for path, distance in started.items() if path.startswith('encoder')]
    assert all(0 < distance < 2e-3 for distance in encoder)  # one step of Adam's


def test_one_rate_and_no_wait_is_the_papers_adam(shared, tiny_clips):
    mine = changed(
        shared, tiny_clips[0], inner_loop.optimizer(learning_rate=1e-3, image_learning_rate=1e-3)
    )
    assert mine == changed(shared, tiny_clips[0], optax.adam(1e-3))
