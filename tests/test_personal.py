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


def round_trip(path, trained=TRAINED, kind='int8', rank=0, layers=('.*',)):
    form = personal.Form(kind, rank, layers)
    personal.save(path, trained, BASE, digest=DIGEST, form=form)
    return personal.load(path, BASE, digest=DIGEST)


VALUES = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2),
    elements=st.floats(-4, 4, width=32).map(lambda x: 0.0 if abs(x) < 1e-30 else x),
)


@given(VALUES)
def test_bfloat16_is_right_to_a_256th_of_each_value(values):
    back = personal.unpack(personal.pack(values, 'bfloat16'), len(values))
    assert back.shape == values.shape
    assert (np.abs(back - values) <= np.abs(values) * 2.0**-8 + 1e-38).all()


@pytest.mark.parametrize(('kind', 'steps'), [('int8', 254), ('int4', 14)])
@given(values=VALUES)
def test_few_bits_are_right_to_half_a_step_of_a_column_s_largest_value(kind, steps, values):
    packed = personal.pack(values, kind)
    back = personal.unpack(packed, len(values))
    assert back.shape == values.shape
    assert packed['codes'].nbytes == (-(-values.size // 2) if kind == 'int4' else values.size)
    most = np.abs(values).max(axis=0) / steps * 1.001 + 1e-38
    assert (np.abs(back - values).max(axis=0) <= most).all()


@pytest.mark.parametrize(
    ('kind', 'most'), [('bfloat16', 2.0**-8), ('int8', 1 / 254), ('int4', 1 / 14)]
)
def test_personal_weights_come_back(tmp_path, kind, most):
    found = round_trip(tmp_path / 'person.npz', kind=kind)
    assert found.keys() == BASE.keys()
    for name, leaf in found.items():
        bound = most * np.abs(CHANGE[name]).max() + 1e-6
        np.testing.assert_allclose(leaf, TRAINED[name], rtol=0, atol=bound)


def test_fewer_bits_and_fewer_ranks_take_less_room(tmp_path):
    sizes = []
    for kind, rank in (('bfloat16', 0), ('int8', 0), ('int4', 0), ('int4', 2)):
        path = tmp_path / f'{kind}{rank}.npz'
        round_trip(path, kind=kind, rank=rank)
        sizes.append(path.stat().st_size)
    count = sum(leaf.size for leaf in BASE.values())
    overhead = 3000
    assert sizes[0] < 2 * count + overhead and sizes[1] < count + overhead
    assert sizes[3] < sizes[2] < sizes[1] < sizes[0]


def test_the_usual_form_leaves_out_what_only_draws(tmp_path):
    draws = 'renderer/conv1_0/conv/kernel'
    base = BASE | {draws: np.zeros((3, 3, 8, 8), np.float32)}
    trained = TRAINED | {draws: np.ones((3, 3, 8, 8), np.float32)}
    personal.save(tmp_path / 'person.npz', trained, base, digest=DIGEST)
    found = personal.load(tmp_path / 'person.npz', base, digest=DIGEST)
    np.testing.assert_array_equal(found[draws], 0)
    for name in TRAINED:
        close = np.linalg.norm(found[name] - TRAINED[name]) / np.linalg.norm(CHANGE[name])
        assert close < 0.2, name


def test_the_paper_s_size_takes_at_most_five_megabytes(tmp_path):
    """Of one of its largest layers, by which the others go: 34 M numbers that see."""
    shape, share = (3, 3, 512, 512), 33_948_382 / (9 * 512**2)
    base = {'encoder/resnet/layer4_1/conv2/kernel': np.zeros(shape, np.float32)}
    rng = np.random.default_rng(0)
    trained = {name: rng.standard_normal(shape, np.float32) for name in base}
    personal.save(tmp_path / 'person.npz', trained, base, digest=DIGEST)
    assert (tmp_path / 'person.npz').stat().st_size * share < 5e6


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
    with pytest.raises(ValueError, match="kind is 'int2', expected one of bfloat16, int8, int4"):
        round_trip(path, kind='int2')
    with pytest.raises(ValueError, match=f'{BIAS} is not finite'):
        round_trip(path, BASE | {BIAS: np.full(32, np.nan)}, kind='int8')
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match='person.npz: cannot be read'):
        personal.load(path, BASE, digest=DIGEST)
