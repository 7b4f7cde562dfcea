"""Crops, warps and augmentation: agreement with the release, and what must not change a result."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttp_jax import geometry, heatmaps
from ttp_jax.data.skeletons import PENN_ACTION


@pytest.fixture(scope='module')
def reference(parity_dir):
    return np.load(parity_dir / 'geometry.npz')


@pytest.fixture(scope='module')
def image():
    """Noise, so that a shift of a fraction of a pixel shows."""
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def test_affine_agrees_with_release(reference):
    affine = jax.vmap(functools.partial(geometry.crop_affine, size=128))(
        reference['center'], reference['scale'][:, 0], reference['rotation_degrees']
    )
    np.testing.assert_allclose(affine, reference['affine_to_128'], atol=1e-3, rtol=0)


def heatmap_to_image_affine(reference):
    affine = jax.vmap(functools.partial(geometry.crop_affine, size=32))(
        reference['center'], reference['scale'][:, 0]
    )
    return jax.vmap(geometry.invert_affine)(affine)


def test_inverse_affine_agrees_with_release(reference):
    affine = heatmap_to_image_affine(reference)
    np.testing.assert_allclose(affine, reference['inverse_affine_from_32'], atol=1e-3, rtol=0)


def test_final_predictions_agree_with_release(reference):
    cells, _ = jax.vmap(jax.vmap(heatmaps.decode))(reference['heatmaps'])
    points = jax.vmap(geometry.transform_points)(heatmap_to_image_affine(reference), cells)
    np.testing.assert_allclose(points, reference['final_predictions'], atol=1e-3, rtol=0)


def test_warps_agree_with_release(reference):
    affine = jax.vmap(functools.partial(geometry.crop_affine, size=128))(
        reference['warp_center'], reference['warp_scale'][:, 0], reference['warp_rotation']
    )
    warp = functools.partial(geometry.warp, reference['image'], size=128)
    difference = np.abs(jax.vmap(warp)(affine) - reference['warped'].astype(np.float32))
    assert (difference.max(axis=-1) <= 2).mean(axis=(1, 2)).min() >= 0.999


def test_flipped_joints_agree_with_release(reference):
    joints, visible = reference['joints'][0][:, :2], reference['visible'][0][:, 0]
    # Mirroring an image of width 120 is a crop of side 120 about its centre, which the crop puts at
    # 60 instead of 59.5.
    affine = geometry.crop_affine(jnp.array([59.5, 60.0]), 120 / 200, 0.0, True, size=120)
    swap = functools.partial(geometry.swap_left_right, flip=True, permutation=PENN_ACTION.mirror)
    mirrored = geometry.transform_points(affine, jnp.asarray(joints)) - jnp.array([0.5, 0.0])
    shown = reference['flipped_visible_of_0'][:, 0]
    np.testing.assert_array_equal(swap(jnp.asarray(visible)), shown)
    # The release zeroes the joints that are not visible.
    expected = reference['flipped_joints_of_0_width_120'][:, :2]
    np.testing.assert_allclose(swap(mirrored) * shown[:, None], expected, atol=1e-4)


def test_crop_region_by_hand():
    # 100 x 200 pixels with both corners included, so the square has a side of 1.25 * 200.
    center, scale = geometry.crop_region(jnp.array([101.0, 51.0, 200.0, 250.0]))
    np.testing.assert_allclose(center, [149.0, 164.0])
    np.testing.assert_allclose(scale, 1.25)


def test_crop_region_of_human36m_is_one_pixel_on():
    box = jnp.array([101.0, 51.0, 200.0, 250.0])
    center, _ = geometry.crop_region(box, subtract_one=False)
    np.testing.assert_allclose(center, [150.0, 165.0])


def test_one_pixel_box_gives_a_finite_crop(image):
    affine = geometry.augmented_affine(
        jnp.array([20.0, 30.0, 20.0, 30.0]), geometry.Augmentation(), size=16
    )
    assert np.isfinite(affine).all()
    assert geometry.warp(image, affine, size=16).max() > 0


BOX = jnp.array([12.0, 5.0, 40.0, 33.0])
TURNED = geometry.Augmentation(scale=0.9, rotation=35.0, flip=True)


def test_inverse_undoes_affine():
    affine = geometry.augmented_affine(BOX, TURNED, size=128)
    points = jnp.array([[0.0, 0.0], [55.0, 3.0], [20.0, 39.0]])
    there = geometry.transform_points(affine, points)
    back = geometry.transform_points(geometry.invert_affine(affine), there)
    np.testing.assert_allclose(back, points, atol=1e-4)
    assert np.abs(there - points).min() > 1


def test_crop_and_heatmap_are_the_same_map_at_two_resolutions():
    points = jnp.array([[0.0, 0.0], [55.0, 3.0], [20.0, 39.0]])
    crop, cells = (
        geometry.transform_points(geometry.augmented_affine(BOX, TURNED, size=size), points)
        for size in (128, 32)
    )
    np.testing.assert_allclose(crop, 4 * cells, atol=1e-3)


def test_heatmap_to_image_inverts_the_crop():
    points = jnp.array([[15.0, 10.0], [38.0, 30.0]])
    for subtract_one in (True, False):
        affine = geometry.augmented_affine(
            BOX, geometry.Augmentation(), size=32, subtract_one=subtract_one
        )
        cells = geometry.transform_points(affine, points)
        found = geometry.heatmap_to_image(cells, BOX, size=32, subtract_one=subtract_one)
        np.testing.assert_allclose(found, points, atol=1e-4)


def test_crop_follows_its_joints(image):
    """A bright pixel of the image is found where the same affine map puts its coordinates."""
    dark = np.zeros_like(image)
    dark[20, 25] = 255
    affine = geometry.augmented_affine(BOX, TURNED, size=128)
    crop = np.asarray(geometry.warp(dark, affine, size=128)[..., 0])
    rows, columns = np.mgrid[:128, :128]
    found = np.array([(columns * crop).sum(), (rows * crop).sum()]) / crop.sum()
    expected = geometry.transform_points(affine, jnp.array([25.0, 20.0]))
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_flip_equals_flipping_image_and_centre_first(image):
    """The release mirrors the image and the centre, and crops then."""
    center, width = jnp.array([21.0, 17.0]), image.shape[1]
    flipped_center = jnp.array([width - 1 - 21.0, 17.0])
    once = geometry.crop_affine(center, 0.2, 25.0, True, size=64)
    twice = geometry.crop_affine(flipped_center, 0.2, 25.0, False, size=64)
    crop = geometry.warp(image, once, size=64)
    np.testing.assert_allclose(geometry.warp(image[:, ::-1], twice, size=64), crop, atol=0.05)


def test_identity_warp_returns_the_pixels(image):
    identity = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    crop = geometry.warp(image, identity, size=64)
    np.testing.assert_array_equal(crop[:40, :56], image)
    assert not crop[40:].any() and not crop[:, 56:].any()


def test_warp_interpolates_towards_zero_at_the_border():
    half = jnp.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]])  # the crop lies half a pixel to the left
    crop = geometry.warp(np.full((4, 4, 3), 200, np.uint8), half, size=6)
    np.testing.assert_allclose(crop[1, :, 0], [100, 200, 200, 200, 100, 0])


def test_padding_does_not_show(image):
    padded = np.full((64, 80, 3), 255, np.uint8)
    padded[:40, :56] = image
    affine = geometry.augmented_affine(jnp.array([30.0, 15.0, 70.0, 60.0]), TURNED, size=64)
    expected = geometry.warp(image, affine, size=64)
    crop = geometry.warp(padded, affine, size=64, valid=jnp.array([40, 56]))
    np.testing.assert_array_equal(crop, expected)
    assert not np.array_equal(geometry.warp(padded, affine, size=64), expected)


def test_warp_is_the_same_for_float_images_and_in_batches(image):
    boxes = jnp.array([[12.0, 5, 40, 33], [3.0, 3, 20, 30], [-5.0, 10, 30, 60]])

    def crop(image, box):
        return geometry.warp(image, geometry.augmented_affine(box, TURNED, size=32), size=32)

    batch = jax.jit(jax.vmap(crop, in_axes=(None, 0)))(image, boxes)
    for one, box in zip(batch, boxes, strict=True):
        np.testing.assert_allclose(one, crop(image.astype(np.float32), box), atol=0.02)


@functools.cache
def draw(count=4000, **kwargs):
    one = functools.partial(geometry.sample_augmentation, **kwargs)
    return jax.vmap(one)(jax.random.split(jax.random.key(0), count))


def test_augmentation_stays_within_the_releases_ranges():
    drawn = draw()
    assert drawn.scale.min() == 0.75 and drawn.scale.max() == 1.25
    assert drawn.rotation.min() == -60 and drawn.rotation.max() == 60
    np.testing.assert_allclose(drawn.scale.mean(), 1.0, atol=0.02)
    np.testing.assert_allclose((drawn.rotation != 0).mean(), 0.6, atol=0.03)
    np.testing.assert_allclose(drawn.flip.mean(), 0.5, atol=0.03)


def test_augmentations_parts_are_independent():
    drawn = draw()
    parts = np.stack([drawn.scale, drawn.rotation, drawn.flip])
    assert np.abs(np.corrcoef(parts) - np.eye(3)).max() < 0.06


def test_rotation_can_be_always_on_and_flip_off():
    drawn = draw(200, rotation_prob=1.0, flip_prob=0.0)
    assert (drawn.rotation != 0).all() and not drawn.flip.any()


def test_augmentation_without_arguments_is_identity():
    center, scale = geometry.crop_region(BOX)
    np.testing.assert_allclose(
        geometry.augmented_affine(BOX, geometry.Augmentation(), size=64),
        geometry.crop_affine(center, scale, size=64),
        rtol=1e-6,
    )


def test_larger_scale_shows_more_of_the_image():
    affine = geometry.augmented_affine(BOX, geometry.Augmentation(scale=1.25), size=64)
    plain = geometry.augmented_affine(BOX, geometry.Augmentation(), size=64)
    np.testing.assert_allclose(affine[:, :2], plain[:, :2] / 1.25, rtol=1e-5)


def test_swap_left_right_only_where_flipped():
    values = jnp.arange(13.0)
    swap = functools.partial(geometry.swap_left_right, values, permutation=PENN_ACTION.mirror)
    np.testing.assert_array_equal(swap(jnp.array(False)), values)
    np.testing.assert_array_equal(swap(jnp.array(True))[:5], [0, 2, 1, 4, 3])


def test_normalise_is_imagenets_and_inverts():
    rgb = jnp.array([[255 * 0.485, 255 * 0.456, 255 * 0.406], [255.0, 0.0, 255.0]])
    normalised = geometry.normalise(rgb)
    np.testing.assert_allclose(normalised[0], 0, atol=1e-6)
    expected = [0.515 / 0.229, -0.456 / 0.224, 0.594 / 0.225]
    np.testing.assert_allclose(normalised[1], expected, rtol=1e-5)
    np.testing.assert_allclose(geometry.denormalise(normalised), rgb, atol=1e-3)


def test_denormalise_lets_gradients_pass_outside_the_range():
    gradient = jax.grad(lambda image: geometry.denormalise(image).sum())(jnp.full((1, 3), 10.0))
    assert (gradient > 0).all()


@pytest.mark.parametrize('valid', [None, (20, 30)])
def test_packed_frames_are_sampled_to_the_same_numbers(valid):
    image = np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    affine = geometry.augmented_affine(np.float32([5, 2, 33, 38]), TURNED, size=24)
    expected = geometry.warp(image, affine, size=24, valid=valid)
    packed = geometry.pack(image)
    assert packed.shape == (40, 50)
    np.testing.assert_array_equal(geometry.warp(packed, affine, size=24, valid=valid), expected)
