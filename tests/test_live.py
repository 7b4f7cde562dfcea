"""Cameras and streams: learned from and predicted frame by frame, in memory that does not grow."""

import csv
import dataclasses
import math
import threading

import av
import jax
import model_files
import numpy as np
import pytest
import video_files
from test_video_job import asked

import ttp_jax
from ttp_jax.data import live as source
from ttp_jax.run import video_job
from ttp_jax.run.live import Live


@pytest.fixture(scope='module')
def model_file(tmp_path_factory):
    return model_files.pack(tmp_path_factory.mktemp('model') / 'm.safetensors')


def speaking_up(model):
    """The model with kernels so large that its heatmaps are more than rounding.

    Fresh ones lie around 0.001, four layers deep: which cell is the highest would be left to the
    processor.
    """

    def loud(kernel):
        fresh = kernel.ndim == 4 and kernel.std() < 0.002
        return kernel * 2000 / math.sqrt(kernel[..., 0].size) if fresh else kernel

    return dataclasses.replace(model, params=jax.tree.map(loud, model.params))


def test_what_is_live_and_what_is_a_file():
    assert source.is_live('camera:0') and source.is_live('rtsp://there/1')
    assert not source.is_live('clip.mp4') and not source.is_live('C:\\clip.mp4')


@pytest.mark.parametrize('what', ['camera:first', 'camera:99', 'file:///none.mp4'])
def test_what_cannot_be_opened_is_told_in_one_line(what):
    with pytest.raises(ValueError, match=f'{what}: ') as caught:
        next(source.frames(what))
    assert '\n' not in str(caught.value)


def test_who_is_slow_gets_the_newest_image_and_none_twice():
    came, go_on = threading.Event(), threading.Event()

    def camera():
        yield from range(5)
        came.set()
        go_on.wait(10)
        yield 5

    images = source.newest(camera())
    first = next(images)
    assert came.wait(10)  # while the first one is looked at, others come
    second = next(images) if first < 4 else 4
    go_on.set()
    assert second == 4 and list(images) == [5]


@pytest.mark.parametrize('objective', ['followed', ''])
def test_live_is_the_schedule_online_as_long_as_everything_is_remembered(model_file, objective):
    model = speaking_up(ttp_jax.load(model_file, objective=objective))
    frames = video_files.moving_square(5)
    _, expected = model.personalize(frames, mode='online', seed=3)
    live = Live(model, frames.shape[1:3], remembered=32, seed=3)
    seen = [live.see(image) for image in frames]
    assert np.abs(expected.scores).mean() > 1e-3  # not rounding
    np.testing.assert_allclose([s.joints for s in seen], expected.joints, atol=0.05)
    np.testing.assert_allclose([s.loss for s in seen], expected.losses.mean(axis=1), rtol=1e-3)
    before = model.predict(frames)
    np.testing.assert_allclose([s.before_joints for s in seen], before.joints, atol=0.05)


def test_of_a_long_past_a_fair_sample_is_remembered(model_file):
    model = ttp_jax.load(model_file)
    kept = []
    for seed in range(60):
        live = Live(model, (48, 64), remembered=8, seed=seed)
        for t in range(100):
            slot = live._remember(np.full((48, 64, 3), t, np.uint8))
            live.count += 1
        assert slot == 7 and live._frames.shape[0] == 8 and live._frames[7, 0, 0, 0] == 99
        kept += live._frames[:7, 0, 0, 0].tolist()
    # 420 of the frames 0 ... 98; a quarter of the past has a quarter of them.
    counts = np.histogram(kept, bins=[0, 25, 50, 75, 99])[0]
    assert len(kept) == 420 and counts.min() > 70 and counts.max() < 145


def test_a_stream_is_written_as_it_comes(tmp_path, model_file):
    film = video_files.encode(tmp_path / 'clip.mp4', video_files.moving_square(4))
    config = asked(input=f'file://{film}', checkpoint=str(model_file), schedules=('online',))
    told = video_job.execute(config, tmp_path / 'run')
    assert told.startswith('4 frames')
    for name, personalized in (('keypoints', '1'), ('keypoints_before', '0')):
        rows = list(csv.DictReader((tmp_path / 'run' / f'{name}.csv').open()))
        assert len(rows) == 4 * 13 and {row['personalized'] for row in rows} == {personalized}
    with av.open(str(tmp_path / 'run' / 'before_after.mp4')) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4


@pytest.mark.parametrize(
    'values, message',
    [
        ({}, r'expected \(.online.,\) for a camera or a stream'),
        ({'schedules': ('online',), 'preview': 3.0}, r'config\.preview is 3\.0, which a camera'),
    ],
)
def test_what_a_camera_has_no_use_for_is_named(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        video_job.execute(asked(input='camera:0', **values), tmp_path / 'run')
