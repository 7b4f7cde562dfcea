"""Penn Action's own folders as clips (paper section 4.1).

The layout is `frames/NNNN/NNNNNN.jpg`, numbered from 1, beside `labels/NNNN.mat`.

Joints and boxes are kept as the files have them. They were annotated in 1-based pixels, and the
authors' release takes them unchanged on 0-based images, moving only the crop by one pixel
(`geometry.crop_region`); scores are not affected, since predictions come out in the labels' own
coordinates. Frames are RGB uint8, decoded when they are read.
"""

import dataclasses
import json
import pathlib

import numpy as np

from ttp_jax import places
from ttp_jax.data import images, matlab
from ttp_jax.data.clips import Clip, Labels, check_request, unreadable
from ttp_jax.data.skeletons import PENN_ACTION

_SPLITS = {1: 'train', -1: 'test'}  # by the value of a label's field `train`


@dataclasses.dataclass(frozen=True, eq=False)
class Label:
    """One `labels/NNNN.mat`."""

    split: str  # 'train' or 'test'
    action: str
    joints: np.ndarray  # [frames, 13, 2] float32, (x, y) as in the file
    visibility: np.ndarray  # [frames, 13] float32: 0, or 1, or an estimator's confidence
    boxes: np.ndarray  # [frames, 4] float32, x1, y1, x2, y2 as in the file


def read_labels(path: str | pathlib.Path) -> Label:
    """Reads one label file.

    Labels that a pose estimator made may have its `confidence` `[frames, 13]` in 0 ... 1 as another
    field. It is the visibility then of joints that are visible; up to 0.5 they count as unseen.

    Two of the data set's videos, 1154 and 1865, have one box fewer than frames: the last box is
    repeated.

    Raises:
      ValueError: naming the file, and the field that is missing or has the wrong shape or values.
    """
    path = places.place(path)
    fields = matlab.load(path)
    frames = _frames(fields, path)
    joints = np.stack([_annotation(fields, name, frames, path) for name in ('x', 'y')], axis=-1)
    visibility = _annotation(fields, 'visibility', frames, path)
    if not np.isin(visibility, (0, 1)).all():
        raise ValueError(f'{path}: field visibility holds values other than 0 and 1')
    if 'confidence' in fields:
        visibility = visibility * _confidence(fields, frames, path)
    mark = _scalar(fields, 'train', path)
    if mark not in _SPLITS:
        raise ValueError(f'{path}: field train is {mark}, expected 1 (train) or -1 (test)')
    return Label(
        split=_SPLITS[mark],
        action=str(_scalar(fields, 'action', path)),
        joints=joints,
        visibility=visibility,
        boxes=_boxes(fields, frames, path),
    )


def _scalar(fields: dict[str, np.ndarray], name: str, path: pathlib.Path) -> int | str:
    values = matlab.field(fields, name, path)
    if values.size != 1:
        raise ValueError(f'{path}: field {name} has shape {values.shape}, expected one value')
    if values.dtype.kind not in 'biufU':
        raise ValueError(f'{path}: field {name} is {values.dtype}, expected a number or a text')
    return values.item()


def _frames(fields: dict[str, np.ndarray], path: pathlib.Path) -> int:
    count = _scalar(fields, 'nframes', path)
    if not isinstance(count, int | float) or count != count // 1 or not 0 < count < 2**31:
        raise ValueError(f'{path}: field nframes is {count!r}, expected how many frames there are')
    return int(count)


def _annotation(
    fields: dict[str, np.ndarray], name: str, frames: int, path: pathlib.Path
) -> np.ndarray:
    values = matlab.field(fields, name, path)
    expected = (frames, len(PENN_ACTION.joints))
    if values.shape != expected:
        raise ValueError(f'{path}: field {name} has shape {values.shape}, expected {expected}')
    return matlab.finite(values, name, path)


def _confidence(fields: dict[str, np.ndarray], frames: int, path: pathlib.Path) -> np.ndarray:
    values = _annotation(fields, 'confidence', frames, path)
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f'{path}: field confidence holds values outside of 0 ... 1')
    return np.where(values > 0.5, values, 0).astype(np.float32)


def _boxes(fields: dict[str, np.ndarray], frames: int, path: pathlib.Path) -> np.ndarray:
    boxes = matlab.field(fields, 'bbox', path)
    if boxes.shape not in ((frames, 4), (frames - 1, 4)) or not len(boxes):
        raise ValueError(f'{path}: field bbox has shape {boxes.shape}, expected ({frames}, 4)')
    missing = frames - len(boxes)
    return matlab.finite(np.concatenate([boxes, boxes[-1:].repeat(missing, axis=0)]), 'bbox', path)


def sources(root: str | pathlib.Path) -> dict[str, str]:
    """The source video of each clip of a folder, by the clip's id, from `videos.json` in it.

    The file is a list of objects with `video`, the label's number, and `source`, the video's name.

    Raises:
      ValueError: when the file is missing, is no JSON, or lacks a field.
    """
    path = places.place(root) / 'videos.json'
    try:
        return {f'{video["video"]:04d}': video['source'] for video in json.loads(path.read_text())}
    except OSError as error:
        raise ValueError(
            f'{path}: cannot be read ({error.strerror}), expected the source of every clip'
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path}: {error!r}, expected a list of objects with "video" and "source"'
        ) from None


def penn_action_clips(
    root: str | pathlib.Path, *, split: str, limit: int | None = None
) -> list[Clip]:
    """The clips of one split in order of their number, frames still on disk.

    What can be known without decoding is checked here, before any long work: of the training split,
    that every label can be read, that every frame file exists and that each clip's first frame is a
    JPEG. A later frame that does not decode raises when it is read, as does any frame of the test
    split: what one of those people lacks need not stop the others. A label that cannot be read does
    not say which split it is of: it stops who asks for training clips, and is a test clip whose
    frames are `clips.Unreadable`.

    Args:
      root: the folder that holds `frames` and `labels`; with `videos.json`, clips know their
        `sources`.
      split: 'train' or 'test'.
      limit: take only the first so many clips of the split.

    Raises:
      ValueError: in one line that names the folder or file, what was found and what was expected.
    """
    check_request(split, limit)
    root = places.place(root)
    _check_layout(root)
    source = sources(root) if (root / 'videos.json').is_file() else {}
    clips = []
    for path in sorted((root / 'labels').glob('*.mat')):
        try:
            label = read_labels(path)
        except ValueError as error:
            if split == 'train':
                raise
            clips.append(unreadable(path.stem, str(error)))
        else:
            if label.split == split:
                clip = _clip(path.stem, label, root / 'frames' / path.stem)
                clips.append(dataclasses.replace(clip, source=source.get(clip.id, '')))
        if len(clips) == limit:
            break
    if not clips:
        raise ValueError(f'{root / "labels"}: found no label of the {split} split, expected some')
    return clips


def _check_layout(root: pathlib.Path) -> None:
    for folder in (root, root / 'labels', root / 'frames'):
        if not folder.is_dir():
            raise ValueError(f'{folder}: no such folder, expected frames and labels in {root}')


def _clip(name: str, label: Label, folder: pathlib.Path) -> Clip:
    paths = [folder / f'{index:06d}.jpg' for index in range(1, len(label.joints) + 1)]
    unchecked = label.split == 'test'
    frames = images.Frames(tuple(paths)) if unchecked else images.of_files(paths, clip=name)
    return Clip(name, frames, label.boxes, Labels(label.joints, label.visibility))
