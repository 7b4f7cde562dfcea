"""Personal weights as small differences: how exact, how small, and never on another network."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ttp_jax.files import personal
from ttp_jax.files.digest import of_tree

KERNEL, HEAD, BIAS = 'encoder/conv1/kernel', 'self_supervised_head/kernel', 'encoder/conv1/bias'
STEP = 1e-3  # about what Adam moves a weight by


def weights(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    shapes = {KERNEL: (3, 3, 16, 32), HEAD: (1, 1, 32, 8), BIAS: (32,)}
    return {name: np.float32(scale * rng.normal(size=shape)) for name, shape in shapes.items()}


BASE = weights(0)
CHANGE = weights(1, STEP)
TRAINED = {name: BASE[name] + CHANGE[name] for name in BASE}
DIGEST = of_tree(BASE)


def round_trip(path, trained=TRAINED, **how):
    personal.save(path, trained, BASE, digest=DIGEST, **how)
    return personal.load(path, BASE, digest=DIGEST)


VALUES = arrays.arrays(
    np.float32, arrays.array_shapes(max_dims=3), elements=st.floats(-4, 4, width=32)
)


@given(VALUES)
def test_bfloat16_is_right_to_a_256th_of_each_value(values):
    back = personal.unpack(personal.pack(values, 'bfloat16'))
    assert back.shape == values.shape
    assert (np.abs(back - values) <= np.abs(values) * 2.0**-8 + 1e-38).all()


@given(VALUES)
def test_int8_is_right_to_half_a_step_of_the_largest_value(values):
    back = personal.unpack(personal.pack(values, 'int8'))
    assert np.abs(back - values).max() <= np.abs(values).max() / 254 * 1.001 + 1e-38


@pytest.mark.parametrize(('kind', 'most'), [('bfloat16', 2.0**-8), ('int8', 1 / 254)])
def test_personal_weights_come_back(tmp_path, kind, most):
    found = round_trip(tmp_path / 'person.npz', kind=kind)
    assert found.keys() == BASE.keys()
    for name, leaf in found.items():
        bound = most * np.abs(CHANGE[name]).max() + 1e-6
        np.testing.assert_allclose(leaf, TRAINED[name], rtol=0, atol=bound)


def test_fewer_bits_and_fewer_ranks_take_less_room(tmp_path):
    sizes = []
    for kind, rank in (('bfloat16', 0), ('int8', 0), ('int8', 2)):
        path = tmp_path / f'{kind}{rank}.npz'
        round_trip(path, kind=kind, rank=rank)
        sizes.append(path.stat().st_size)
    count = sum(leaf.size for leaf in BASE.values())
    overhead = 3000
    assert sizes[0] < 2 * count + overhead and sizes[1] < count + overhead
    assert sizes[2] < sizes[1] < sizes[0]


def test_a_change_of_low_rank_needs_no_more(tmp_path):
    rng = np.random.default_rng(2)
    change = np.float32(STEP * rng.normal(size=(144, 2)) @ rng.normal(size=(2, 32)))
    trained = BASE | {KERNEL: BASE[KERNEL] + change.reshape(BASE[KERNEL].shape)}
    found = round_trip(tmp_path / 'person.npz', trained, kind='bfloat16', rank=2)
    bound = np.abs(change).max() / 50
    np.testing.assert_allclose(found[KERNEL], trained[KERNEL], rtol=0, atol=bound)
    fewer = round_trip(tmp_path / 'person.npz', trained, kind='bfloat16', rank=1)
    assert np.abs(fewer[KERNEL] - trained[KERNEL]).max() > bound


def test_layers_that_were_not_chosen_are_the_base_s(tmp_path):
    found = round_trip(tmp_path / 'person.npz', kind='int8', layers=('head', '.*/bias'))
    np.testing.assert_array_equal(found[KERNEL], BASE[KERNEL])
    assert np.abs(found[HEAD] - BASE[HEAD]).max() > STEP
    with np.load(tmp_path / 'person.npz') as file:
        assert not any(name.startswith(KERNEL) for name in file.files)


def test_another_network_is_refused_by_name(tmp_path):
    path = tmp_path / 'person.npz'
    round_trip(path, kind='int8')
    other = of_tree({name: leaf + 1 for name, leaf in BASE.items()})
    with pytest.raises(ValueError, match=f'person.npz: .* network {DIGEST}, expected .* {other}'):
        personal.load(path, BASE, digest=other)


def test_a_leaf_that_is_frozen_now_is_named(tmp_path):
    path = tmp_path / 'person.npz'
    round_trip(path, kind='int8')
    with pytest.raises(ValueError, match=f'holds {HEAD}, which is frozen here'):
        personal.load(path, {KERNEL: BASE[KERNEL], BIAS: BASE[BIAS]}, digest=DIGEST)


def test_what_cannot_be_saved_is_refused_and_leaves_nothing(tmp_path):
    path = tmp_path / 'person.npz'
    with pytest.raises(ValueError, match="kind is 'int4', expected one of bfloat16, int8"):
        round_trip(path, kind='int4')
    with pytest.raises(ValueError, match=f'{BIAS} is not finite'):
        round_trip(path, BASE | {BIAS: np.full(32, np.nan)}, kind='int8')
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match='person.npz: cannot be read'):
        personal.load(path, BASE, digest=DIGEST)
