"""One person's inner loop and its lift over people: what must not change, and what must."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import TINY

from ttp_jax import train
from ttp_jax.data import pairs, skeletons
from ttp_jax.networks import model as networks
from ttp_jax.networks import perceptual
from ttp_jax.objectives import flips, registry
from ttp_jax.objectives.reconstruction import RECONSTRUCTION
from ttp_jax.personalize import chunks, inner_loop, many_people, partition, schedules, verdict

SPEC = pairs.CropSpec(size=32, cells=16)
TX = optax.adam(1e-3)


@pytest.fixture(scope='module')
def shared():
    """(state, trainable, frozen, dependencies) of a tiny model that nobody has trained."""
    model, network = networks.PoseModel(**TINY, lowering='matmul'), perceptual.load('random')
    state = train.create_state(jax.random.key(1), model=model, tx=TX, perceptual=network, size=32)
    # Untrained heads start near zero; predictions should depend on the weights.
    params = jax.jit(moved)(state.params)
    trainable, frozen = partition.split(params, frozen=RECONSTRUCTION.frozen)
    method = inner_loop.Method(
        model=model,
        perceptual=network,
        objective=RECONSTRUCTION,
        tx=TX,
        spec=SPEC,
        schedule='offline',
        batch=4,
        augment={},
    )
    return Setup(
        state.replace(params=params),
        inner_loop.Shared(trainable, frozen, state.batch_stats, jnp.ones(4), network.weights),
        method,
    )


def moved(params):
    return jax.tree.map(lambda x: x + 0.05 * jax.random.normal(jax.random.key(2), x.shape), params)


class Setup(NamedTuple):
    state: train.TrainState
    shared: inner_loop.Shared
    method: inner_loop.Method


FRAMES, SEGMENT = 9, 3  # everyone is padded to so many frames: programs are compiled once
_compiled = {}


def compiled(make, *key):
    """What `make` makes, once for each key: most of these tests' time is compilation."""
    if key not in _compiled:
        _compiled[key] = make()
    return _compiled[key]


def alone(setup, clip, schedule, *, frames=FRAMES, segment=SEGMENT, key=None):
    """`personalize_person` on one clip, without any lift."""

    def make():
        loop = inner_loop.one_person(setup.method._replace(schedule=schedule))
        return loop._replace(learn=jax.jit(loop.learn), predict=jax.jit(loop.predict))

    stacked = chunks.stack_people([clip], frames=frames, size=clip.frames.shape[1:3])
    return inner_loop.personalize_person(
        setup.shared,
        jax.tree.map(lambda x: jnp.asarray(x[0]), stacked),
        jax.random.key(0) if key is None else key,
        loop=compiled(make, schedule, id(setup.method.tx)),
        segments=chunks.segments(frames, segment),
    )


def together(
    setup, clips, schedule, *, seed=0, lowering='matmul', people_per_chunk=4, keep=None, devices=4
):
    devices = jax.local_devices()[: min(devices, people_per_chunk)]
    method = setup.method._replace(
        schedule=schedule, model=setup.method.model.clone(lowering=lowering)
    )
    runner = compiled(
        lambda: many_people.make_runner(method, devices=devices, segment=SEGMENT),
        *(schedule, lowering, len(devices), id(setup.method.model)),
    )
    bucket = chunks.Bucket(
        tuple(range(len(clips))),
        FRAMES,
        (48, 48),
        chunks.people_together(len(clips), most=people_per_chunk, devices=len(devices)),
    )
    return dict(
        many_people.personalize_people(
            clips, chunks.chunks(bucket), runner=runner, shared=setup.shared, seed=seed, keep=keep
        )
    )


@pytest.fixture(scope='module')
def everyone(shared, tiny_clips):
    """All four people adapted together, offline."""
    return together(shared, tiny_clips, 'offline', keep=dict.fromkeys(range(4), 0))


def test_frozen_leaves_stay_bitwise_and_all_others_move(shared, everyone):
    trainable, frozen, *_ = shared.shared
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
    plain, padded = alone(shared, clip, schedule, frames=6), alone(shared, clip, schedule)
    n = len(clip.frames)
    np.testing.assert_allclose(
        padded.predictions.joints[:n], plain.predictions.joints[:n], atol=1e-3
    )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
        padded.state.trainable,
        plain.state.trainable,
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
    key = many_people.person_keys([clip], 0)[0]
    pure = alone(shared, clip, 'online', frames=6, segment=6, key=key)
    driven = together(shared, [clip], 'online', people_per_chunk=1)[0]
    np.testing.assert_allclose(driven.losses, pure.losses, rtol=1e-3)
    # Later scores drift: Adam moves a bias that has no gradient by the sign of rounding errors.
    np.testing.assert_allclose(driven.scores[0], pure.predictions.scores[0], rtol=1e-2, atol=1e-3)
    assert driven.joints.shape == (6, 13, 2)


