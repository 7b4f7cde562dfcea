"""The program as a user meets it: a whole run at toy size, a resume, and one line per mistake."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import scipy.io

from configs import joint
from conftest import TINY
from ttp_jax import main

ROOT = pathlib.Path(__file__).resolve().parents[1]


def tiny_config(variant='drawn'):
    config = joint.get_config(variant)
    with config.unlocked():
        config.model = {k: v for k, v in TINY.items() if k != 'joints'} | {
            'variant': 'transformer', 'deconvolutions': 3, 'sigma': 2.0}
    config.crop.size = 32
    config.data.update({'train_people': 3, 'test_people': 3, 'frames': 4, 'size': 48})
    config.train.update({'steps': 2, 'batch': 4, 'log_every': 1})
    config.personalize.update({'batch': 2, 'people_per_chunk': 4})
    config.pictures = 1
    return config


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """(workdir, report) of a whole run."""
    workdir = tmp_path_factory.mktemp('run')
    return workdir, main.execute(tiny_config(), workdir)


def test_a_run_leaves_everything_it_promises(finished):
    workdir, _ = finished
    report = json.loads((workdir / 'report.json').read_text())
    assert set(report['mpck']) == {'before', 'online', 'offline'}
    assert [set(person) >= {'id', 'before', 'online', 'offline'} for person in report['people']] == [True] * 3
    assert set(report['seconds']) >= {'data', 'train', 'before', 'online', 'offline'}
    assert report['seed'] == 0 and 'git' in report and set(report['joints']) == set(report['mpck'])
    assert json.loads((workdir / 'config.json').read_text())['train']['steps'] == 2
    rows = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    assert [row['step'] for row in rows] == [1, 2] and all(np.isfinite(row['loss']) for row in rows)
    for name in ('people.png', 'losses.png', 'gains.png', 'person_test-00000.png'):
        assert cv2.imread(str(workdir / name)).std() > 5, name
        assert name in (workdir / 'report.md').read_text()
    assert list((workdir / 'tensorboard').iterdir())
    assert (workdir / 'checkpoints' / '2').is_dir()


def test_the_same_config_and_seed_give_the_same_numbers(finished, tmp_path):
    _, report = finished
    again = main.execute(tiny_config(), tmp_path)
    assert again['mpck'] == report['mpck'] and again['people'] == report['people']


def test_a_finished_workdir_is_taken_up_where_it_stopped(finished, tmp_path):
    workdir, report = finished
    shutil.copytree(workdir, tmp_path / 'copy')
    again = main.execute(tiny_config(), tmp_path / 'copy')
    assert again['mpck'] == report['mpck']
    assert len((tmp_path / 'copy' / 'metrics.jsonl').read_text().splitlines()) == 2


def test_another_config_in_the_same_workdir_is_refused(finished):
    config = tiny_config()
    config.train.learning_rate = 0.5
    with pytest.raises(ValueError, match=r'config.train.learning_rate is 0.001 there and 0.5 now'):
        main.execute(config, finished[0])


def test_a_trained_model_can_be_personalized_without_training(finished, tmp_path):
    workdir, report = finished
    config = tiny_config()
    config.checkpoint, config.train.steps = str(workdir), 0
    assert main.execute(config, tmp_path)['mpck'] == report['mpck']


def test_a_checkpoint_of_another_shape_is_refused_before_training(finished, tmp_path):
    config = tiny_config()
    config.checkpoint, config.model.features = str(finished[0]), 16
    with pytest.raises(ValueError, match=r'checkpoint .*: .* has shape .*this model expects'):
        main.execute(config, tmp_path)
    config.checkpoint = str(tmp_path / 'nowhere')
    with pytest.raises(ValueError, match='nowhere: no checkpoint there'):
        main.execute(config, tmp_path)


def penn_folder(root, *, train_frames=4, test_frames=4):
    """Two clips of noise in Penn Action's layout."""
    (root / 'labels').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for video, (split, frames) in enumerate([(1, train_frames), (-1, test_frames)], start=1):
        (root / 'frames' / f'{video:04d}').mkdir(parents=True)
        for t in range(frames):
            cv2.imwrite(str(root / 'frames' / f'{video:04d}' / f'{t + 1:06d}.jpg'),
                        rng.integers(0, 255, (50, 60, 3), dtype=np.uint8))
        scipy.io.savemat(root / 'labels' / f'{video:04d}.mat', {
            'x': rng.uniform(5, 55, (frames, 13)), 'y': rng.uniform(5, 45, (frames, 13)),
            'visibility': np.ones((frames, 13)), 'bbox': np.tile([4.0, 4, 56, 46], (frames, 1)),
            'train': split, 'nframes': frames, 'action': 'noise', 'dimensions': [50, 60, frames]})
    return root


def penn_config(root):
    config = tiny_config('penn_action')
    config.data.root = str(root)
    return config


def test_a_folder_of_clips_runs_like_drawn_people(tmp_path):
    root = penn_folder(tmp_path / 'data')
    report = main.execute(penn_config(root), tmp_path / 'run')
    assert [person['id'] for person in report['people']] == ['0002']


@pytest.mark.parametrize('break_it, message', [
    (lambda root: shutil.rmtree(root / 'frames'), r'frames'),
    (lambda root: (root / 'frames/0001/000003.jpg').unlink(), r'0001.*000003\.jpg'),
    (lambda root: (root / 'frames/0002/000002.jpg').write_text('hello'), r'0002.*000002\.jpg'),
])
def test_bad_folders_are_named_before_training(tmp_path, monkeypatch, break_it, message):
    root = penn_folder(tmp_path / 'data')
    break_it(root)
    monkeypatch.setattr(main, 'train_phase', lambda run: pytest.fail('training began'))
    with pytest.raises(ValueError, match=message):
        main.execute(penn_config(root), tmp_path / 'run')


def test_a_clip_of_one_frame_is_named(tmp_path):
    root = penn_folder(tmp_path / 'data', test_frames=1)
    with pytest.raises(ValueError, match='0002'):
        main.execute(penn_config(root), tmp_path / 'run')


@pytest.mark.parametrize('arguments, expected', [
    (['--config=configs/joint.py', '--config.train.stepps=3'], ['stepps', 'steps']),
    (['--config=configs/joint.py:nobody'], ['nobody', 'drawn_large']),
    (['--config=configs/joint.py:penn_action', '--config.data.root=/no/such/place'],
     ['/no/such/place']),
    (['--config=configs/joint.py:penn_action'], ['config.data.root']),
    (['--config=configs/joint.py', '--config.perceptual.kind=vgg16'], ['perceptual.weights']),
    (['--config=configs/joint.py', '--config.model.depth=19'], ['19', '18']),
    (['--config=configs/joint.py', '--config.personalize.schedules=("later",)'], ['later', 'online']),
])
def test_mistakes_get_one_line(tmp_path, arguments, expected):
    done = subprocess.run(
        [sys.executable, '-m', 'ttp_jax.main', f'--workdir={tmp_path}', *arguments],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {'JAX_PLATFORMS': 'cpu'})
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert 'Traceback' not in done.stderr, done.stderr
    for word in expected:
        assert word in last, done.stderr
