"""Data sets by name: what is done to test people whatever set they are of."""

import numpy as np
import pytest

from ttp_jax.data import clips, sets


@pytest.fixture
def clip():
    boxes = np.tile(np.float32([10, 20, 49, 99]), (400, 1))
    return clips.Clip('p0', np.zeros((400, 8, 8, 3), np.uint8), boxes)


def test_jittered_boxes_keep_their_shape_and_lie_around_the_true_one(clip):
    boxes = sets.jittered(clip, 0.1, seed=0).boxes
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    np.testing.assert_allclose(sides[:, 1] / sides[:, 0], 2, rtol=1e-4)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    np.testing.assert_allclose(centres.mean(0), [29.5, 59.5], atol=1.5)
    np.testing.assert_allclose(centres.std(0), [4, 8], rtol=0.15)
    np.testing.assert_allclose(np.log(sides[:, 0] / 40).std(), 0.1, rtol=0.15)


def test_a_persons_jitter_depends_on_the_seed_and_the_id_alone(clip):
    first = sets.jittered(clip, 0.1, seed=0).boxes
    np.testing.assert_array_equal(first, sets.jittered(clip, 0.1, seed=0).boxes)
    other = clips.Clip('p1', clip.frames, clip.boxes)
    for changed in (sets.jittered(clip, 0.1, seed=1), sets.jittered(other, 0.1, seed=0)):
        assert (changed.boxes != first).any()


def test_boxes_of_test_people_alone_are_jittered():
    options = dict(train_people=1, test_people=1, frames=2, size=64)
    plain, moved = (sets.load('drawn', box_jitter=share, **options) for share in (0.0, 0.05))
    np.testing.assert_array_equal(plain.train[0].boxes, moved.train[0].boxes)
    assert (plain.test[0].boxes != moved.test[0].boxes).any()
    np.testing.assert_array_equal(plain.test[0].labels.joints, moved.test[0].labels.joints)
