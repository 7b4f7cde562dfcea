"""What is compared with mediapipe is in the same place, and is scored the same way."""

import numpy as np

from experiments import mediapipe_compare
from ttp_jax.data.clips import Clip


def test_crops_show_the_box_wherever_it_lies_and_say_where_they_are():
    image = np.random.default_rng(0).integers(1, 255, (40, 60, 3), np.uint8)
    for box in ([10, 10, 29, 29], [-8, -5, 11, 14], [50, 30, 69, 49]):
        clip = Clip('a', image[None], np.array([box], np.float32))
        ((crop, corner),) = mediapipe_compare.cropped(clip)
        assert crop.shape == (25, 25, 3)
        point = np.clip(np.mean(np.reshape(box, (2, 2)), axis=0), 0, [59, 39]).astype(int)
        x, y = (point - corner).astype(int)
        np.testing.assert_array_equal(crop[y, x], image[point[1], point[0]])


def test_a_detectors_boxes_are_near_the_true_ones_and_move_smoothly():
    boxes = np.tile(np.array([100, 50, 199, 249], np.float32), (400, 1))
    found = mediapipe_compare.shaken(boxes, seed=0)
    off = (found[:, :2] + found[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2
    assert 0.01 < off[:, 0].std() / 100 < 0.04 and np.abs(off.mean(axis=0)).max() < 2
    size = np.diff(found.reshape(-1, 2, 2), axis=1)[:, 0] + 1
    assert 0.03 < np.log(size[:, 1] / 200).std() < 0.09


def test_gaps_are_filled_from_the_nearest_frame():
    joints = np.arange(5.0)[:, None, None] * np.ones((5, 13, 2))
    joints[[0, 2, 3]] = np.nan
    assert mediapipe_compare.filled(joints)[:, 0, 0].tolist() == [1, 1, 1, 4, 4]
    assert (mediapipe_compare.filled(joints * np.nan) < -1000).all()


def test_boxes_go_around_what_was_found_and_stay_in_the_picture():
    clip = Clip('a', np.zeros((3, 100, 200, 3), np.uint8), np.zeros((3, 4), np.float32))
    joints = np.full((3, 13, 2), np.nan)
    joints[1] = np.linspace((50, 20), (90, 80), 13)
    boxes = mediapipe_compare.found_boxes(clip, joints)
    np.testing.assert_allclose(boxes, np.tile([44, 14, 95, 85], (3, 1)), atol=1e-4)
    nobody = mediapipe_compare.found_boxes(clip, joints * np.nan)
    np.testing.assert_array_equal(nobody, np.tile([0, 0, 199, 99], (3, 1)))
