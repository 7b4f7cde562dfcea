"""Penn Action's folders: the real ones, and every way in which they can be incomplete."""

import cv2
import numpy as np
import pytest
import scipy.io

from ttp_jax.data import clips, penn_action


def label(frames=3, train=1, **changes):
    rng = np.random.default_rng(frames)
    fields = {
        'action': 'squat',
        'x': rng.uniform(1, 30, (frames, 13)),
        'y': rng.uniform(1, 20, (frames, 13)),
        'visibility': np.ones((frames, 13), np.uint8),
        'train': train,
        'bbox': np.tile([2.0, 3.0, 20.0, 18.0], (frames, 1)),
        'dimensions': [24, 32, frames],
        'nframes': frames,
    } | changes
    return {name: value for name, value in fields.items() if value is not None}


def write_video(root, name, fields):
    scipy.io.savemat(root / 'labels' / f'{name}.mat', fields)
    folder = root / 'frames' / name
    folder.mkdir()
    for index in range(int(fields.get('nframes', 3))):
        image = np.full((24, 32, 3), (10 * index, 0, 200), np.uint8)  # BGR: mostly red
        cv2.imwrite(str(folder / f'{index + 1:06d}.jpg'), image)


@pytest.fixture
def root(tmp_path):
    """Three small videos in Penn Action's layout; the second is a test video."""
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'frames').mkdir()
    for name, fields in {'0001': label(), '0002': label(4, -1), '0003': label(5)}.items():
        write_video(tmp_path, name, fields)
    return tmp_path


def test_split_holds_its_videos_in_order(root):
    train, test = (penn_action.penn_action_clips(root, split=split) for split in ('train', 'test'))
    assert [clip.id for clip in train] == ['0001', '0003']
    assert [clip.id for clip in test] == ['0002']
    assert [len(clip.frames) for clip in train] == [3, 5]


def test_limit_takes_the_first(root):
    found = penn_action.penn_action_clips(root, split='train', limit=1)
    assert [clip.id for clip in found] == ['0001']


def test_clip_is_what_the_label_says(root):
    fields = label(4, -1)
    [clip] = penn_action.penn_action_clips(root, split='test')
    np.testing.assert_allclose(clip.labels.joints[..., 0], fields['x'], rtol=1e-6)
    np.testing.assert_allclose(clip.labels.joints[..., 1], fields['y'], rtol=1e-6)
    np.testing.assert_array_equal(clip.boxes, fields['bbox'])
    np.testing.assert_array_equal(clip.labels.visibility, fields['visibility'])
    clips.decoded(clip)


def test_frames_are_rgb_in_order(root):
    [clip] = penn_action.penn_action_clips(root, split='test')
    means = np.array([frame.mean(axis=(0, 1)) for frame in clip.frames])
    np.testing.assert_allclose(means, [[200, 0, 10 * index] for index in range(4)], atol=3)
    assert clip.frames[0].dtype == np.uint8 and clip.frames[0].shape == (24, 32, 3)
    assert len(clip.frames[1:3]) == 2
    np.testing.assert_array_equal(clip.frames[1:3][0], clip.frames[1])


def test_missing_last_box_is_the_one_before(root):
    boxes = np.array([[1.0, 1, 9, 9], [2, 2, 8, 8]])
    path = root / 'labels' / '0001.mat'
    scipy.io.savemat(path, label(bbox=boxes))
    found = penn_action.read_labels(path).boxes
    np.testing.assert_array_equal(found, boxes[[0, 1, 1]])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'visibility': None}, 'field visibility is missing'),
        ({'nframes': None}, 'field nframes is missing'),
        ({'nframes': 7}, r'field x has shape \(3, 13\), expected \(7, 13\)'),
        ({'y': np.zeros((3, 12))}, r'field y has shape \(3, 12\), expected \(3, 13\)'),
        ({'x': np.full((3, 13), np.nan)}, 'field x holds values that are not finite'),
        ({'bbox': np.zeros((1, 4))}, r'field bbox has shape \(1, 4\), expected \(3, 4\)'),
        ({'visibility': np.full((3, 13), 2)}, 'field visibility holds values other than 0 and 1'),
        ({'train': 3}, r'field train is 3, expected 1 \(train\) or -1 \(test\)'),
        ({'train': [1, 1]}, r'field train has shape \(1, 2\), expected one value'),
    ],
)
def test_bad_label_names_file_and_field(root, changes, message):
    scipy.io.savemat(root / 'labels' / '0001.mat', label(**changes))
    expect_error(root, '0001.mat: ' + message)


def expect_error(root, message, split='train'):
    with pytest.raises(ValueError, match=message) as error:
        penn_action.penn_action_clips(root, split=split)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('content', [b'', b'not a mat file', b'MATLAB 5.0 MAT-file' + bytes(300)])
