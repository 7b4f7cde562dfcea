"""Human3.6M as the release has it: what is read, crops as the release's, mistakes."""

import os
import pickle

import cv2
import numpy as np
import pytest

from ttp_jax import geometry
from ttp_jax.data import clips, human36m
from ttp_jax.data.skeletons import HUMAN36M

TRAIN = [(1, 2, 1, 1), (1, 2, 1, 2), (5, 3, 1, 1), (6, 3, 2, 4), (7, 4, 1, 1), (8, 16, 2, 4)]
TEST = [(9, 2, 1, 1), (9, 16, 2, 4), (11, 2, 1, 1), (11, 16, 2, 4)]


def folder_name(key):
    return 's_{:02d}_act_{:02d}_subact_{:02d}_ca_{:02d}'.format(*key)


def image_size(key):
    """(height, width): camera 1 sees two rows more, as in the real data."""
    return (32, 30) if key[3] == 1 else (30, 30)


def sequence(key, frames=3):
    """The labels of one sequence; every fourth joint is hidden."""
    rng = np.random.default_rng(key)
    name = folder_name(key)
    return [
        {
            'image': f'../../data/hm36/images/{name}/{name}_{5 * t + 1:06d}.jpg',
            'joints_3d': rng.uniform(1, 29, (16, 3)),
            'joints_3d_vis': np.repeat(np.arange(16) % 4 > 0, 3).reshape(16, 3).astype(np.float64),
            'center_x': np.float64(rng.uniform(10, 20)),
            'center_y': rng.uniform(10, 20),
            'width': rng.uniform(5, 20),
            'height': rng.uniform(5, 20),
        }
        for t in range(frames)
    ]


def label_path(root, split):
    name = {'train': 'HM36Vid_trainfull_all', 'test': 'HM36Vid_validfull_all'}[split]
    return root / f'{name}_cache' / f'{name}_w128xh128_keypoint_db_sample-1.pkl'


def write_labels(root, split, labels, protocol=2):
    path = label_path(root, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(labels, protocol=protocol))


def write_folder(root):
    """Ten sequences of three frames; pixels tell the subject, the camera and the frame."""
    for split, keys in (('train', TRAIN), ('test', TEST)):
        labels = {key: sequence(key) for key in keys}
        write_labels(root, split, labels)
        for key in keys:
            (root / 'images' / folder_name(key)).mkdir(parents=True)
            for t, label in enumerate(labels[key]):
                path = root / label['image'].removeprefix('../../data/hm36/')
                pixel = (10 * key[0], 40 * key[3], 50 * t)
                cv2.imwrite(str(path), np.full((*image_size(key), 3), pixel, np.uint8))


@pytest.fixture
def root(tmp_path):
    write_folder(tmp_path)
    return tmp_path


def test_one_clip_per_sequence_to_train_on_and_per_subject_to_test_on(root):
    train, test = (human36m.human36m_clips(root, split=split) for split in ('train', 'test'))
    assert [clip.id for clip in train] == [folder_name(key) for key in TRAIN]
    assert [len(clips.decoded(clip).frames) for clip in train] == [3] * 6
    assert [clip.id for clip in test] == ['S9', 'S11']
    assert [len(clips.decoded(clip).frames) for clip in test] == [6, 6]
    assert [clip.id for clip in human36m.human36m_clips(root, split='test', limit=1)] == ['S9']


def test_a_clip_is_what_the_labels_say(root):
    labels = [label for key in TEST[2:] for label in sequence(key)]
    clip = human36m.human36m_clips(root, split='test')[1]
    for t, label in enumerate(labels):
        np.testing.assert_allclose(clip.labels.joints[t], label['joints_3d'][:, :2], rtol=1e-6)
        np.testing.assert_array_equal(clip.labels.visibility[t], label['joints_3d_vis'][:, 0])
    means = [np.array(frame)[:30].mean(axis=(0, 1)) for frame in clip.frames]  # RGB
    expected = [[50 * t, 40 * camera, 110] for camera in (1, 4) for t in range(3)]
    np.testing.assert_allclose(means, expected, atol=3)


def test_frames_of_a_subject_have_one_size_and_nothing_is_added_but_zeros(root):
    clip = human36m.human36m_clips(root, split='test')[0]
    stacked = clips.stack_clip(clip)
    assert stacked.shape == (6, 32, 30, 3)
    lit = stacked.any(axis=-1)
    assert lit[:3].all() and lit[3:, :30].all() and not lit[3:, 30:].any()
    camera_4 = human36m.human36m_clips(root, split='train')[1]
    assert clips.stack_clip(camera_4).shape == (3, 30, 30, 3)


