"""Photographs become clips of two frames that training reads."""

import json
import sys

import cv2
import numpy as np
import pytest
import scipy.io

from experiments import stills
from ttp_jax.data import mixed
from ttp_jax.data.skeletons import PENN_ACTION

# A person facing the camera, 120 pixels tall: LSP's joints by name, (x, y).
FIGURE = {
    'right_ankle': (90, 160),
    'right_knee': (91, 130),
    'right_hip': (92, 100),
    'left_hip': (108, 100),
    'left_knee': (109, 130),
    'left_ankle': (110, 160),
    'right_wrist': (70, 100),
    'right_elbow': (76, 80),
    'right_shoulder': (85, 62),
    'left_shoulder': (115, 62),
    'left_elbow': (124, 80),
    'left_wrist': (130, 100),
    'neck': (100, 58),
    'head_top': (100, 40),
}


@pytest.fixture
def folder(tmp_path):
    """Three photographs: of a person, of one hardly seen, and one that is no picture."""
    (tmp_path / 'images').mkdir()
    image = np.full((240, 200, 3), 90, np.uint8)
    for point in FIGURE.values():
        cv2.circle(image, point, 2, (255, 255, 255), -1)
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / 'images' / f'im{number:05d}.jpg'), image)
    (tmp_path / 'images' / 'im00003.jpg').write_bytes(b'nothing')
    label = np.column_stack([list(FIGURE.values()), np.ones(14)])
    hidden = label * (np.arange(14) < 4)[:, None]
    joints = np.stack([label, hidden, label], axis=-1)
    scipy.io.savemat(tmp_path / 'joints.mat', {'joints': joints})
    return tmp_path


def test_a_photograph_is_a_clip_whose_joints_lie_where_they_lay(folder, tmp_path, monkeypatch):
    root = tmp_path / 'root'
    monkeypatch.setattr(sys, 'argv', ['stills', str(folder), str(root)])
    stills.main()
    (clip,) = mixed.training_clips([str(root)], validation=0.0)
    assert clip.id == '0001' and len(clip.frames) == 2
    assert json.loads((root / 'videos.json').read_text())[0]['source'] == 'lspet 00001'
    names = [name.replace(' ', '_') for name in PENN_ACTION.joints]
    for frame, joints in zip(clip.frames, clip.labels.joints, strict=True):
        for name, (x, y) in zip(names, np.round(joints).astype(int), strict=True):
            if name != 'head':  # which no dot was drawn for
                assert np.asarray(frame)[y - 1 : y + 2, x - 1 : x + 2].max() > 150, name
    first = dict(zip(names, clip.labels.joints[0], strict=True))
    neck, top, left = (np.array(FIGURE[name]) for name in ('neck', 'head_top', 'left_shoulder'))
    scale = np.linalg.norm(first['left_shoulder'] - first['right_shoulder']) / 30
    of_head = (first['head'] - first['left_shoulder']) / scale
    np.testing.assert_allclose(of_head, (neck + top) / 2 - left, atol=0.01)
    assert (clip.boxes[:, :2] < clip.labels.joints.min(axis=1)).all()
    assert (clip.boxes[:, 2:] > clip.labels.joints.max(axis=1)).all()
    assert np.abs(clip.labels.joints[0] - clip.labels.joints[1]).max() > 1


def test_a_folder_without_labels_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['stills', str(tmp_path), str(tmp_path / 'root')])
    with pytest.raises(SystemExit):
        stills.main()
    assert 'joints.mat: missing, expected LSPET' in capsys.readouterr().err
    assert not (tmp_path / 'root').exists()
