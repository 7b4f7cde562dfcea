"""Small healthy folders and files of every kind that a job reads, made once and then copied."""

import json
import pathlib
import pickle
from typing import Any, Literal

import av
import cv2
import numpy as np
import scipy.io

FRAMES, PEOPLE = 3, 4
Codec = Literal['mpeg4', 'libx264', 'mjpeg']


def picture(seed: int, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    """A picture that is no other's, BGR."""
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)


def penn_action(root: pathlib.Path) -> pathlib.Path:
    """Four test clips of three frames."""
    (root / 'labels').mkdir(parents=True)
    for person in range(1, PEOPLE + 1):
        rng, name = np.random.default_rng(person), f'{person:04d}'
        fields = {
            'action': 'squat',
            'x': rng.uniform(1, 30, (FRAMES, 13)),
            'y': rng.uniform(1, 20, (FRAMES, 13)),
            'visibility': np.ones((FRAMES, 13), np.uint8),
            'train': -1,
            'bbox': np.tile([2.0, 3.0, 20.0, 18.0], (FRAMES, 1)),
            'dimensions': [24, 32, FRAMES],
            'nframes': FRAMES,
        }
        scipy.io.savemat(root / 'labels' / f'{name}.mat', fields)
        _frames(root / 'frames' / name, [f'{t:06d}' for t in range(1, FRAMES + 1)])
    return root


def bbc_pose(root: pathlib.Path) -> pathlib.Path:
    """The 20 videos, frames of the ten test videos alone."""
    names = ('name', 'source', 'kind', 'trainframe', 'trainjoints', 'testframe', 'testjoints')
    records = np.empty((1, 20), [(name, object) for name in names])
    for place in range(20):
        joints = np.random.default_rng(place).uniform(20, 400, (2, 2, 7, FRAMES))
        fields = ['video', 'somewhere', 'kind', [[1, 2, 3]], joints[0], [[4, 5, 6]], joints[1]]
        records[0, place] = tuple(np.asarray(field) for field in fields)
        if place >= 10:
            _frames(root / str(place + 1), ['4', '5', '6'])
    scipy.io.savemat(root / 'bbcpose.mat', {'bbcpose': records})
    return root


def human36m(root: pathlib.Path) -> pathlib.Path:
    """The two test subjects, a sequence each."""
    labels = {}
    for subject in (9, 11):
        name = f's_{subject:02d}_act_02_subact_01_ca_01'
        rng = np.random.default_rng(subject)
        labels[subject, 2, 1, 1] = [
            {
                'image': f'../../data/hm36/images/{name}/{name}_{t:06d}.jpg',
                'joints_3d': rng.uniform(1, 23, (16, 3)),
                'joints_3d_vis': np.ones((16, 3)),
                'center_x': 12.0,
                'center_y': 12.0,
                'width': 15.0,
                'height': 15.0,
            }
            for t in range(FRAMES)
        ]
        _frames(root / 'images' / name, [f'{name}_{t:06d}' for t in range(FRAMES)])
    kind = 'HM36Vid_validfull_all'
    path = root / f'{kind}_cache' / f'{kind}_w128xh128_keypoint_db_sample-1.pkl'
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(labels, protocol=2))
    return root


def _frames(folder: pathlib.Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        cv2.imwrite(str(folder / f'{name}.jpg'), picture(index))


def video(path: pathlib.Path, codec: Codec) -> pathlib.Path:
    """Ten frames of 48 x 64 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.height, stream.width = 48, 64
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        for index in range(10):
            image = np.roll(picture(7, (48, 64)), 2 * index, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='bgr24')))
        container.mux(stream.encode(None))
    return path


def boxes(folder: pathlib.Path) -> list[pathlib.Path]:
    """Boxes of two people in ten frames, in each of the three formats."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(t, p, 4 + 20 * p, 6, 24 + 20 * p, 40) for p in (0, 1) for t in range(10)]
    table, mot, coco = (folder / name for name in ('boxes.csv', 'mot.txt', 'coco.json'))
    table.write_text(
        'frame,person,x1,y1,x2,y2\n' + ''.join(','.join(map(str, row)) + '\n' for row in rows)
    )
    mot.write_text(
        ''.join(f'{t + 1},{p},{x1},{y1},{x2 - x1},{y2 - y1},1\n' for t, p, x1, y1, x2, y2 in rows)
    )
    found = [
        {
            'image_id': t,
            'track_id': p,
            'category_id': 1,
            'bbox': [x1, y1, x2 - x1, y2 - y1],
            'score': 0.9,
        }
        for t, p, x1, y1, x2, y2 in rows
    ]
    coco.write_text(json.dumps(found))
    return [table, mot, coco]
