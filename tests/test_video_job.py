"""Somebody's video goes in, and everything that was promised comes out."""

import csv
import json
import pathlib

import av
import model_files
import numpy as np
import pytest
import video_files

from configs import video as video_config
from ttp_jax.run import video_job


def asked(**values):
    config = video_config.get_config()
    config.update(values)
    return config


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """(workdir, what was told) of a video with two people, one of them in view for half of it."""
    folder = tmp_path_factory.mktemp('video')
    film = video_files.encode(folder / 'clip.mp4', video_files.moving_square(8, (96, 128)))
    rows = [f'{t},ann,{5 + t},8,{44 + t},60' for t in range(8)]
    rows += [f'{t},bob,60,20,110,90' for t in range(3, 7)]
    boxes = folder / 'boxes.csv'
    boxes.write_text('frame,person,x1,y1,x2,y2\n' + '\n'.join(rows) + '\n')
    config = asked(
        input=str(film),
        boxes=str(boxes),
        checkpoint=str(model_files.pack(folder / 'm.safetensors')),
        smoothing='savitzky_golay',
        pictures=1,
    )
    return folder / 'run', video_job.execute(config, folder / 'run')


def test_every_file_is_there(finished):
    workdir, told = finished
    assert '2 people, 12 frames' in told and 'report.html' in told
    for name in (
        'keypoints.csv',
        'keypoints_before.csv',
        'keypoints_smoothed.csv',
        'coco.json',
        'deeplabcut.csv',
        'before_after.mp4',
        'report.html',
    ):
        assert (workdir / name).stat().st_size > 500, name
    page = (workdir / 'report.html').read_text()
    assert 'Person ann' in page and 'Person bob' in page
    assert page.count('data:image/jpeg') >= 4  # frames that changed
    assert 'One frame through the model' in page and 'no boxes were given' not in page.lower()
    with av.open(str(workdir / 'before_after.mp4')) as container:
        assert sum(1 for _ in container.decode(video=0)) == 8


def test_keypoints_are_those_of_the_last_phase_in_pixels_of_the_video(finished):
    workdir, _ = finished
    rows = list(csv.DictReader((workdir / 'keypoints.csv').open()))
    assert len(rows) == 12 * 13 and {row['personalized'] for row in rows} == {'1'}
    before = list(csv.DictReader((workdir / 'keypoints_before.csv').open()))
    assert {row['personalized'] for row in before} == {'0'}
    bob = [row for row in rows if row['person'] == 'bob']
    assert [int(row['frame']) for row in bob[::13]] == [3, 4, 5, 6]
    x, y = (np.array([float(row[k]) for row in bob]) for k in 'xy')
    assert 30 < x.min() and x.max() < 140 and 0 < y.min() and y.max() < 110  # around bob's box
    tree = json.loads((workdir / 'coco.json').read_text())
    first = next(a for a in tree['annotations'] if a['person'] == 'bob')
    np.testing.assert_allclose(first['keypoints'][:2], [x[0], y[0]], atol=0.01)


@pytest.mark.parametrize(
    'values, message',
    [
        ({}, 'config.input is not set'),
        ({'input': 'a.mp4', 'checkpoint': ''}, 'config.checkpoint is not set'),
        ({'input': 'a.mp4', 'checkpoint': 'm', 'smoothing': 'mean'}, "config.smoothing is 'mean'"),
        ({'input': 'a.mp4', 'checkpoint': 'm', 'longest': 1}, 'config.longest is 1'),
        ({'input': 'a.mp4', 'checkpoint': 'none'}, 'no checkpoint there'),
    ],
)
def test_what_is_missing_is_named_at_once(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        video_job.execute(asked(**values), tmp_path)


def test_a_video_that_is_not_there_is_named_before_anything_is_made(tmp_path):
    model = model_files.pack(tmp_path / 'm.safetensors')
    with pytest.raises(ValueError, match=r'none\.mp4: no such file or folder'):
        video_job.execute(asked(input='none.mp4', checkpoint=str(model)), tmp_path / 'run')


def test_the_example_of_the_readme_has_a_box_in_every_frame():
    from ttp_jax.data import video
    from ttp_jax.data.people import box_files

    docs = pathlib.Path(__file__).resolve().parents[1] / 'docs'
    (film,) = video.open_videos(docs / 'example.mp4')
    ((person,),) = box_files.read(docs / 'example.csv', videos=['example']).values()
    frames = [frame.index for frame in film.frames()]
    assert person.frames.tolist() == frames and len(frames) == film.length() > 24
    assert (docs / 'example.mp4').stat().st_size < 300_000