@pytest.mark.parametrize('schedule', ['online', 'offline'])
@jax.enable_x64(True)
def test_three_people_on_one_device_get_what_each_gets_alone(shared, tiny_clips, schedule):
    """Under vmap on one device: every segment's losses, the weights, and frozen leaves bitwise."""
    # Networks in float64: Adam's steps follow the sign of rounding errors.
    exact = shared.method.model.clone(dtype=jnp.float64)
    shared = shared._replace(method=shared.method._replace(model=exact))
    clips = tiny_clips[:3]
    everyone = dict.fromkeys(range(3), 3)
    before = jax.tree.map(np.array, shared.shared.frozen)
    crowd = together(shared, clips, schedule, people_per_chunk=3, devices=1, keep=everyone)
    for index, clip in enumerate(clips):
        single = together(shared, [clip], schedule, people_per_chunk=1, keep={0: 3})[0]
        np.testing.assert_allclose(crowd[index].losses, single.losses, rtol=1e-5)
        for path, leaf in crowd[index].trainable.items():
            # Within a tenth of one of Adam's steps.
            np.testing.assert_allclose(leaf, single.trainable[path], rtol=1e-3, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, shared.shared.frozen, before)


@pytest.mark.parametrize('schedule', ['online', 'offline'])
def test_weights_are_those_of_the_moment_of_the_prediction(shared, tiny_clips, schedule):
    """Somebody's weights, asked for at a frame, predict that frame as it was predicted."""
    clip, frame = tiny_clips[0], 2  # the last of the first of two segments
    adapted = together(shared, [clip], schedule, people_per_chunk=1, keep={0: frame})[0]
    person = chunks.stack_people([clip], frames=6, size=(48, 48))
    seen = inner_loop.predict_frames(
        partition.merge(adapted.trainable, shared.shared.frozen),
        shared.state.batch_stats,
        jax.tree.map(lambda x: jnp.asarray(x[0]), person),
        jnp.array([frame]),
        model=shared.method.model,
        spec=SPEC,
    )
    np.testing.assert_allclose(seen.scores[0], adapted.scores[frame], rtol=1e-4, atol=1e-5)


def test_flip_test_predicts_from_the_mean_with_the_mirror_image(shared, tiny_clips):
    clip, mirror = tiny_clips[0], skeletons.PENN_ACTION.mirror
    person = jax.tree.map(
        lambda x: jnp.asarray(x[0]), chunks.stack_people([clip], frames=6, size=(48, 48))
    )
    weights = partition.merge(shared.shared.trainable, shared.shared.frozen)
    args = (weights, shared.state.batch_stats, person, jnp.arange(2))
    how = dict(model=shared.method.model, spec=SPEC)
    plain, both = (inner_loop.predict_frames(*args, mirror=m, **how) for m in ((), mirror))
    crops = jnp.stack(
        [
            pairs.crop_frame(person.frames[t], person.boxes[t], spec=SPEC, valid=person.size)
            for t in (0, 1)
        ]
    )
    variables = {'params': weights, 'batch_stats': shared.state.batch_stats}
    see = functools.partial(shared.method.model.apply, variables, method='heatmaps')
    turned = see(flips.mirrored(crops)).supervised
    mean = (see(crops).supervised + flips.unmirrored(turned, mirror)) / 2
    scores = mean.reshape(2, -1, mean.shape[-1]).max(1)
    np.testing.assert_allclose(both.scores, scores, rtol=1e-4, atol=1e-6)
    assert abs(both.scores - plain.scores).max() > 1e-4
    method = shared.method._replace(mirror=mirror)
    assert (method.test_mirror, method._replace(flip_test=True).test_mirror) == ((), mirror)


