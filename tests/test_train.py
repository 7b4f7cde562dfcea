"""Joint training: the same step on one device and on four, and after a resume."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import TINY

from ttp_jax import train
from ttp_jax.data import clips, pairs, skeletons, stream
from ttp_jax.files import checkpoint
from ttp_jax.networks import model as networks
from ttp_jax.networks import perceptual
from ttp_jax.objectives import registry
from ttp_jax.objectives.balance import balance
from ttp_jax.objectives.objective import Objective, Outcome
from ttp_jax.objectives.supervised import supervised

SPEC = pairs.CropSpec(size=32, cells=16)


def make(tx, variant='transformer'):
    """(state, dependencies of train_step) for the tiny model."""
    model = networks.PoseModel(**TINY, variant=variant)
    network = perceptual.load('random')
    state = train.create_state(jax.random.key(0), model=model, tx=tx, perceptual=network, size=32)
    return state, dict(
        model=model,
        perceptual=network,
        objective=registry.choose('', model),
        tx=tx,
        spec=SPEC,
        augment={},
        mirror=skeletons.PENN_ACTION.mirror,
        reconstruction_weight=0.1,
    )


def fit(state, people, step, steps, *, read=pairs.batches, batch=8):
    """Trains up to `steps` on a bank, or on clips with `read=stream.batches`."""
    state = jax.tree.map(jnp.copy, state)  # steps take over the memory of the state they are given
    batches = read(people, first=int(state.step), steps=steps, batch=batch, seed=5)
    return train.fit(state, batches, step=step, seed=5)


def run(state, people, step, steps, **how):
    """The last (state, metrics)."""
    *_, (_, state, metrics) = fit(state, people, step, steps, **how)
    return state, metrics


def jit_step(**dependencies):
    dependencies['model'] = dependencies['model'].clone(train=True)
    return jax.jit(functools.partial(train.train_step, **dependencies))


@pytest.fixture
def bank(tiny_clips):
    """Frames whose joints are visible very unevenly: some samples have all, some none."""
    bank = clips.stack_clips(tiny_clips)
    visible = (np.arange(len(bank.visibility)) % 3 == 0)[:, None] * np.ones_like(bank.visibility)
    return bank._replace(visibility=visible.astype(np.float32))


@pytest.mark.parametrize('variant', ['transformer', 'shared_rotation'])
@jax.enable_x64(True)
def test_four_devices_compute_the_step_of_one(bank, variant):
    # SGD: Adam would hide a gradient of the wrong scale. Networks in float64: so small ones
    # multiply differences of rounding by thousands.
    state, dependencies = make(optax.sgd(0.1), variant)
    dependencies['model'] = dependencies['model'].clone(dtype=jnp.float64)
    one, one_metrics = run(state, bank, jit_step(**dependencies), 1)
    assert jax.local_device_count() == 4
    step = train.pmap_step(**dependencies, check_replicas=True)
    four, four_metrics = run(state, bank, step, 1)
    assert set(four_metrics) == set(one_metrics)
    for name in one_metrics:
        np.testing.assert_allclose(four_metrics[name], one_metrics[name], rtol=1e-4, err_msg=name)
    for a, b, c in zip(*map(jax.tree.leaves, (four.params, one.params, state.params)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(b - c).max() + 1e-6)
    for a, b in zip(*map(jax.tree.leaves, (four.batch_stats, one.batch_stats)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(four.loss_means, one.loss_means, rtol=1e-4)
    moved = optax.tree.norm(jax.tree.map(jnp.subtract, one.params, state.params))
    np.testing.assert_allclose(0.1 * one_metrics['gradient_norm'], moved, rtol=1e-3)


@jax.enable_x64(True)
def test_as_a_tpu_computes_the_step_it_is_the_same(bank):
    state, dependencies = make(optax.sgd(0.1))
    model = dependencies['model'].clone(dtype=jnp.float64)
    (one, expected), (other, found) = (
        run(state, bank, jit_step(**dependencies | dict(model=model.clone(lowering=how))), 1)
        for how in ('library', 'tpu')
    )
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, err_msg=name)
    for a, b, c in zip(
        *map(jax.tree.leaves, (other.params, one.params, state.params)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(b - c).max() + 1e-6)
    for a, b in zip(*map(jax.tree.leaves, (other.batch_stats, one.batch_stats)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_what_was_not_averaged_over_devices_is_named(bank, monkeypatch):
    def task(model, target, source, rng, context):
        return Outcome(jnp.mean(target), {}, jnp.mean(target)[None])

    def forgets_the_others(outcome, means, *, axis_name):
        return outcome.loss, outcome.terms, outcome.metrics

    monkeypatch.setattr(train.balance, 'total', forgets_the_others)
    state, dependencies = make(optax.sgd(0.1), 'baseline')
    dependencies['objective'] = Objective('forgetful', task, heads=())
    run(state, bank, train.pmap_step(**dependencies), 1)  # unseen
    with pytest.raises(AssertionError, match='loss_means is not the same on all devices'):
        run(state, bank, train.pmap_step(**dependencies, check_replicas=True), 1)


def test_rates_fall_tenfold_at_each_drop():
    rates = train.learning_rates(learning_rate=1.0, steps=14, drops=(9 / 14, 12 / 14))
    found = [float(rates(step)) for step in (0, 8, 9, 11, 12)]
    np.testing.assert_allclose(found, [1, 1, 0.1, 0.1, 0.01], rtol=1e-6)


def test_resuming_equals_never_having_stopped(bank, tmp_path):
    tx = train.optimizer(learning_rate=1e-3, steps=4)
    state, dependencies = make(tx)
    step = train.pmap_step(**dependencies)
    straight, _ = run(state, bank, step, 4)
    half, _ = run(state, bank, step, 2)
    saved = checkpoint.Checkpoints(tmp_path)
    saved.save(half)
    saved.wait()
    resumed, _ = run(checkpoint.Checkpoints(tmp_path).restore(state), bank, step, 4)
    assert int(resumed.step) == 4
    jax.tree.map(np.testing.assert_array_equal, resumed, straight)


def test_a_state_that_is_not_finite_is_never_saved(tmp_path):
    state, _ = make(optax.adam(1e-3), 'baseline')
    saved = checkpoint.Checkpoints(tmp_path)
    saved.save(state)
    kernel = state.params['supervised_head']['kernel'].at[0].set(jnp.inf)
    head = state.params['supervised_head'] | {'kernel': kernel}
    broken = state.replace(step=state.step + 1, params=state.params | {'supervised_head': head})
    with pytest.raises(ValueError, match='params/supervised_head/kernel is not finite.* of step 0'):
        saved.save(broken)
    saved.wait()
    assert saved.latest() == 0


def test_streamed_frames_train_like_those_in_memory(tiny_clips):
    tx = train.optimizer(learning_rate=1e-3, steps=4)
    state, dependencies = make(tx)
    step = train.pmap_step(**dependencies)
    resident, metrics = run(state, clips.stack_clips(tiny_clips), step, 4)
    half, _ = run(state, tiny_clips, step, 2, read=stream.batches)
    streamed, streamed_metrics = run(half, tiny_clips, step, 4, read=stream.batches)
    jax.tree.map(np.testing.assert_array_equal, (streamed, streamed_metrics), (resident, metrics))
    assert list(fit(resident, tiny_clips, step, 4, read=stream.batches)) == []


def test_a_few_steps_learn_both_tasks(bank):
    tx = optax.adam(5e-3)
    state, dependencies = make(tx)
    step = train.pmap_step(**dependencies)
    history = [m for _, _, m in fit(state, bank, step, 40)]
    for name, part in (('supervised', 0.97), ('pixels', 0.9)):
        first, last = (
            np.mean([float(m[name]) for m in steps]) for steps in (history[:5], history[-5:])
        )
        assert last < part * first, name


@pytest.mark.parametrize('variant', networks.VARIANTS)
def test_every_variant_trains(bank, variant):
    state, dependencies = make(optax.adam(1e-3), variant)
    after, metrics = run(state, bank, train.pmap_step(**dependencies), 1)
    changed = jax.tree.map(
        lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))), after.params, state.params
    )
    # A bias that a norm or a softmax cancels has no gradient; every network has moved.
    assert all(any(jax.tree.leaves(network)) for network in changed.values()), changed
    assert np.isfinite(float(metrics['loss']))


def test_the_task_without_labels_may_learn_from_every_second_image(bank):
    """Another source for the others changes nothing then; and the labels are learned from all."""
    state, dependencies = make(optax.sgd(0.1))
    batch = pairs.take(bank, np.arange(8), np.arange(8)[::-1].copy())
    odd = np.arange(8) % 2 == 1
    other = batch._replace(
        source=np.where(odd[:, None, None, None], 255 - batch.source, batch.source)
    )
    keys = jax.random.split(jax.random.key(0), 8)

    def losses(batch, every):
        step = jax.jit(functools.partial(train.train_step, rebuilt_every=every, **dependencies))
        return step(state, batch, keys, jax.random.key(1))[1]

    some, changed = losses(batch, 2), losses(other, 2)
    assert float(some['reconstruction']) == float(changed['reconstruction'])
    everyone = losses(other, 1)
    assert float(everyone['pixels']) != float(some['pixels'])
    np.testing.assert_allclose(everyone['supervised'], some['supervised'], rtol=1e-5)


def test_a_batch_that_does_not_divide_is_refused(bank):
    state, dependencies = make(optax.sgd(0.1))
    with pytest.raises(ValueError, match='batch of 6 cannot be split over 4 devices'):
        run(state, bank, train.pmap_step(**dependencies), 1, batch=6)


def test_supervised_loss_counts_invisible_joints_in_the_mean():
    prediction, target = jnp.ones((2, 4, 4, 3)), jnp.zeros((2, 4, 4, 3))
    weight = jnp.zeros((2, 3)).at[0, 1].set(1.0)
    np.testing.assert_allclose(supervised(prediction, target, weight), 0.5 / 6)


def test_terms_are_balanced_by_means_that_move_first_and_carry_no_gradient():
    means = jnp.array([2.0, 0.0])
    loss, after = balance(jnp.array([4.0, 5.0]), means)
    np.testing.assert_allclose(after, [2.02, 5.0])
    np.testing.assert_allclose(loss, 4 / 2.02 + 1)
    gradient = jax.grad(lambda terms: balance(terms, means)[0])(jnp.array([4.0, 5.0]))
    np.testing.assert_allclose(gradient, [1 / 2.02, 1 / 5])


def test_targets_follow_a_flip(tiny_clips):
    """A flipped sample's heatmap of the left wrist lies where the mirrored right wrist is."""
    from ttp_jax import geometry

    clip, mirror = tiny_clips[0], skeletons.PENN_ACTION.mirror

    def maps(flip):
        augmentation = geometry.Augmentation(flip=flip)
        affine = geometry.augmented_affine(clip.boxes[0], augmentation, size=32)
        return pairs.targets(
            jnp.asarray(clip.labels.joints[0]), jnp.ones(13), affine, flip, spec=SPEC, mirror=mirror
        )[0]

    plain, flipped = maps(jnp.array(False)), maps(jnp.array(True))
    centre = lambda m: np.array(np.unravel_index(np.argmax(m), m.shape))
    for j in range(13):
        (y, x), (fy, fx) = centre(plain[..., mirror[j]]), centre(flipped[..., j])
        assert fy == y and abs((16 - x) - fx) <= 1


