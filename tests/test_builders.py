"""Prepared data is what the folders' readers give, on small folders and on all the real data."""

import pathlib
import sys

import cv2
import jax
import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
import test_bbc_pose
import test_human36m
import test_penn_action

from ttp_jax.data import (
    builders,
    clips,
    images,
    pairs,
    penn_action,
    prepare,
    prepared,
    sets,
    stream,
)


@pytest.fixture(autouse=True, scope='module')
def without_tensorflow():
    """Nothing here imports TensorFlow, not even where it is installed."""
    before = 'tensorflow' in sys.modules
    yield
    assert before or 'tensorflow' not in sys.modules


def write_penn_action(root):
    (root / 'labels').mkdir(parents=True)
    (root / 'frames').mkdir()
    boxes = np.array([[1.0, 1, 9, 9], [2, 2, 8, 8]])  # one too few
    for name, fields in {
        '0001': test_penn_action.label(),
        '0002': test_penn_action.label(4, -1),
        '0003': test_penn_action.label(bbox=boxes),
    }.items():
        test_penn_action.write_video(root, name, fields)
    for path in (root / 'frames' / '0003').iterdir():  # of another size than the others
        cv2.imwrite(str(path), np.full((20, 36, 3), 90, np.uint8))


WRITERS = {
    'penn_action': write_penn_action,
    'human36m': test_human36m.write_folder,
    'bbc_pose': test_bbc_pose.write_folder,
}


@pytest.fixture(scope='module', params=WRITERS)
def written(request, tmp_path_factory):
    """(name, folder, data_dir) of each data set, small and prepared."""
    folder = tmp_path_factory.mktemp(request.param)
    WRITERS[request.param](folder / 'raw')
    with pytest.MonkeyPatch.context() as patch:
        # As if records were too many for TFDS to keep a split in memory.
        patch.setattr('tensorflow_datasets.core.shuffle.MAX_MEM_BUFFER_SIZE', 1)
        prepare.prepare(request.param, manual_dir=folder / 'raw', data_dir=folder / 'data')
    return request.param, folder / 'raw', folder / 'data'


def both(name, raw, data_dir, split):
    """The folder's clips and the prepared ones."""
    return sets.RECORDED[name][0](raw, split=split), prepared.clips(name, data_dir, split=split)


def assert_same_labels(found, expected):
    assert [clip.id for clip in found] == [clip.id for clip in expected]
    for a, b in zip(found, expected, strict=True):
        assert len(a.frames) == len(b.frames) and a.frames.size == b.frames.size
        np.testing.assert_array_equal(a.boxes, b.boxes)
        for field in ('joints', 'visibility'):
            mine, theirs = (getattr(clip.labels, field) for clip in (a, b))
            assert mine.dtype == theirs.dtype == np.float32
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize('split', clips.SPLITS)
def test_prepared_clips_are_those_of_the_folder(written, split):
    direct, found = both(*written, split)
    assert_same_labels(found, direct)
    for a, b in zip(found, direct, strict=True):
        np.testing.assert_array_equal(clips.stack_clip(a), clips.stack_clip(b))
    assert [clip.id for clip in prepared.clips(written[0], written[2], split=split, limit=1)] == [
        direct[0].id
    ]


def test_a_frames_record_stands_for_itself(written):
    name, raw, data_dir = written
    direct = sets.RECORDED[name][0](raw, split='train')
    records = prepared.frames(name, data_dir, split='train')
    assert len(records) == sum(len(clip.frames) for clip in direct)
    record, clip = records[4], direct[1]  # of the second clip, whose first record is number 3
    assert (record['clip'].decode(), record['clip_start'], record['clip_length']) == (
        clip.id,
        3,
        len(clip.frames),
    )
    np.testing.assert_array_equal(images.decode(record['image'], ''), clip.frames[1])
    np.testing.assert_array_equal(record['joints'], clip.labels.joints[1])
    np.testing.assert_array_equal(record['visibility'], clip.labels.visibility[1])
    np.testing.assert_array_equal(record['box'], clip.boxes[1])


def test_tfds_finds_the_data_by_name_and_decodes_the_same_pixels(written):
    name, raw, data_dir = written
    source = tfds.data_source(f'{name}/frames', data_dir=data_dir, split='train', download=False)
    clip = sets.RECORDED[name][0](raw, split='train')[0]
    np.testing.assert_array_equal(source[2]['image'], clip.frames[2])


