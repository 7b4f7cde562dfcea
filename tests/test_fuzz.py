"""Spoiled input that once stopped a whole job or ended in a traceback, and more, spoiled anew."""

import json
import random

import numpy as np
import pytest
import scipy.io

from experiments.fuzz import __main__ as fuzz
from experiments.fuzz import spoil, surfaces, templates
from ttp_jax.data import bbc_pose, human36m, penn_action, prepared
from ttp_jax.data.people import tracks
from ttp_jax.files import predictions
from ttp_jax.results import rows
from ttp_jax.run import isolation, resume


def usable(people):
    return isolation.usable(people, gib=1, strict=False)


@pytest.fixture
def root(tmp_path):
    return templates.penn_action(tmp_path / 'penn_action')


@pytest.mark.parametrize(
    'content', [b'', spoil.FOREIGN['HDF5'], b'MATLAB 5.0 MAT-file' + bytes(300)]
)
def test_a_label_that_cannot_be_read_is_its_person_s_failure_alone(root, content):
    (root / 'labels' / '0002.mat').write_bytes(content)
    found, refused = usable(penn_action.penn_action_clips(root, split='test'))
    assert [clip.id for clip in found] == ['0001', '0003', '0004']
    assert 'labels/0002.mat: not a readable .mat file' in refused['0002']
    with pytest.raises(ValueError, match=r'0002.mat: not a readable .mat file'):
        penn_action.penn_action_clips(root, split='train')


def test_labels_that_cannot_be_are_their_person_s_failure_alone(root):
    path = root / 'labels' / '0003.mat'
    fields = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith('__')}
    for name, value in {'nframes': np.nan, 'x': 'text', 'bbox': [], 'train': [[1, 2]]}.items():
        scipy.io.savemat(path, fields | {name: value})
        found, refused = usable(penn_action.penn_action_clips(root, split='test'))
        assert [clip.id for clip in found] == ['0001', '0002', '0004'], name
        assert f'0003.mat: field {name} ' in refused['0003']


@pytest.mark.parametrize(('at', 'value'), [(184, 255), (217, 255), (156, 1), (248, 128)], ids=str)
def test_a_garbled_label_does_not_end_the_process(root, at, value):
    """A type, flags and a size that SciPy would follow out of its memory."""
    path = root / 'labels' / '0001.mat'
    data = bytearray(path.read_bytes())
    data[at] = value
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r'0001.mat: not a readable .mat file \((element|matrix)'):
        penn_action.read_labels(path)


def test_a_first_frame_that_is_a_folder_or_a_dead_link_is_named(tmp_path):
    root = templates.bbc_pose(tmp_path / 'bbc_pose')
    spoil._a_folder(root / '13' / '4.jpg', random.Random(0))
    spoil._a_dead_link(root / '17' / '4.jpg', random.Random(0))
    found, refused = usable(bbc_pose.bbc_pose_clips(root, split='test'))
    assert len(found) == 8
    assert '13/4.jpg: cannot be read' in refused['13'] and '17/4.jpg: cannot' in refused['17']


def test_a_prepared_clip_that_lacks_frames_is_its_person_s_failure_alone():
    label = {
        'clip': b'0007',
        'clip_start': 2,
        'size': np.zeros(2, int),
        'joints': np.zeros((3, 13, 2), np.float32),
        'visibility': np.ones((3, 13), np.float32),
        'boxes': np.zeros((3, 4), np.float32),
    }
    assert len(prepared._clip(label, [{}] * 5, 'penn_action').frames) == 3
    with pytest.raises(ValueError, match='clip 0007: its frames end at record 5, but .* has 4'):
        usable([prepared._clip(label, [{}] * 4, 'penn_action')])


def test_a_damaged_archive_is_named_wherever_it_is_damaged(tmp_path):
    path = tmp_path / 'person.npz'
    arrays = {'joints': np.random.default_rng(0).normal(size=(9, 13, 2))}
    predictions.save_arrays(path, arrays, mark='of now', compressed=True)
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(200):
        path.write_bytes(whole)
        spoil._flipped(path, rng)
        try:
            found = predictions.load_arrays(path, mark='of now')
        except ValueError as error:
            assert 'person.npz: cannot be read' in str(error)
        else:
            same = found is None or np.array_equal(found.get('joints', 0), arrays['joints'])
            assert same or 'joints' not in found
        predictions.mark_of(path)


@pytest.mark.parametrize('content', ['{"seed": ', '[1]', '', 'null'])
def test_a_workdir_s_garbled_config_is_named(tmp_path, content):
    (tmp_path / 'config.json').write_text(content)
    with pytest.raises(ValueError, match='config.json: holds no config') as error:
        resume.read_config(tmp_path / 'config.json')
    assert '\n' not in str(error.value)
    (tmp_path / 'config.json').write_text(json.dumps({'seed': 1}))
    assert resume.read_config(tmp_path / 'config.json') == {'seed': 1}


def test_whatever_a_pickle_says_of_itself_is_told_in_one_line(tmp_path):
    root = templates.human36m(tmp_path / 'human36m')
    next(root.glob('*/*.pkl')).write_bytes(b'Pwhoever\n.')
    with pytest.raises(ValueError, match='.pkl: not a readable label file') as error:
        human36m.human36m_clips(root, split='test')
    assert '\n' not in str(error.value)


def test_results_that_are_no_text_are_named(tmp_path):
    (tmp_path / 'results.jsonl').write_bytes(b'{"id": "\x8c\n\n')
    with pytest.raises(ValueError, match='results.jsonl: line 1 is no person'):
        rows.read(tmp_path / 'results.jsonl')


@pytest.mark.parametrize('value', [1e20, -1e7, np.nan, np.inf])
def test_a_box_that_no_picture_can_hold_is_named(value):
    track = tracks.Track('ann', np.arange(2), np.float32([[1, 1, 20, 30], [1, 1, value, 30]]))
    with pytest.raises(ValueError, match='person ann: the box of frame 1 is '):
        tracks.check(track, (48, 64))


@pytest.mark.parametrize('name', ['labels', 'config', 'boxes'])
def test_whatever_is_spoiled_ends_in_a_result_or_a_line(name, tmp_path):
    templates.penn_action(tmp_path / 'penn_action')
    templates.video(tmp_path / 'videos' / 'mpeg4.mp4', 'mpeg4')
    templates.boxes(tmp_path / 'boxes')
    for case in range(15):
        where = tmp_path / f'case {case}'
        where.mkdir()
        found = fuzz.outcome(surfaces.SURFACES[name][0], where, tmp_path, case)
        assert found.kind != 'fault', (case, found)


def test_the_fuzzer_itself_knows_a_fault(tmp_path):
    def broken(*_):
        raise ValueError('something is wrong')

    assert fuzz.outcome(broken, tmp_path, tmp_path, 0).kind == 'fault'  # of nothing in particular
    assert fuzz.outcome(lambda *_: 1 / 0, tmp_path, tmp_path, 0).kind == 'fault'
