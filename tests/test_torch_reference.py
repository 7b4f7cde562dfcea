"""The PyTorch yardstick is the same model: same weights, same outputs, same steps."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

torch = pytest.importorskip('torch', reason="PyTorch is not installed (pip install -e '.[torch]')")

from conftest import TINY

from experiments import torch_reference as reference
from ttp_jax import convert, geometry
from ttp_jax.data import pairs, skeletons
from ttp_jax.networks import perceptual
from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives.balance import balance
from ttp_jax.objectives.reconstruction import RECONSTRUCTION, reconstruction_terms
from ttp_jax.objectives.supervised import supervised
from ttp_jax.personalize import inner_loop, partition

SIZE, CELLS, BATCH, RATE = 32, 16, 3, 1e-3
MIRROR = skeletons.PENN_ACTION.mirror
SPEC = pairs.CropSpec(SIZE, CELLS)
MEANS = np.full(4, 1e-4, np.float32)  # a large loss: no gradient is lost in Adam's epsilon
FIELDS = TINY | {'deconvolutions': 3, 'sigma': 2.0}


def channels_first(x):
    return torch.from_numpy(np.array(np.moveaxis(x, -1, 1)))


def channels_last(x):
    return np.moveaxis(x.detach().numpy(), 1, -1)


@pytest.fixture(scope='module')
def both():
    """A model's variables, the networks of both sides, and a batch of crops `[B, S, S, 3]`."""
    network, rng = PoseModel(**FIELDS), np.random.default_rng(0)
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), image, image)

    def draw(path, leaf):
        name = path[-1].key
        if name == 'kernel':
            # A flat head, as a fresh one is: from sharp maps no gradient comes back.
            gain = 0.05 if path[1].key == 'self_supervised_head' else 1.0
            return rng.normal(0, gain * np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype('f')
        low = 0.5 if name in ('scale', 'var') else -0.5
        return rng.uniform(low, low + 1, leaf.shape).astype('f')

    return types.SimpleNamespace(
        network=network,
        variables=jax.tree.map_with_path(draw, shapes),
        perceptual=perceptual.load('random'),
        theirs=reference.Perceptual('random', perceptual.random_weights(0)),
        target=rng.standard_normal((BATCH, SIZE, SIZE, 3), np.float32),
        source=rng.standard_normal((BATCH, SIZE, SIZE, 3), np.float32),
    )


@pytest.fixture
def model(both):
    """A PyTorch model with the same weights, loaded strictly."""
    fresh = reference.build(**FIELDS)
    fresh.load_state_dict(
        {
            name: torch.from_numpy(np.array(value))
            for name, value in convert.to_release(both.variables).items()
        }
    )
    return fresh


@pytest.fixture
def clip():
    """Frames of one person, drawn anew, and a box that hangs over the border."""
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (4, 40, 48, 3), dtype=np.uint8)
    return frames, np.tile(np.float32([[-3, 5, 30, 42]]), (4, 1))


def test_heatmaps_and_reconstruction(both, model):
    seen, rebuilt = jax.jit(both.network.apply)(both.variables, both.target, both.source)
    with torch.no_grad():
        supervised, image = model.eval()(channels_first(both.target), channels_first(both.source))
        maps = model.pose_net(channels_first(both.target))[1]
    for found, expected in (
        (supervised, seen.supervised),
        (maps, seen.self_supervised),
        (image, rebuilt.image),
    ):
        np.testing.assert_allclose(
            channels_last(found), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
        )


def test_vgg16_features():
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(0, 0.02, shape).astype(np.float32)
        for name, shape in perceptual.vgg16_shapes().items()
    }
    image = rng.standard_normal((1, 16, 16, 3), np.float32)
    network = reference.Perceptual('vgg16', weights)
    expected = jax.jit(perceptual.vgg16_features)(weights, image)
    for found, map_ in zip(network(channels_first(image)), expected, strict=True):
        np.testing.assert_allclose(
            channels_last(found), map_, rtol=1e-3, atol=1e-4 * np.abs(map_).max()
        )
    np.testing.assert_allclose(network.means, perceptual.VGG16_MEANS)


def test_one_lean_step_is_adapt_step(both, model):
    trainable, frozen = partition.split(both.variables['params'], frozen=RECONSTRUCTION.frozen)
    loss = functools.partial(
        inner_loop.self_supervised_loss,
        model=both.network,
        perceptual=both.perceptual,
        objective=RECONSTRUCTION,
    )
    tx = optax.adam(RATE)
    state, loss = jax.jit(functools.partial(inner_loop.adapt_step, tx=tx, loss=loss))(
        inner_loop.fresh_state(trainable, MEANS, tx=tx),
        frozen,
        both.variables['batch_stats'],
        inner_loop.Crops(both.target, both.source),
        jax.random.key(0),
    )
    learner = reference.Learner(model, both.theirs, size=SIZE, batch=BATCH, learning_rate=RATE)
    learner.start(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), torch.zeros(1, 4))
    learner.means = torch.from_numpy(MEANS)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = learner.step(channels_first(both.target), channels_first(both.source))
    np.testing.assert_allclose(found, loss, rtol=1e-3)
    np.testing.assert_allclose(learner.means, state.loss_means, rtol=1e-3)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    tensors = {
        kind: convert.to_release({'params': partition.merge(flat, {})})
        for kind, flat in (('weight', state.trainable), ('gradient', state.opt_state[0].mu))
    }
    # Soft-argmax does not see this bias, and its gradient may round to nothing.
    assert moved | {'pose_net.final_layer_unsup.bias'} == tensors['weight'].keys()
    check_updates(dict(model.named_parameters()), tensors['weight'], tensors['gradient'])