def test_the_program_takes_a_folder_or_prepared_data(written):
    name, raw, data_dir = written
    options = {'train_people': 1, 'test_people': 0, 'seed': 0, 'motion': ''}
    direct = sets.load(name, root=str(raw), prepared='', **options)
    found = sets.load(name, root='', prepared=str(data_dir), **options)
    assert len(found.train) == 1 and found.skeleton.name == name
    assert found.skeleton == direct.skeleton
    assert_same_labels(found.train, direct.train)
    assert_same_labels(found.test, direct.test)
    with pytest.raises(ValueError, match=f'config.data.root is not set.*{name}'):
        sets.load(name, root='', **options)


def test_streamed_pairs_are_those_taken_from_memory(written):
    name, raw, data_dir = written
    direct, found = both(name, raw, data_dir, 'train')
    assert_streamed(found, clips.stack_clips(direct), first=2, steps=6)


def assert_streamed(people, bank, *, first, steps, workers=0):
    draw = {'batch': 5, 'seed': 7}
    read = list(stream.batches(people, first=first, steps=steps, workers=workers, **draw))
    assert len(read) == steps - first
    for step, found in enumerate(read, start=first):
        expected = pairs.take(bank, *pairs.draw_indices(bank, step=step, **draw))
        jax.tree.map(np.testing.assert_array_equal, found, jax.tree.map(np.asarray, expected))


def test_a_worker_process_streams_the_same(tmp_path):
    write_penn_action(tmp_path / 'raw')
    prepare.prepare('penn_action', manual_dir=tmp_path / 'raw', data_dir=tmp_path / 'data')
    direct, found = both('penn_action', tmp_path / 'raw', tmp_path / 'data', 'train')
    assert_streamed(found, clips.stack_clips(direct), first=0, steps=3, workers=1)


def test_a_streamed_frame_that_does_not_decode_is_named(tmp_path):
    write_penn_action(tmp_path)
    (tmp_path / 'frames' / '0001' / '000002.jpg').write_bytes(b'\xff\xd8\xff')
    people = penn_action.penn_action_clips(tmp_path, split='train')
    with pytest.raises(ValueError, match='000002.jpg: cannot be read as an image'):
        list(stream.batches(people, first=0, steps=3, batch=8, seed=0))


# --- mistakes --------------------------------------------------------------------------------


def run(arguments, capsys):
    """(exit message or None, output) of the command."""
    try:
        prepare.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return str(stop.code), capsys.readouterr().out
    return None, capsys.readouterr().out


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('penn_action', ['labels/0001.mat', 'frames/0001/000001.jpg']),
        ('human36m', ['HM36Vid_trainfull_all_cache', 'keypoint_db_sample-1.pkl', 'images']),
        ('bbc_pose', ['bbcpose.mat', '1/1.jpg']),
    ],
)
def test_a_missing_folder_is_told_with_what_belongs_there(tmp_path, capsys, name, words):
    error, _ = run([name, f'--manual_dir={tmp_path / "nowhere"}', f'--data_dir={tmp_path}'], capsys)
    assert error.startswith('error: ') and '\n' not in error
    for word in [str(tmp_path / 'nowhere'), *words]:
        assert word in error
        assert word in ' '.join(builders.BUILDERS[name].__doc__.split()) or word.startswith('/')


def test_the_command_says_what_it_wrote_and_does_not_write_it_twice(tmp_path, capsys):
    write_penn_action(tmp_path / 'raw')
    folders = {'manual_dir': tmp_path / 'raw', 'data_dir': tmp_path / 'data'}
    arguments = ['penn_action', *(f'--{name}={folder}' for name, folder in folders.items())]
    error, output = run(arguments, capsys)
    assert error is None
    assert output.strip().endswith('frames: train 6, test 4; clips: train 2, test 1')
    error, _ = run(arguments, capsys)
    assert (
        error == f'error: {tmp_path}/data/penn_action: is there already; delete it to prepare '
        'penn_action anew'
    )


def test_a_frame_that_does_not_decode_is_named_and_nothing_is_prepared(tmp_path):
    write_penn_action(tmp_path / 'raw')
    (tmp_path / 'raw' / 'frames' / '0003' / '000002.jpg').write_bytes(b'\xff\xd8\xff')
    with pytest.raises(ValueError, match='0003/000002.jpg: cannot be read as an image'):
        prepare.prepare('penn_action', manual_dir=tmp_path / 'raw', data_dir=tmp_path / 'data')
    assert not list((tmp_path / 'data').rglob('*array_record*'))
    with pytest.raises(ValueError, match='no such folder.*ttp_jax.data.prepare penn_action'):
        prepared.clips('penn_action', tmp_path / 'data', split='train')