def test_unreadable_label_is_named(root, content):
    (root / 'labels' / '0003.mat').write_bytes(content)
    expect_error(root, '0003.mat')


def test_truncated_label_is_named(root):
    path = root / 'labels' / '0003.mat'
    path.write_bytes(path.read_bytes()[:700])
    expect_error(root, '0003.mat')


def test_missing_folders_are_named(root, tmp_path):
    expect_error(tmp_path / 'nowhere', 'nowhere: no such folder')
    (root / 'frames').rename(root / 'images')
    expect_error(root, 'frames: no such folder')
    (root / 'labels').rename(root / 'annotations')
    expect_error(root, 'labels: no such folder')


def test_missing_frames_are_named_before_any_is_decoded(root):
    (root / 'frames' / '0003' / '000004.jpg').unlink()
    expect_error(root, '000004.jpg: no such frame, clip 0003 is labelled with 5 frames')
    (root / 'frames' / '0001').rename(root / 'frames' / '0009')
    expect_error(root, '0001: no such folder, expected the 3 frames of clip 0001')


def test_first_frame_that_is_no_jpeg_is_named_at_once(root):
    (root / 'frames' / '0003' / '000001.jpg').write_bytes(b'<html>')
    expect_error(root, "000001.jpg: starts with b'<ht', expected a JPEG")


def test_later_frame_that_does_not_decode_is_named_when_read(root):
    (root / 'frames' / '0001' / '000002.jpg').write_bytes(b'\xff\xd8\xff')
    clip = penn_action.penn_action_clips(root, split='train')[0]
    with pytest.raises(ValueError, match='000002.jpg: cannot be read as an image'):
        clips.stack_clip(clip)


def test_clip_of_one_frame_is_named(root):
    write_video(root, '0004', label(1))
    expect_error(root, r'clip 0004: found 1 frame\(s\)')


def test_empty_split_is_an_error(root):
    (root / 'labels' / '0002.mat').unlink()
    expect_error(root, 'labels: found no label of the test split', split='test')


def test_unknown_split_and_limit_are_errors(root):
    expect_error(root, "split is 'val', expected 'train' or 'test'", split='val')
    with pytest.raises(ValueError, match='limit is 0'):
        penn_action.penn_action_clips(root, split='train', limit=0)


def test_real_clips_are_read(shared_dir):
    folder = shared_dir / 'real_clips'
    if not folder.is_dir():
        pytest.skip(f'no real clips: {folder} is missing (--shared-dir)')
    train, test = (
        penn_action.penn_action_clips(folder, split=split) for split in ('train', 'test')
    )
    assert len(train) >= 192 and len(test) == 70  # more have been added to train on
    assert sum(len(clip.frames) for clip in train + test) >= 9349
    bank = clips.stack_clips(test[:3])
    assert len(bank.frames) == sum(len(clip.frames) for clip in test[:3])
    assert bank.frames.std() > 20


@pytest.fixture(scope='module')
def labels(shared_dir):
    folder = shared_dir / 'penn_action' / 'labels'
    if not folder.is_dir():
        pytest.skip(f'no labels of Penn Action: {folder} is missing (--shared-dir)')
    return {path.stem: penn_action.read_labels(path) for path in sorted(folder.glob('*.mat'))}


def test_all_of_penn_actions_labels_are_read(labels):
    splits = [label.split for label in labels.values()]
    assert (splits.count('train'), splits.count('test')) == (1258, 1068)
    assert sum(len(label.joints) for label in labels.values()) == 163_841


def test_every_frame_of_penn_action_has_a_valid_box(labels):
    for name, label in labels.items():
        frames = np.zeros((len(label.joints), 1, 1, 3), np.uint8)
        clip = clips.Clip(name, frames, label.boxes, clips.Labels(label.joints, label.visibility))
        assert clips.fit_in([clip], gib=1)


def test_frames_of_penn_action_missing_is_an_error(labels, shared_dir):
    if (shared_dir / 'penn_action' / 'frames').exists():
        pytest.skip('the frames of Penn Action are here')
    expect_error(shared_dir / 'penn_action', 'frames: no such folder')


def test_a_teachers_confidence_is_the_visibility_of_what_it_saw(root):
    sure = np.full((3, 13), 0.9)
    sure[1], visible = 0.5, np.ones((3, 13))
    visible[2, 4] = 0
    path = root / 'labels' / '0001.mat'
    scipy.io.savemat(path, label(confidence=sure, visibility=visible))
    expected = np.full((3, 13), 0.9, np.float32)
    expected[1] = expected[2, 4] = 0
    np.testing.assert_allclose(penn_action.read_labels(path).visibility, expected)
    scipy.io.savemat(path, label(confidence=2 * sure))
    with pytest.raises(ValueError, match='0001.mat: field confidence holds values outside of 0'):
        penn_action.read_labels(path)
