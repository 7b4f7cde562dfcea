"""The job of a camera or a stream: everything is written while it comes, frame by frame.

Contract: the workdir gets `keypoints.csv` and `keypoints_before.csv`, a row at once for each joint,
and `before_after.mp4`. The job ends with the stream, after `config.seconds`, or with Ctrl-C, which
keeps what there is.
"""

import csv
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from ttp_jax.data import live as source
from ttp_jax.data.people import box_files
from ttp_jax.data.people.footage import NO_BOXES
from ttp_jax.data.video import Frame
from ttp_jax.results.exports import keypoints, overlay
from ttp_jax.run import estimator, interrupt, lock, progress
from ttp_jax.run.live import Live, Seen

_RATE = 10  # frames per second of the annotated video: the camera's are taken as they come


def execute(config: ConfigDict, workdir: pathlib.Path) -> str:
    """The whole job; returns what to tell the user."""
    if tuple(config.schedules) != ('online',):
        raise ValueError(
            f"config.schedules is {tuple(config.schedules)}, expected ('online',) for a camera or "
            'a stream, of which the future is not known: --config=configs/video.py:online'
        )
    for key in ('preview', 'smoothing'):
        if config[key]:
            raise ValueError(
                f'config.{key} is {config[key]!r}, which a camera or a stream has no use for'
            )
    with lock.held(workdir):
        return _execute(config, workdir)


def _execute(config: ConfigDict, workdir: pathlib.Path) -> str:
    model = estimator.load(
        config.checkpoint, flip_test=config.flip_test, objective=config.objective
    )
    frames = source.frames(config.input)
    first = next(frames, None)
    if first is None:
        raise ValueError(f'{config.input}: ended before its first frame')
    live = Live(model, first.image.shape[:2], _box(config.boxes), seed=config.seed)
    shown = itertools.chain([first], frames)
    with Tables(workdir, model.joints) as tables, interrupt.heeded() as stop:
        pictures = _pictures(live, shown, tables, model, stop, seconds=config.seconds)
        overlay.write_pictures(workdir / 'before_after.mp4', pictures, rate=_RATE)
    return f'{live.count} frames.\n\nKeypoints: {workdir / "keypoints.csv"}'


def _box(path: str) -> np.ndarray | None:
    """The first box of a file: whom the camera looks at."""
    if not path:
        logging.warning(NO_BOXES)
        return None
    (found,) = box_files.read(path, videos=['live']).values()
    return found[0].boxes[0]


def _pictures(
    live: Live,
    frames: Iterator[Frame],
    tables: 'Tables',
    model: Any,
    stop: interrupt.Flag,
    *,
    seconds: float,
) -> Iterator[np.ndarray]:
    """Every frame with joints before and after, once it is learned and written."""
    with progress.bar('live', total=0, unit='frame') as bar:
        for frame in frames:
            if stop.asked or (seconds and frame.time >= seconds):
                return
            seen = live.see(frame.image)
            tables.add(frame, seen)
            bar.set_postfix(loss=f'{seen.loss:.3f}', refresh=False)
            bar.update()
            both = {
                'before': [(seen.before_joints, seen.before_scores)],
                'online': [(seen.joints, seen.scores)],
            }
            yield overlay.picture(frame.image, both, skeleton=model.skeleton)


class Tables:
    """The tables of keypoints, which have a frame's rows as soon as it is seen."""

    def __init__(self, workdir: pathlib.Path, joints: tuple[str, ...]):
        self.joints = joints
        self.files = [
            (workdir / name).open('w', newline='', buffering=1)
            for name in ('keypoints.csv', 'keypoints_before.csv')
        ]
        self.writers = [csv.writer(file, lineterminator='\n') for file in self.files]
        for writer in self.writers:
            writer.writerow(keypoints.COLUMNS)

    def add(self, frame: Frame, seen: Seen) -> None:
        """A frame's rows."""
        both = ((seen.joints, seen.scores), (seen.before_joints, seen.before_scores))
        for personalized, writer, (joints, scores) in zip((1, 0), self.writers, both):
            for name, (x, y), score in zip(self.joints, joints, scores):
                numbers = (f'{x:.3f}', f'{y:.3f}', f'{score:.4f}', personalized)
                writer.writerow((frame.index, f'{frame.time:.4f}', '1', name, *numbers))

    def __enter__(self) -> 'Tables':
        return self

    def __exit__(self, *_) -> None:
        for file in self.files:
            file.close()