def check_updates(found, expected, gradients):
    """Weights agree to 1e-3 of a step wherever the gradient is more than rounding.

    Adam's first step is the gradient's sign, and rounding decides the sign of a gradient of zero,
    which ReLUs that never fire leave many of.
    """
    compared = total = 0
    for name in expected.keys() - {'pose_net.final_layer_unsup.bias'}:
        size = np.abs(gradients[name])
        sure = size > 1e-2 * size.max()
        difference = np.abs(found[name].detach().numpy() - expected[name])
        assert difference[sure].max() <= 1e-3 * RATE + 2e-7, name
        compared, total = compared + sure.sum(), total + sure.size
    assert compared > 0.3 * total


def test_crops_and_targets(clip):
    frames, boxes = clip
    rng = np.random.default_rng(2)
    how = geometry.Augmentation(
        np.float32([1, 0.8, 1.2, 1.1]),
        np.float32([0, 30, -50, 10]),
        np.array([False, True, False, True]),
    )
    joints = rng.uniform(-10, 50, (4, 13, 2)).astype(np.float32)
    visibility = (rng.random((4, 13)) > 0.3).astype(np.float32)

    def one(frame, box, augmentation, joints, visibility):
        seen, _, affine = pairs.crop_pair(
            frame, frame, box, augmentation, spec=SPEC, valid=jnp.array(frame.shape[:2])
        )
        return seen, *pairs.targets(
            joints, visibility, affine, augmentation.flip, spec=SPEC, mirror=MIRROR
        )

    expected = jax.jit(jax.vmap(one))(frames, boxes, how, joints, visibility)
    theirs = reference.Augmentation(
        *map(torch.from_numpy, (how.scale, how.rotation, np.float32(1 - 2 * how.flip)))
    )
    to_image = reference.crop_to_image(torch.from_numpy(boxes), theirs, size=SIZE)
    crops = reference.crop(torch.from_numpy(frames), to_image, size=SIZE)
    maps, weights = reference.target_heatmaps(
        torch.from_numpy(joints),
        torch.from_numpy(visibility),
        to_image,
        theirs.mirror,
        swapped=MIRROR,
        size=SIZE,
        cells=CELLS,
        sigma=2.0,
    )
    np.testing.assert_allclose(channels_last(crops), expected[0], atol=1e-3)
    np.testing.assert_allclose(channels_last(maps), expected[1], atol=1e-5)
    np.testing.assert_array_equal(weights, expected[2])


def test_joint_loss_and_statistics(both, model):
    network = both.network.clone(train=True)
    rng = np.random.default_rng(3)
    maps = rng.random((BATCH, CELLS, CELLS, 13), np.float32)
    weights = (rng.random((BATCH, 13)) > 0.3).astype(np.float32)

    def loss(variables):
        (seen, rebuilt), updates = network.apply(
            variables, both.target, both.source, mutable='batch_stats'
        )
        terms = reconstruction_terms(rebuilt.image, both.target, perceptual=both.perceptual)
        reconstruction, _ = balance(terms, jnp.ones(4))
        return supervised(seen.supervised, maps, weights) + 0.1 * reconstruction, updates

    expected, updates = jax.jit(loss)(both.variables)
    trainer = reference.Trainer(
        model, both.theirs, size=SIZE, cells=CELLS, swapped=MIRROR, reconstruction_weight=0.1
    )
    trainer.means = torch.ones(4)
    found = trainer.loss(
        channels_first(both.target),
        channels_first(both.source),
        channels_first(maps),
        torch.from_numpy(weights),
    )
    np.testing.assert_allclose(found.item(), expected, rtol=1e-3)
    statistics = convert.to_release({'params': both.variables['params'], **updates})
    buffers = dict(model.named_buffers())
    for name in (n for n in statistics if '.running_' in n):
        np.testing.assert_allclose(
            buffers[name], statistics[name], rtol=1e-3, atol=1e-4, err_msg=name
        )


def test_redundant_work_changes_no_result(both, model, clip):
    """And people, adapted one after another, do not see each other."""
    person = tuple(map(torch.from_numpy, clip))
    other = 255 - person[0], person[1]

    def run(people, **how):
        torch.manual_seed(0)
        return reference.personalize(
            model, both.theirs, people, size=SIZE, batch=BATCH, steps=2, **how
        )

    before = {name: value.clone() for name, value in model.state_dict().items()}
    lean = run([person])[0]
    model.load_state_dict(before)
    redundant = run([person, other], redundant=True)
    np.testing.assert_allclose(redundant[0].losses, lean.losses, rtol=1e-3)
    np.testing.assert_allclose(redundant[0].joints[0], lean.joints[0], atol=0.1)
    assert lean.joints.shape == (2, 13, 2)
    model.load_state_dict(before)
    alone = run([other])[0]
    assert not np.allclose(alone.losses, lean.losses, rtol=1e-3)


def test_a_step_of_joint_training_moves_everything(both, model, clip):
    frames, boxes = map(torch.from_numpy, clip)
    trainer = reference.Trainer(model, both.theirs, size=SIZE, cells=CELLS, swapped=MIRROR)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batch = reference.Pairs(
        frames, frames.flip(0), boxes, torch.full((4, 13, 2), 20.0), torch.ones(4, 13)
    )
    assert torch.isfinite(trainer.step(batch))
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_unknown_mode_and_variant_are_named():
    with pytest.raises(ValueError, match="mode 'tf32\\+fast': no \\['fast'\\]; known: plain"):
        reference.parse_mode('tf32+fast')
    with pytest.raises(ValueError, match="variant is 'baseline'"):
        reference.build(variant='baseline')
