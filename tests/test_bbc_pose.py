"""BBC Pose's folder: what is read from it, crops and scores as the release has them, mistakes."""

import cv2
import numpy as np
import pytest
import scipy.io

from ttp_jax import geometry
from ttp_jax.data import bbc_pose, clips
from ttp_jax.data.skeletons import BBC_POSE
from ttp_jax.results import metrics

FIELDS = ('name', 'source', 'kind', 'trainframe', 'trainjoints', 'testframe', 'testjoints')


def video(number):
    """One video's fields: three frames to train on and three others to test on, by place."""
    rng = np.random.default_rng(number)
    joints = rng.uniform([[[50]], [[50]]], [[[650]], [[430]]], (2, 2, 7, 3)).round(1)
    return ['video', 'somewhere', 'kind', [[9, 11, 40]], joints[0], [[102, 115, 131]], joints[1]]


def write_labels(root, videos):
    records = np.empty((1, len(videos)), [(name, object) for name in FIELDS[: len(videos[0])]])
    for place, fields in enumerate(videos):
        records[0, place] = tuple(np.asarray(field) for field in fields)
    scipy.io.savemat(root / 'bbcpose.mat', {'bbcpose': records})


def write_folder(root):
    """All 20 videos; pixels tell the video and the frame. Returns the fields of each video."""
    root.mkdir(exist_ok=True)
    videos = [video(number) for number in range(1, 21)]
    write_labels(root, videos)
    for number, fields in enumerate(videos, start=1):
        (root / str(number)).mkdir()
        for frame in np.reshape(fields[3] if number <= 10 else fields[5], -1):
            image = np.full((30, 40, 3), (10 * number, frame, 0), np.uint8)  # BGR
            cv2.imwrite(str(root / str(number) / f'{frame}.jpg'), image)
    return videos


@pytest.fixture
def root(tmp_path):
    write_folder(tmp_path)
    return tmp_path


def test_training_and_test_videos_are_the_first_and_the_last_ten(root):
    for split, numbers in (('train', range(1, 11)), ('test', range(11, 21))):
        found = bbc_pose.bbc_pose_clips(root, split=split)
        assert [clip.id for clip in found] == [str(number) for number in numbers]
        assert {len(clips.decoded(clip).frames) for clip in found} == {3}
    first = bbc_pose.bbc_pose_clips(root, split='test', limit=2)
    assert [clip.id for clip in first] == ['11', '12']


@pytest.mark.parametrize(('split', 'number', 'frames'), [('train', 3, 3), ('test', 14, 5)])
def test_a_clip_is_its_splits_frames_and_joints(root, split, number, frames):
    fields = video(number)
    [clip] = [c for c in bbc_pose.bbc_pose_clips(root, split=split) if c.id == str(number)]
    np.testing.assert_allclose(clip.labels.joints, fields[frames + 1].transpose(2, 1, 0), rtol=1e-6)
    assert clip.labels.visibility.shape == (3, 7) and clip.labels.visibility.all()
    means = [frame.mean(axis=(0, 1)) for frame in clip.frames]  # RGB
    expected = [[0, frame, 10 * number] for frame in np.reshape(fields[frames], -1)]
    np.testing.assert_allclose(means, expected, atol=3)


def release_crop(joints):
    """(centre, scale) as the release makes them of one frame's joints."""
    x1, y1 = np.maximum(joints.min(axis=0) - 60, 0)
    x2, y2 = np.minimum(joints.max(axis=0) + 60, (720, 480))
    scale = max(x2 - x1 + 1, y2 - y1 + 1) / 200
    center = (x1 + x2) / 2, (y1 + y2) / 2 + 15 * scale
    return np.array(center) - 1, 1.25 * scale


def test_crops_are_the_releases(root):
    clip = bbc_pose.bbc_pose_clips(root, split='test')[0]
    for joints, box in zip(clip.labels.joints, clip.boxes, strict=True):
        center, scale = geometry.crop_region(box)
        expected_center, expected_scale = release_crop(joints)
        np.testing.assert_allclose(center, expected_center, atol=1e-3)
        np.testing.assert_allclose(scale, expected_scale, rtol=1e-6)


def test_boxes_end_at_the_frame():
    joints = np.tile([[[5.0, 470.0], [700.0, 100.0]]], (2, 1, 1))
    np.testing.assert_allclose(bbc_pose.boxes_around(joints)[0], [0.5, 40.5, 720.5, 480.5])


def test_a_joint_is_right_up_to_six_pixels_at_half_the_resolution():
    joints = np.random.default_rng(0).uniform(100, 400, (4, 7, 2))
    off = np.zeros_like(joints)
    off[:, :3, 0], off[:, 3:, 1] = 11.9, 12.1
    scores = metrics.pck(joints + off, joints, np.ones((4, 7)), skeleton=BBC_POSE)
    assert scores == {
        'Head': 100,
        'Wrist': 100,
        'Elbow': 0,
        'Shoulder': 0,
        'mPCK': pytest.approx(300 / 7),
    }


def test_a_mirrored_person_has_sides_swapped():
    assert BBC_POSE.mirror == (0, 2, 1, 4, 3, 6, 5)


def expect_error(root, message, split='train'):
    with pytest.raises(ValueError, match=message) as error:
        for clip in bbc_pose.bbc_pose_clips(root, split=split):
            clips.fit_in([clip], gib=0)
    assert '\n' not in str(error.value)


def test_missing_labels_are_named(root):
    (root / 'bbcpose.mat').unlink()
    expect_error(root, 'bbcpose.mat: no such file, expected it beside the folders 1 to 20')


def test_foreign_labels_are_named(root):
    videos = [video(number) for number in range(1, 21)]
    write_labels(root, videos[:19])
    expect_error(root, 'bbcpose.mat: field bbcpose has 19 videos of 7 fields, expected 20')
    write_labels(root, [fields[:5] for fields in videos])
    expect_error(root, '20 videos of 5 fields, expected 20 of at least 7')
    scipy.io.savemat(root / 'bbcpose.mat', {'other': 1})
    expect_error(root, 'bbcpose.mat: field bbcpose is missing')
    (root / 'bbcpose.mat').write_bytes(b'nothing')
    expect_error(root, 'bbcpose.mat: not a readable .mat file')


def test_joints_that_do_not_fit_are_named(root):
    videos = [video(number) for number in range(1, 21)]
    videos[1][4] = videos[1][4][:, :6]
    write_labels(root, videos)
    expect_error(root, r'bbcpose\(2\), train joints has shape \(2, 6, 3\), expected \(2, 7, 3\)')
    videos[1] = video(2)
    videos[12][6][0, 0, 0] = np.nan
    write_labels(root, videos)
    expect_error(root, r'bbcpose\(13\), test joints holds values that are not finite', 'test')


def test_missing_frames_are_named(root):
    (root / '12' / '115.jpg').unlink()
    expect_error(root, '115.jpg: no such frame, clip 12 is labelled with 3 frames', 'test')


def test_a_test_video_that_lacks_a_frame_stops_no_other(root):
    (root / '12' / '115.jpg').unlink()
    found = bbc_pose.bbc_pose_clips(root, split='test')
    assert [len(clip.frames) for clip in found] == [3, 0, *[3] * 8]
    assert found[1].id == '12' and clips.decoded(found[2]).id == '13'