@pytest.mark.parametrize('peaks', [0, 2])
def test_joints_are_placed_as_the_method_says(shared, tiny_clips, peaks):
    clip = tiny_clips[0]
    person = jax.tree.map(
        lambda x: jnp.asarray(x[0]), chunks.stack_people([clip], frames=6, size=(48, 48))
    )
    weights = partition.merge(shared.shared.trainable, shared.shared.frozen)
    args = (weights, shared.state.batch_stats, person, jnp.arange(2))
    quarter, taylor = (
        inner_loop.predict_frames(
            *args,
            model=shared.method.model,
            spec=SPEC,
            **shared.method._replace(decoding=decoding, peaks=peaks).looks,
        )
        for decoding in ('quarter', 'taylor')
    )
    np.testing.assert_array_equal(quarter.scores, taylor.scores)
    cell = float(np.max(clip.boxes[:2, 2:] - clip.boxes[:2, :2] + 1)) * 1.25 / SPEC.cells
    moved = np.abs(np.asarray(quarter.joints) - np.asarray(taylor.joints))
    assert 0 < moved.max() <= 1.25 * cell


def broken_after(steps):
    """An optimiser that blows the weights up at a step: the next loss is not finite."""
    return optax.chain(
        optax.sgd(1e-3), optax.scale_by_schedule(lambda count: jnp.where(count == steps, 1e38, 1.0))
    )


def test_a_step_that_is_not_finite_leaves_the_last_finite_state_and_marks_the_person(
    shared, tiny_clips
):
    clip = tiny_clips[0]
    broken = shared._replace(method=shared.method._replace(tx=broken_after(2)))
    progress = alone(broken, clip, 'offline')
    assert int(progress.failed_at) == 3
    assert all(np.isfinite(leaf).all() for leaf in progress.state.trainable.values())
    healthy = alone(shared, clip, 'offline')
    assert int(healthy.failed_at) == inner_loop.HEALTHY and np.isfinite(healthy.losses).all()


def test_a_person_who_failed_costs_nobody_else_and_keeps_the_shared_predictions(shared, tiny_clips):
    clips = [*tiny_clips[:2], dataclasses.replace(tiny_clips[2], boxes=tiny_clips[2].boxes * 1e30)]
    adapted = together(shared, clips, 'offline', people_per_chunk=3, devices=1)
    company = together(shared, tiny_clips[:3], 'offline', people_per_chunk=3, devices=1)
    assert adapted[2].failed_at == 0
    for index in (0, 1):
        assert adapted[index].failed_at == inner_loop.HEALTHY
        np.testing.assert_array_equal(adapted[index].losses, company[index].losses)
    before = company[2]._replace(joints=company[2].joints + 1)
    settled = verdict.settled(before, adapted[2])
    assert settled.status == 'failed' and 'step 0 is not finite' in settled.reason
    np.testing.assert_array_equal(settled.joints, before.joints)
    fine = verdict.settled(before, company[2])
    assert fine.status == 'personalized' and not fine.reason
    np.testing.assert_array_equal(fine.joints, company[2].joints)


def test_a_judge_may_keep_the_shared_predictions(everyone):
    before, after = everyone[0], everyone[0]._replace(joints=everyone[0].joints + 5)
    judge = lambda before, after: verdict.Verdict('kept', 'moved too far')
    settled = verdict.settled(before, after, judge=judge)
    assert (settled.status, settled.reason) == ('kept', 'moved too far')
    np.testing.assert_array_equal(settled.joints, before.joints)
    np.testing.assert_array_equal(settled.losses, after.losses)


def test_lowering_changes_speed_not_results(shared, tiny_clips, everyone):
    library = together(shared, tiny_clips[:1], 'offline', lowering='library')[0]
    np.testing.assert_allclose(library.losses, everyone[0].losses, rtol=1e-3)


def test_a_step_in_parts_learns_the_same(shared, tiny_clips, everyone):
    method = shared.method._replace(parts=2, model=shared.method.model.clone())
    found = together(shared._replace(method=method), tiny_clips, 'offline')
    for index, person in everyone.items():
        np.testing.assert_allclose(found[index].losses, person.losses, rtol=1e-3)


@pytest.mark.parametrize('devices', [1, 4])
def test_as_a_tpu_computes_people_they_learn_the_same(shared, tiny_clips, everyone, devices):
    found = together(shared, tiny_clips, 'offline', lowering='tpu', devices=devices)
    for index, person in everyone.items():
        np.testing.assert_allclose(found[index].losses, person.losses, rtol=1e-3)