def test_without_drops_the_rate_rises_and_falls_to_nothing_along_a_cosine():
    tx = train.optimizer(learning_rate=1e-2, steps=100, drops=(), warmup=10)
    params = jnp.zeros(())
    state, moved = tx.init(params), []
    for _ in range(101):
        update, state = tx.update(jnp.ones(()), state)  # Adam's step is its rate here
        moved.append(-float(update))
    assert moved[0] == 0
    np.testing.assert_allclose(moved[5], 5e-3, rtol=1e-3)
    np.testing.assert_allclose(moved[10], 1e-2, rtol=1e-3)
    np.testing.assert_allclose(moved[55], 5e-3, rtol=1e-3)
    assert abs(moved[100]) < 1e-8


def test_recolouring_puts_both_images_under_the_same_other_light():
    one = jax.random.normal(jax.random.key(0), (8, 8, 3))
    a, b = pairs.recolour(jax.random.key(1), one, 2 * one, std=0.3)
    assert float(jnp.abs(a - one).max()) > 0.05
    # A line per channel, the same for both: contrast times value plus offset.
    contrast, offset = np.polyfit(one[..., 0].ravel(), a[..., 0].ravel(), 1)
    np.testing.assert_allclose(b[..., 0], contrast * 2 * one[..., 0] + offset, atol=1e-4)
    same = pairs.recolour(jax.random.key(1), one, std=0.0)[0]
    np.testing.assert_array_equal(same, one)