def test_frames_and_labels_of_different_folders_are_refused(tmp_path):
    write_penn_action(tmp_path / 'raw')
    prepare.prepare('penn_action', manual_dir=tmp_path / 'raw', data_dir=tmp_path / 'data')
    (tmp_path / 'data' / 'penn_action' / 'clips').rename(tmp_path / 'old')
    (tmp_path / 'raw' / 'labels' / '0001.mat').unlink()
    prepare.prepare('penn_action', manual_dir=tmp_path / 'raw', data_dir=tmp_path / 'data')
    with pytest.raises(ValueError, match=r'penn_action \(train\) has 6 frames, its labels 3'):
        prepared.clips('penn_action', tmp_path / 'data', split='train')


def test_unknown_data_sets_and_splits_are_errors(tmp_path):
    with pytest.raises(ValueError, match="no data set 'coco'; known: penn_action, human36m, bbc"):
        prepared.clips('coco', tmp_path, split='train')
    with pytest.raises(ValueError, match="split is 'val'"):
        prepared.clips('penn_action', tmp_path, split='val')


# --- the real data ---------------------------------------------------------------------------


def test_real_clips_are_the_same_prepared(shared_dir, tmp_path):
    folder = shared_dir / 'real_clips'
    if not folder.is_dir():
        pytest.skip(f'no real clips: {folder} is missing (--shared-dir)')
    prepare.prepare('penn_action', manual_dir=folder, data_dir=tmp_path)
    for split, people in (('train', 192), ('test', 70)):  # at least: clips have been added
        direct, found = both('penn_action', folder, tmp_path, split)
        assert len(found) == len(direct) >= people
        assert_same_labels(found, direct)
        for a, b in zip(found, direct, strict=True):
            assert all(a.frames.encoded(t) == b.frames.encoded(t) for t in range(len(b.frames)))
            middle = len(b.frames) // 2
            np.testing.assert_array_equal(a.frames[middle], b.frames[middle])


@pytest.fixture
def all_of_penn_action(shared_dir, tmp_path):
    """All of Penn Action's labels, and for every frame the same small picture."""
    folder = shared_dir / 'penn_action' / 'labels'
    if not folder.is_dir():
        pytest.skip(f'no labels of Penn Action: {folder} is missing (--shared-dir)')
    root = tmp_path / 'raw'
    picture = root / 'pictures' / '000001.jpg'
    picture.parent.mkdir(parents=True)
    cv2.imwrite(str(picture), np.full((1, 1, 3), 99, np.uint8))
    for index in range(2, 664):  # as many frames as the longest video has
        picture.with_name(f'{index:06d}.jpg').symlink_to(picture)
    (root / 'labels').symlink_to(folder)
    (root / 'frames').mkdir()
    for label in folder.glob('*.mat'):
        (root / 'frames' / label.stem).symlink_to(picture.parent)
    return root


def test_all_of_penn_actions_labels_are_the_same_prepared(all_of_penn_action, tmp_path):
    builder = builders.create('penn_action', builders.CLIPS, tmp_path / 'data')
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=all_of_penn_action)
    )
    rows = {
        split: list(prepared.labels('penn_action', tmp_path / 'data', split=split))
        for split in clips.SPLITS
    }
    assert {split: len(found) for split, found in rows.items()} == {'train': 1258, 'test': 1068}
    frames = {split: sum(len(row['joints']) for row in found) for split, found in rows.items()}
    assert frames == {'train': 87_543, 'test': 76_298} and sum(frames.values()) == 163_841
    short = set()
    for row in rows['train'] + rows['test']:
        path = pathlib.Path(all_of_penn_action / 'labels' / f'{row["clip"].decode()}.mat')
        fields = scipy.io.loadmat(path)
        boxes = fields['bbox'].astype(np.float32)
        np.testing.assert_array_equal(row['joints'][..., 0], fields['x'].astype(np.float32))
        np.testing.assert_array_equal(row['joints'][..., 1], fields['y'].astype(np.float32))
        np.testing.assert_array_equal(row['visibility'], fields['visibility'])
        np.testing.assert_array_equal(row['boxes'][: len(boxes)], boxes)
        if len(boxes) < len(row['boxes']):
            short.add(path.stem)
            np.testing.assert_array_equal(row['boxes'][len(boxes) :], boxes[-1:])
    assert short == {'1154', '1865'}