def test_online_never_looks_ahead(shared, tiny_clips):
    clip = tiny_clips[0]
    frames = clip.frames.copy()
    frames[4:] = 255 - frames[4:]
    changed = dataclasses.replace(clip, frames=frames)
    before = alone(shared, clip, 'online').predictions
    after = alone(shared, changed, 'online').predictions
    np.testing.assert_array_equal(before.scores[:4], after.scores[:4])
    assert np.any(np.asarray(before.scores[4:]) != np.asarray(after.scores[4:]))


def test_offline_learns_from_the_whole_clip_before_it_predicts(shared, tiny_clips):
    clip = tiny_clips[0]
    frames = clip.frames.copy()
    frames[4:] = 255 - frames[4:]
    before = alone(shared, clip, 'offline').predictions
    after = alone(shared, dataclasses.replace(clip, frames=frames), 'offline').predictions
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
        setup = Setup(
            state,
            inner_loop.Shared(trainable, frozen, state.batch_stats, jnp.ones(1), network.weights),
            inner_loop.Method(model, network, objective, TX, SPEC, 'offline', 4, {}),
        )
        adapted = together(setup, tiny_clips[:1], 'offline', people_per_chunk=1, keep={0: 0})[0]
        moved = [p for p, v in trainable.items() if np.any(np.asarray(adapted.trainable[p]) != v)]
        assert any(p.startswith('encoder') for p in moved)


def test_partition_claims_every_leaf_and_names_a_pattern_that_claims_none(shared):
    state, (trainable, frozen, *_) = shared.state, shared.shared
    jax.tree.map(np.testing.assert_array_equal, partition.merge(trainable, frozen), state.params)
    with pytest.raises(ValueError, match="'decoder/.*' matches no parameter"):
        partition.split(state.params, frozen=['decoder/.*'])
    with pytest.raises(ValueError, match='nothing to train'):
        partition.split(state.params, frozen=['.*'])
    with pytest.raises(ValueError, match='both trainable and frozen'):
        partition.merge(trainable, trainable)


def changed(shared, clip, tx):
    """Which leaves one person's offline steps change, and by how much at most."""
    setup = shared._replace(method=shared.method._replace(tx=tx))
    moved = alone(setup, clip, 'offline').state.trainable
    return {
        path: float(abs(leaf - shared.shared.trainable[path]).max()) for path, leaf in moved.items()
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


def test_rates_rise_from_nothing_when_their_part_begins_to_learn():
    rates = [float(inner_loop.rising(1.0, 3)(step)) for step in range(5)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    tx = inner_loop.optimizer(
        learning_rate=1e-3, image_learning_rate=1e-2, images_first=2, warmup=3
    )
    params = {'encoder/x': jnp.zeros(1), 'renderer/x': jnp.zeros(1)}
    state, moved = tx.init(params), []
    for _ in range(7):  # of a constant gradient Adam's steps are as long as the rate
        steps, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
        moved.append([-float(steps[path][0]) for path in params])
    encoder, renderer = np.transpose(moved)
    np.testing.assert_allclose(renderer, [0.0025, 0.005, 0.0075, *[0.01] * 4], rtol=1e-3)
    np.testing.assert_allclose(encoder, [0, 0, 0.00025, 0.0005, 0.00075, 0.001, 0.001], rtol=1e-3)


def test_one_rate_and_no_wait_is_the_papers_adam(shared, tiny_clips):
    mine = changed(
        shared, tiny_clips[0], inner_loop.optimizer(learning_rate=1e-3, image_learning_rate=1e-3)
    )
    assert mine == changed(shared, tiny_clips[0], optax.adam(1e-3))


@pytest.mark.parametrize('epochs', [1, 2])
def test_falling_rates_reach_nothing_at_the_end_of_each_clip_however_long(
    shared, tiny_clips, epochs
):
    """With an optimiser whose steps are all the same, so that they can be counted."""
    always = optax.GradientTransformation(
        lambda params: (),
        lambda updates, state, params=None: (
            jax.tree.map(lambda x: jnp.full_like(x, -1e-4), updates),
            state,
        ),
    )
    falling = shared.method._replace(epochs=epochs, falls=True)
    for clip in tiny_clips[:2]:
        steps = epochs * len(clip.frames)
        taken = sum(1 - np.arange(steps) / steps)
        moved = changed(shared._replace(method=falling), clip, always)
        np.testing.assert_allclose(list(moved.values()), 1e-4 * taken, rtol=2e-2)
        assert steps > 1
    assert len({len(clip.frames) for clip in tiny_clips[:2]}) == 2
