"""BBC Pose's own folder as clips, one per video (paper section 4.1).

The layout is `bbcpose.mat` beside the folders `1` to `20`, with frame F of video V at `V/F.jpg`.
`bbcpose` is a struct array of the 20 videos, whose fields are read by their place, counted from 0:
3 holds the numbers of the training frames, 4 their joints (2 x 7 x frames), 5 and 6 the same for
the test frames. Videos 1 to 10, with their training frames, are the training split; videos 11 to
20, with their test frames, the test split. A clip's frames need not follow each other in the video.

Joints `(x, y)` are kept as the file has them, and all of them count as visible. The data set has no
boxes; they are made as the authors' release makes them (`boxes_around`).
"""

import functools
import pathlib
from typing import Any

import numpy as np

from ttp_jax.data import images, matlab
from ttp_jax.data.clips import Clip, Labels, check_request, checked
from ttp_jax.data.skeletons import BBC_POSE

_VIDEOS = {'train': range(1, 11), 'test': range(11, 21)}
_FIELDS = {'train': (3, 4), 'test': (5, 6)}  # (frame numbers, joints) of the split's frames
_MARGIN = 60.0  # pixels between a person's outermost joints and the box
_EXTENT = (720.0, 480.0)  # of the frames, (x, y) pixels, as the release clips boxes to it


def bbc_pose_clips(root: str | pathlib.Path, *, split: str, limit: int | None = None) -> list[Clip]:
    """The videos of one split in order of their number, frames still on disk.

    Everything that can be known without decoding is checked here, as for Penn Action. A test video
    that lacks a frame or has a label that cannot be has `clips.Unreadable` frames.

    Args:
      root: the folder that holds `bbcpose.mat` and `1` to `20`.
      split: 'train' or 'test'.
      limit: take only the first so many videos of the split.

    Raises:
      ValueError: in one line that names the file, what was found and what was expected.
    """
    check_request(split, limit)
    path = pathlib.Path(root) / 'bbcpose.mat'
    if not path.is_file():
        raise ValueError(f'{path}: no such file, expected it beside the folders 1 to 20')
    videos = _videos(path)
    read = functools.partial(_clip, path, split=split)
    return [
        checked(read, str(number), videos[number - 1], split=split)
        for number in _VIDEOS[split][:limit]
    ]


def _videos(path: pathlib.Path) -> np.ndarray:
    """The struct array, one record per video."""
    videos = matlab.field(matlab.load(path), 'bbcpose', path).reshape(-1)
    fields = len(videos.dtype.names or ())
    if len(videos) != 20 or fields < 7:
        raise ValueError(
            f'{path}: field bbcpose has {len(videos)} videos of {fields} fields, expected 20 of at'
            ' least 7'
        )
    return videos


def _clip(path: pathlib.Path, number: str, video: Any, *, split: str) -> Clip:
    numbers, joints = (video[field] for field in _FIELDS[split])
    numbers = np.reshape(numbers, -1)
    name = f'bbcpose({number}), {split} joints'
    expected = (2, len(BBC_POSE.joints), len(numbers))
    if joints.shape != expected:
        raise ValueError(f'{path}: field {name} has shape {joints.shape}, expected {expected}')
    joints = matlab.finite(joints.transpose(2, 1, 0), name, path)
    paths = [path.parent / number / f'{int(frame)}.jpg' for frame in numbers]
    frames = images.of_files(paths, clip=number)
    labels = Labels(joints, np.ones(joints.shape[:2], np.float32))
    return Clip(number, frames, boxes_around(joints), labels)


def boxes_around(joints: np.ndarray) -> np.ndarray:
    """The release's boxes of people with joints `[frames, 7, 2]`: `[frames, 4]`, image pixels.

    They are the extent of the joints, 60 pixels wider on every side, clipped to 720 x 480. The
    release takes (x1 + x2) / 2 - 1 for the centre of such a box, where for Penn Action's it takes
    (x1 + x2 - 1) / 2 - 1: hence the half pixel that is added here, so that `geometry.crop_region`
    crops both as the release does.
    """
    low = np.maximum(joints.min(axis=1) - _MARGIN, 0.0)
    high = np.minimum(joints.max(axis=1) + _MARGIN, _EXTENT)
    return np.concatenate([low, high], axis=1, dtype=np.float32) + np.float32(0.5)
