"""Joints from self-supervised keypoints by a linear map, and what its run leaves."""

import json

import numpy as np
import pytest

from experiments import keypoint_regression as regression
from experiments import leave
from ttp_jax.data import pairs
from ttp_jax.data.clips import Clip, Labels
from ttp_jax.data.skeletons import PENN_ACTION


@pytest.fixture
def known():
    """(keypoints, joints) of 200 frames that a linear map joins."""
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 16, (200, 5, 2))
    linear = rng.normal(0, 0.5, (11, 3, 2))
    return keypoints, regression.apply(linear, keypoints)


def test_joints_that_follow_keypoints_linearly_are_found_in_new_frames(known):
    keypoints, joints = known
    linear = regression.fit(keypoints[:150], joints[:150], np.ones((150, 3)), ridge=1e-6)
    np.testing.assert_allclose(regression.apply(linear, keypoints[150:]), joints[150:], atol=1e-4)


def test_a_joint_that_is_not_seen_is_not_looked_at(known):
    keypoints, joints = known
    spoiled, weights = joints.copy(), np.ones((200, 3))
    spoiled[:50, 1], weights[:50, 1] = 1e6, 0
    linear = regression.fit(keypoints, spoiled, weights, ridge=1e-6)
    np.testing.assert_allclose(regression.apply(linear, keypoints), joints, atol=1e-4)
    weights[:, 1] = 0
    with pytest.raises(ValueError, match='joint 1 is in no frame'):
        regression.fit(keypoints, spoiled, weights)


def test_keypoints_that_always_lie_together_are_no_trouble(known):
    keypoints, joints = known
    twice = np.concatenate([keypoints, keypoints], axis=1)
    linear = regression.fit(twice, joints, np.ones((200, 3)))
    assert np.abs(regression.apply(linear, twice) - joints).mean() < 0.05
    # All the same: nothing is left but the mean.
    same = np.full_like(keypoints, 3.0)
    mean = regression.apply(regression.fit(same, joints, np.ones((200, 3))), same)
    np.testing.assert_allclose(mean, np.broadcast_to(joints.mean(0), mean.shape), atol=1e-6)


def test_points_go_to_cells_and_back():
    spec = pairs.CropSpec(64, 16)
    boxes = np.array([[10.0, 20, 60, 90], [0, 0, 30, 30]])
    points = np.random.default_rng(0).uniform(0, 90, (2, 4, 2))
    cells = regression.in_cells(points, boxes, spec=spec)
    np.testing.assert_allclose(regression.in_image(cells, boxes, spec=spec), points, atol=1e-3)
    middle = np.array([[[34.0, 57.9]], [[14.0, 15.9]]])  # of the crop, a little below the box's
    assert np.abs(regression.in_cells(middle, boxes, spec=spec) - 8).max() < 1


def test_a_regression_leaves_what_a_run_leaves(tmp_path):
    joints = np.random.default_rng(0).uniform(0, 50, (2, 13, 2))
    labels = Labels(joints, np.ones((2, 13)))
    clip = Clip('p0', np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 4)), labels)
    results = {'before': [leave.shared_prediction(joints)]}
    network, workdir = tmp_path / 'network', tmp_path / 'made' / 'here'
    network.mkdir()
    (network / 'config.json').write_text('{"seed": 5}')
    origin = dict(skeleton=PENN_ACTION, program='p', seconds={'before': 1})
    leave.write(workdir, network, [clip], results, **origin)
    assert json.loads((workdir / 'config.json').read_text()) == {'seed': 5}
    report = json.loads((workdir / 'report.json').read_text())
    assert report['mpck'] == {'before': 100.0} and report['seconds'] == {'before': 1}
    assert report['command'].split()[:3] == ['python', '-m', 'p']
    with np.load(workdir / 'predictions' / 'before' / 'p0.npz') as found:
        np.testing.assert_array_equal(found['joints'], joints)
