"""Heatmaps: the release's targets and decoding, and the coordinate contract."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttp_jax import geometry, heatmaps
from ttp_jax.networks import model

SIZE = (32, 32)


@pytest.fixture(scope='module')
def reference(parity_dir):
    return np.load(parity_dir / 'geometry.npz')


def test_targets_agree_with_release(reference):
    one = functools.partial(heatmaps.target_heatmap, size=SIZE, stride=4.0)
    maps, weights = jax.vmap(jax.vmap(one))(
        jnp.asarray(reference['joints'][..., :2], jnp.float32),
        jnp.asarray(reference['visible'][..., 0], jnp.float32),
    )
    assert 0 < reference['target_weights'].mean() < 1
    np.testing.assert_allclose(maps, reference['target_heatmaps'], atol=1e-6)
    np.testing.assert_array_equal(weights, reference['target_weights'][..., 0])


def test_decoded_scores_agree_with_release(reference):
    _, scores = jax.vmap(jax.vmap(heatmaps.decode))(reference['heatmaps'])
    np.testing.assert_allclose(scores, reference['max_values'][..., 0], atol=1e-7)


def test_soft_argmax_is_marginal():
    # The largest cell is (5, 6), but row 2 has the larger sum: a 2-D softmax would find y = 6.
    heatmap = jnp.zeros((8, 12)).at[2, 3].set(30.0).at[2, 9].set(30.0).at[6, 5].set(45.0)
    np.testing.assert_allclose(heatmaps.soft_argmax(heatmap), [5.0, 2.0], atol=1e-3)


def test_soft_argmax_is_expected_coordinate():
    rng = np.random.default_rng(0)
    heatmap = rng.normal(size=(5, 7))
    expected = []
    for axis in (0, 1):
        weights = np.exp(heatmap.sum(axis=axis))
        expected.append((weights / weights.sum()) @ np.arange(len(weights)))
    np.testing.assert_allclose(heatmaps.soft_argmax(jnp.asarray(heatmap)), expected, rtol=1e-5)


def test_soft_argmax_survives_large_values():
    heatmap = jnp.zeros((8, 8)).at[4, 1].set(1e4)
    np.testing.assert_allclose(heatmaps.soft_argmax(heatmap), [1.0, 4.0])
    assert np.isfinite(jax.grad(lambda m: heatmaps.soft_argmax(m).sum())(heatmap)).all()


def test_gaussian_map_has_its_peak_at_x_y():
    drawn = heatmaps.gaussian_map(jnp.array([9.0, 4.0]), size=(8, 12), sigma=2.0)
    assert drawn.shape == (8, 12)
    assert np.unravel_index(np.argmax(drawn), drawn.shape) == (4, 9)
    np.testing.assert_allclose(drawn[4, 9], 1.0)
    np.testing.assert_allclose(drawn[3, 7], np.exp(-5 / 8), rtol=1e-6)


def test_gaussian_map_between_cells_peaks_outside_them():
    drawn = heatmaps.gaussian_map(jnp.array([2.5, 3.0]), size=(8, 8), sigma=2.0)
    np.testing.assert_allclose(drawn[3, 2], drawn[3, 3])
    np.testing.assert_allclose(drawn[3, 2], np.exp(-0.25 / 8), rtol=1e-6)


def target(x, y, visible=1.0, **kwargs):
    kwargs = {'size': SIZE, 'stride': 4.0} | kwargs
    return heatmaps.target_heatmap(jnp.array([x, y]), jnp.array(visible), **kwargs)


@pytest.mark.parametrize(('x', 'cell'), [(40.0, 10), (41.9, 10), (42.0, 11), (45.9, 11)])
def test_target_sits_on_the_nearest_cell(x, cell):
    heatmap, weight = target(x, 20.0)
    assert np.unravel_index(np.argmax(heatmap), SIZE) == (5, cell)
    assert heatmap.max() == 1 and weight == 1


def test_target_is_cut_to_a_square():
    heatmap, _ = target(64.0, 60.0)
    rows, columns = np.nonzero(heatmap)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (9, 21, 10, 22)
    assert len(rows) == 13 * 13  # the corners of the square, beyond 3 sigma, belong to it


def test_target_on_a_map_of_another_size():
    heatmap, weight = target(50.0, 10.0, size=(6, 14), stride=5.0, sigma=1.0)
    assert heatmap.shape == (6, 14) and weight == 1
    assert np.unravel_index(np.argmax(heatmap), heatmap.shape) == (2, 10)


def test_invisible_joint_has_no_target_and_no_weight():
    heatmap, weight = target(40.0, 40.0, visible=0.0)
    assert weight == 0 and not heatmap.any()


def test_a_label_of_little_weight_is_a_label():
    """It weighs less in the loss; it does not say that there is nothing."""
    whole, _ = target(40.0, 40.0, visible=1.0)
    heatmap, weight = target(40.0, 40.0, visible=0.25)
    np.testing.assert_array_equal(heatmap, whole)
    assert weight == 0.25


@pytest.mark.parametrize('joint', [(-40.0, 40.0), (40.0, -40.0), (160.0, 40.0), (40.0, 160.0)])
def test_joint_far_outside_has_no_weight(joint):
    heatmap, weight = target(*joint)
    assert weight == 0 and not heatmap.any()


@pytest.mark.parametrize('joint', [(-16.0, 40.0), (40.0, -16.0), (142.0, 40.0), (40.0, 142.0)])
def test_joint_just_outside_keeps_its_border(joint):
    heatmap, weight = target(*joint)
    assert weight == 1 and 0 < heatmap.max() < 1


def test_decode_moves_towards_the_larger_neighbours():
    heatmap = jnp.zeros((9, 12)).at[4, 7].set(1.0).at[4, 8].set(0.5).at[3, 7].set(0.2)
    xy, score = heatmaps.decode(heatmap)
    np.testing.assert_allclose(xy, [7.25, 3.75])
    assert score == 1


def test_decode_stays_between_equal_neighbours():
    xy, _ = heatmaps.decode(jnp.zeros((9, 9)).at[4, 4].set(1.0))
    np.testing.assert_array_equal(xy, [4, 4])


@pytest.mark.parametrize(
    ('y', 'x', 'moves'),
    [(1, 4, False), (2, 4, True), (7, 4, True), (8, 4, False), (4, 1, False), (4, 7, True)],
)
def test_decode_moves_only_strictly_inside(y, x, moves):
    heatmap = jnp.zeros((9, 9)).at[y, x].set(1.0)
    slope = heatmap.at[max(y - 1, 0), x].set(0.5).at[y, x - 1].set(0.5)
    xy, _ = heatmaps.decode(slope)
    np.testing.assert_allclose(xy, np.array([x, y]) - 0.25 * moves)


def test_decode_of_a_map_without_positive_values_is_the_origin():
    xy, score = heatmaps.decode(jnp.full((8, 8), -1.0).at[4, 5].set(-0.5))
    np.testing.assert_array_equal(xy, [0, 0])
    assert score == -0.5


@pytest.mark.parametrize('broken', [(0, 0), (4, 5), (7, 7)])
@pytest.mark.parametrize('others', [-1.0, 0.0, 2.0, np.inf, np.nan])
def test_decode_of_a_map_that_holds_a_nan_is_nan(broken, others):
    heatmap = jnp.full((8, 8), others).at[broken].set(np.nan)
    taylor = functools.partial(heatmaps.decode, decoding='taylor')
    for decode in (heatmaps.decode, jax.jit(heatmaps.decode), taylor):
        xy, score = decode(heatmap)
        assert np.isnan(xy).all() and np.isnan(score)


def test_peaks_begin_with_what_decode_gives_and_are_highest_among_their_neighbours():
    maps = jax.random.normal(jax.random.key(0), (20, 16, 16))
    points, heights = jax.vmap(functools.partial(heatmaps.peaks, count=5))(maps)
    joints, scores = jax.vmap(heatmaps.decode)(maps)
    np.testing.assert_array_equal(points[:, 0], joints)
    np.testing.assert_array_equal(heights[:, 0], scores)
    assert (np.diff(heights, axis=1) <= 0).all()
    for heatmap, xy, height in zip(np.array(maps), np.rint(points).astype(int), heights):
        for (x, y), found in zip(xy, height):
            around = heatmap[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            assert around.max() == heatmap[y, x] == found


@pytest.mark.parametrize('at', [(9.0, 14.0), (9.3, 14.0), (12.45, 20.55), (1.4, 29.6), (16.1, 7.8)])
def test_taylor_finds_the_middle_of_a_gaussian_where_quarter_only_comes_near(at):
    heatmap = heatmaps.gaussian_map(jnp.array(at), size=SIZE, sigma=2.0)
    turned = heatmap + 0.6 * heatmaps.gaussian_map(jnp.array(at) + 0.2, size=SIZE, sigma=1.5)
    xy, score = jax.jit(functools.partial(heatmaps.decode, decoding='taylor'))(0.4 * heatmap)
    np.testing.assert_allclose(xy, at, atol=1e-3)
    assert score == 0.4 * heatmap.max()
    near, _ = heatmaps.decode(turned, decoding='taylor')
    assert (0 < near - np.array(at)).all() and (near - np.array(at) < 0.2).all()


@pytest.mark.parametrize('at', [(0, 9), (31, 9), (9, 0), (31, 31)])
def test_taylor_is_quarter_at_the_border(at):
    heatmap = heatmaps.gaussian_map(jnp.array(at, jnp.float32), size=SIZE, sigma=2.0)
    np.testing.assert_array_equal(heatmaps.decode(heatmap, decoding='taylor')[0], at)


@pytest.mark.parametrize('others', [0.0, -1.0, 1.0])
def test_taylor_is_quarter_where_the_neighbours_are_no_hill(others):
    """Not all positive, or all the same."""
    heatmap = jnp.full(SIZE, others).at[14, 9].set(1.0)
    slope = heatmap.at[14, 10].set(0.5 + others / 2)
    for each in (heatmap, slope):
        taylor, quarter = (heatmaps.decode(each, decoding=d)[0] for d in heatmaps.DECODINGS)
        np.testing.assert_array_equal(taylor, quarter)


def test_taylor_stays_within_a_cell_and_near_quarter():
    maps = jax.random.uniform(jax.random.key(0), (500, 16, 16))
    cells = np.stack(np.unravel_index(maps.reshape(500, -1).argmax(1), (16, 16)), -1)[:, ::-1]
    joints, _ = jax.vmap(functools.partial(heatmaps.decode, decoding='taylor'))(maps)
    assert np.abs(joints - cells).max() <= 1


def test_peaks_are_placed_as_decode_places_them():
    maps = jax.nn.softplus(jax.random.normal(jax.random.key(0), (20, 16, 16)))
    points, _ = jax.vmap(functools.partial(heatmaps.peaks, count=3, decoding='taylor'))(maps)
    joints, _ = jax.vmap(functools.partial(heatmaps.decode, decoding='taylor'))(maps)
    quarter, _ = jax.vmap(heatmaps.decode)(maps)
    np.testing.assert_array_equal(points[:, 0], joints)
    assert (np.asarray(joints) != np.asarray(quarter)).any(axis=-1).mean() > 0.5


def test_a_map_has_no_more_peaks_than_it_has():
    maps = [heatmaps.gaussian_map(jnp.array(at), size=SIZE, sigma=2.0) for at in ([5, 9], [20, 9])]
    points, heights = heatmaps.peaks(maps[0] + 0.5 * maps[1], count=4)
    np.testing.assert_array_equal(points[:2], [[5, 9], [20, 9]])
    np.testing.assert_allclose(heights, [1, 0.5, -np.inf, -np.inf], atol=1e-6)


def test_peaks_of_a_map_that_holds_a_nan_begin_with_nan():
    points, heights = heatmaps.peaks(jnp.zeros(SIZE).at[3, 4].set(jnp.nan), count=2)
    assert np.isnan(points[0]).all() and np.isnan(heights[0])


@pytest.mark.parametrize('scale', [0.8, 1.0, 1.25])
def test_what_another_crop_shows_comes_back_to_the_cells_of_the_usual_one(scale):
    """A joint as two crops of a box show it: `zoomed` undoes the difference in size."""
    box, joint = jnp.array([20.0, 30, 119, 129]), jnp.array([60.0, 97.0])
    usual, other = (
        geometry.transform_points(
            geometry.augmented_affine(box, geometry.Augmentation(size), size=32), joint
        )
        for size in (1.0, scale)
    )
    seen = heatmaps.gaussian_map(other, size=SIZE, sigma=2 / scale)
    expected = heatmaps.gaussian_map(usual, size=SIZE, sigma=2.0)
    found = heatmaps.zoomed(seen[..., None], scale=scale)[..., 0]
    # Between cells it is interpolated along lines; half a cell beside would be 0.15 off.
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_decode_inverts_target_to_half_a_cell():
    joints = jax.random.uniform(jax.random.key(0), (50, 2), minval=4.0, maxval=120.0)
    one = functools.partial(heatmaps.target_heatmap, size=SIZE, stride=4.0)
    maps, _ = jax.vmap(one)(joints, jnp.ones(50))
    cells, _ = jax.jit(jax.vmap(heatmaps.decode))(maps)
    assert np.abs(4.0 * cells - joints).max() <= 2.0


def test_pose_maps_are_gaussians_enlarged_to_the_image():
    keypoints = jnp.asarray(np.random.default_rng(0).uniform(-1, 8, (2, 3, 2)), jnp.float32)
    one = functools.partial(heatmaps.gaussian_map, size=(6, 8), sigma=2.0)
    gaussians = jax.vmap(jax.vmap(one))(keypoints)
    expected = jax.image.resize(gaussians, (2, 3, 24, 32), 'bilinear')
    maps = model.pose_maps(keypoints, size=(6, 8), image_size=(24, 32), sigma=2.0)
    np.testing.assert_allclose(jnp.einsum('nhk,nwk->nkhw', *maps), expected, atol=1e-6)
