"""Metrics: the release's numbers, and what the comparison of people promises."""

import json

import numpy as np
import pytest

from ttp_jax.data.skeletons import BBC_POSE, HUMAN36M, PENN_ACTION
from ttp_jax.results import metrics

SKELETONS = (PENN_ACTION, HUMAN36M, BBC_POSE)


def reference(parity_dir, skeleton):
    """Predictions, ground truth, visibility, and the release's scores in percent."""
    arrays = np.load(parity_dir / 'metrics.npz')
    expected = json.loads((parity_dir / 'metrics.json').read_text())[skeleton.name]
    names = ('predictions', 'ground_truth', 'visible')
    predictions, joints, visible = (arrays[f'{skeleton.name}_{name}'] for name in names)
    if skeleton is BBC_POSE:
        # The release scores every joint of BBC Pose, in fractions, and calls the mean mAcc.
        expected = {name.replace('mAcc', 'mPCK'): 100 * x for name, x in expected.items()}
        visible = np.ones_like(visible)
    return predictions, joints, visible, expected


@pytest.mark.parametrize('skeleton', SKELETONS, ids=lambda skeleton: skeleton.name)
def test_agrees_with_release(parity_dir, skeleton):
    predictions, joints, visible, expected = reference(parity_dir, skeleton)
    scores = metrics.pck(predictions, joints, visible, skeleton=skeleton)
    assert list(scores) == list(expected)
    for name, score in scores.items():
        assert score == pytest.approx(expected[name], abs=1e-9), name


@pytest.mark.parametrize('skeleton', SKELETONS, ids=lambda skeleton: skeleton.name)
def test_skeletons_are_consistent(skeleton):
    count = len(skeleton.joints)
    assert sorted(skeleton.mirror) == list(range(count))
    assert all(skeleton.mirror[skeleton.mirror[joint]] == joint for joint in range(count))
    for joint, mirrored in enumerate(skeleton.mirror):
        sided = skeleton.joints[joint].startswith(('left', 'right'))
        assert (joint != mirrored) == sided
    for group, members in skeleton.groups:
        assert all(skeleton.joints[joint].endswith(group.lower()) for joint in members)
    bones = {frozenset(bone) for bone in skeleton.bones}
    mirrored = {frozenset(skeleton.mirror[joint] for joint in bone) for bone in bones}
    assert bones == mirrored and len(bones) == len(skeleton.bones)
    assert frozenset().union(*bones) == set(range(count))


def test_penn_actions_mirror():
    assert PENN_ACTION.mirror == (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11)


def test_human36ms_mirror():
    assert HUMAN36M.mirror == (5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10)


@pytest.fixture
def person():
    """Joints of three frames with a torso of 100 pixels, and full visibility."""
    joints = np.random.default_rng(0).uniform(0, 300, (3, 13, 2))
    joints[:, [1, 2]] = [150, 100]
    joints[:, [7, 8]] = [150, 200]
    return joints, np.ones((3, 13))


def test_a_joint_is_right_up_to_a_fifth_of_the_torso(person):
    joints, visibility = person
    predictions = joints.copy()
    predictions[:, 5, 0] += [19.9, 20.1, 100.0]
    scores = metrics.pck(predictions, joints, visibility, skeleton=PENN_ACTION)
    assert scores['Wrist'] == pytest.approx(100 * (1 / 3 + 1) / 2)
    assert scores['Head'] == scores['Ankle'] == 100
    assert scores['mPCK'] == pytest.approx(100 * 37 / 39)


def test_threshold_can_be_given(person):
    joints, visibility = person
    predictions = joints + [15.0, 0.0]
    at = [
        metrics.pck(predictions, joints, visibility, skeleton=PENN_ACTION, threshold=threshold)
        for threshold in (0.1, 0.2)
    ]
    assert (at[0]['mPCK'], at[1]['mPCK']) == (0, 100)


def test_invisible_joints_do_not_count(person):
    joints, visibility = person
    predictions = joints.copy()
    predictions[:, 5] += 1000
    visibility[:, 5] = 0
    scores = metrics.pck(predictions, joints, visibility, skeleton=PENN_ACTION)
    assert scores['mPCK'] == scores['Wrist'] == 100