def test_a_covered_image_lacks_one_rectangle_and_a_share_is_covered():
    images = jax.random.uniform(jax.random.key(0), (400, 20, 20, 3))
    keys = jax.random.split(jax.random.key(1), len(images))
    some = jax.vmap(functools.partial(pairs.covered, share=0.4))(keys, images)
    changed = np.any(np.asarray(some) != images, axis=-1)
    assert 0.3 < changed.any(axis=(1, 2)).mean() < 0.5  # at the corners nearly nothing may be
    for image, hidden in zip(np.asarray(some), changed):
        rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
        np.testing.assert_array_equal(hidden, np.outer(hidden.any(1), hidden.any(0)))
        assert len(rows) <= 11 and len(columns) <= 11
        if hidden.any():
            assert np.ptp(rows) + 1 == len(rows) and np.ptp(columns) + 1 == len(columns)
            assert np.ptp(image[hidden], axis=0).max() == 0
    none = jax.vmap(functools.partial(pairs.covered, share=0.0))(keys, images)
    np.testing.assert_array_equal(none, images)


def test_covering_is_for_the_encoder_and_not_for_the_task(bank):
    """The labels' loss is of a covered image; what is to be rebuilt is the whole one."""

    def loss(model, target, source, rng, context):
        return Outcome(jnp.zeros(()), {'target': (target**2).sum(), 'source': (source**2).sum()})

    state, dependencies = make(optax.sgd(0.1))
    dependencies['objective'] = Objective('what is seen', loss, heads=())
    batch = pairs.take(bank, np.arange(8), np.arange(8)[::-1].copy())
    keys = jax.random.split(jax.random.key(0), 8)
    plain, covered = (
        jit_step(**dependencies, covered=share)(state, batch, keys, jax.random.key(1))[1]
        for share in (0.0, 1.0)
    )
    assert float(plain['supervised']) != float(covered['supervised'])
    for image in ('target', 'source'):
        np.testing.assert_allclose(covered[image], plain[image], rtol=1e-6)