def test_crops_are_the_releases(root):
    clip = human36m.human36m_clips(root, split='train')[0]
    for label, box in zip(sequence(TRAIN[0]), clip.boxes, strict=True):
        scale = max(label['width'], label['height']) / 200
        center = label['center_x'], label['center_y'] + 15 * scale
        found_center, found_scale = geometry.crop_region(box, subtract_one=False)
        np.testing.assert_allclose(found_center, center, atol=1e-4)
        np.testing.assert_allclose(found_scale, 1.25 * scale, rtol=1e-5)


def test_a_mirrored_person_has_sides_swapped():
    pairs = [(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)]
    expected = list(range(16))
    for a, b in pairs:
        expected[a], expected[b] = b, a
    assert HUMAN36M.mirror == tuple(expected)


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_labels_of_any_age_are_read(root, protocol):
    write_labels(root, 'test', {key: sequence(key) for key in TEST}, protocol)
    path = label_path(root, 'test')
    old = path.read_bytes().replace(b'numpy._core', b'numpy.core') if protocol < 4 else None
    before = human36m.human36m_clips(root, split='test')[0].labels.joints
    if old:
        assert b'numpy.core' in old
        path.write_bytes(old)
    np.testing.assert_array_equal(
        human36m.human36m_clips(root, split='test')[0].labels.joints, before
    )


def test_another_number_of_test_frames_than_the_releases_is_told(root, caplog):
    human36m.human36m_clips(root, split='test')
    assert 'found 6 frames of S9, the release has 1652' in caplog.text


def expect_error(root, message, split='train'):
    with pytest.raises(ValueError, match=message) as error:
        for clip in human36m.human36m_clips(root, split=split):
            clips.fit_in([clip], gib=0)
    assert '\n' not in str(error.value)


class Intruder:
    def __reduce__(self):
        return os.mkdir, ('intruder',)


def test_a_pickle_that_wants_something_run_is_refused(root, monkeypatch):
    monkeypatch.chdir(root)
    write_labels(root, 'train', {key: [Intruder()] for key in TRAIN})
    expect_error(root, r'sample-1.pkl: not a readable label file \(it asks for \w+.mkdir')
    assert not (root / 'intruder').exists()


def test_missing_and_foreign_label_files_are_named(root):
    label_path(root, 'train').write_bytes(b'nothing')
    expect_error(root, 'trainfull_all_w128xh128_keypoint_db_sample-1.pkl: not a readable')
    write_labels(root, 'train', [1, 2])
    expect_error(root, r'sample-1.pkl: expected a dict from \(subject, action, subaction, camera\)')
    label_path(root, 'train').unlink()
    expect_error(root, 'trainfull_all_w128xh128_keypoint_db_sample-1.pkl: no such file, expected')


def test_subjects_of_the_other_split_are_refused(root):
    write_labels(root, 'test', {key: sequence(key) for key in TEST + TRAIN[:1]})
    expect_error(root, r'found subjects \[1, 9, 11\], expected \[9, 11\]', 'test')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'joints_3d': np.zeros((17, 3))}, r'joints_3d has shape \(17, 3\), expected \(16, 3\)'),
        ({'joints_3d': np.full((16, 3), np.nan)}, 'joints_3d holds values that are not finite'),
        ({'joints_3d_vis': np.full((16, 3), 0.5)}, 'joints_3d_vis holds values other than 0 and 1'),
        ({'width': None}, 'field width is missing'),
        ({'image': '/elsewhere/1.jpg'}, "field image is '/elsewhere/1.jpg', expected"),
        ({'image': '../../secret/1.jpg'}, 'field image is .*secret'),
    ],
)
def test_bad_labels_name_the_file_the_clip_and_the_field(root, change, message):
    labels = {key: sequence(key) for key in TRAIN}
    changed = labels[TRAIN[2]][1] | change
    labels[TRAIN[2]][1] = {name: value for name, value in changed.items() if value is not None}
    write_labels(root, 'train', labels)
    expect_error(root, r'sample-1.pkl: clip s_05_act_03_subact_01_ca_01: .*' + message)


def test_missing_images_are_named(root):
    name = folder_name(TEST[3])
    (root / 'images' / name / f'{name}_000006.jpg').unlink()
    expect_error(root, f'{name}_000006.jpg: no such frame, clip S11 is labelled with 6', 'test')
    other, lacking = human36m.human36m_clips(root, split='test')
    assert clips.decoded(other).id == 'S9' and (lacking.id, len(lacking.frames)) == ('S11', 0)
    (root / 'images').rename(root / 'pictures')
    expect_error(root, 'no such folder, expected the 3 frames of clip s_01_act_02')