def test_group_without_visible_joints_is_nan(person):
    joints, visibility = person
    visibility[:, [5, 6]] = 0
    scores = metrics.pck(joints, joints, visibility, skeleton=PENN_ACTION)
    assert np.isnan(scores['Wrist']) and scores['mPCK'] == 100


def test_bbc_pose_is_right_up_to_twelve_of_its_pixels():
    joints = np.zeros((2, 7, 2))
    predictions = joints + np.array([[[11.9, 0.0]], [[0.0, 12.1]]])
    scores = metrics.pck(predictions, joints, np.ones((2, 7)), skeleton=BBC_POSE)
    assert set(scores.values()) == {50.0}


def test_wrong_shape_is_named(person):
    joints, visibility = person
    with pytest.raises(ValueError, match=r'predictions have shape \(2, 13, 2\), expected \(3, 13'):
        metrics.pck(joints[:2], joints, visibility, skeleton=PENN_ACTION)
    with pytest.raises(ValueError, match='human36m'):
        metrics.pck(joints, joints, visibility, skeleton=HUMAN36M)


def test_prediction_that_is_not_finite_is_named(person):
    joints, visibility = person
    predictions = joints.copy()
    predictions[2, 6, 1] = np.nan
    with pytest.raises(ValueError, match='right wrist in frame 2 is not finite'):
        metrics.pck(predictions, joints, visibility, skeleton=PENN_ACTION)


def test_people_are_scored_one_by_one_and_pooled_by_frames(person):
    joints, visibility = person
    people = [joints, joints[:1] + 1000, joints]
    truth, visible = [joints, joints[:1], joints], [visibility, visibility[:1], 0 * visibility]
    scores = metrics.people_pck(people, truth, visible, skeleton=PENN_ACTION)
    np.testing.assert_array_equal(scores, [100, 0, np.nan])
    pooled = metrics.pooled_pck(people, truth, visible, skeleton=PENN_ACTION)
    assert pooled['mPCK'] == 75


def test_people_must_be_the_same_everywhere(person):
    joints, visibility = person
    with pytest.raises(ValueError, match='found 2 people in predictions, 1 in joints'):
        metrics.people_pck([joints] * 2, [joints], [visibility], skeleton=PENN_ACTION)


def test_comparison_counts_people_with_a_score():
    before, after = [50, 60, 70, np.nan, 80], [55, 60, 60, 90, 81]
    found = metrics.compare_people(before, after)
    assert (found.people, found.improved, found.hurt, found.unchanged) == (4, 2, 1, 1)
    assert found.mean_gain == pytest.approx(-1.0)
    assert found.interval[0] < -1 < found.interval[1]


def test_interval_is_that_of_the_mean():
    gain = np.random.default_rng(0).normal(2.0, 5.0, 400)
    found = metrics.compare_people(np.zeros(400), gain)
    half_width = 1.96 * gain.std(ddof=1) / np.sqrt(400)
    expected = (gain.mean() - half_width, gain.mean() + half_width)
    np.testing.assert_allclose(found.interval, expected, atol=0.05)


def test_interval_is_reproducible_and_grows_with_confidence():
    before, after = np.zeros(10), np.arange(10.0)
    wide, again = (metrics.compare_people(before, after, confidence=0.99) for _ in range(2))
    narrow = metrics.compare_people(before, after, confidence=0.5)
    assert wide == again
    assert wide.interval[0] < narrow.interval[0] < narrow.interval[1] < wide.interval[1]


def test_people_of_one_source_count_as_one_and_strangers_alone():
    gain = np.array([4.0, -1.0, 2.0, np.nan, 7.0])
    one_each = metrics.compare_people(np.zeros(5), gain)
    assert one_each == metrics.compare_people(np.zeros(5), gain, sources=list('abcde'))
    twice = metrics.compare_people(np.zeros(10), np.tile(gain, 2), sources=list('abcde') * 2)
    assert twice.interval == pytest.approx(one_each.interval) and twice.people == 8
    alone = metrics.compare_people(np.zeros(10), np.tile(gain, 2))
    assert np.ptp(alone.interval) < 0.9 * np.ptp(twice.interval)


def test_comparison_of_different_people_is_refused():
    with pytest.raises(ValueError, match=r'\(2,\) before and \(3,\) after'):
        metrics.compare_people([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match='none of 2 people'):
        metrics.compare_people([np.nan, 2.0], [1.0, np.nan])
