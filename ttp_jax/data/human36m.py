"""Human3.6M as the authors' release reads it, as clips (paper section 4.1).

The layout is two label files and the images that they name:

    HM36Vid_trainfull_all_cache/HM36Vid_trainfull_all_w128xh128_keypoint_db_sample-1.pkl
    HM36Vid_validfull_all_cache/HM36Vid_validfull_all_w128xh128_keypoint_db_sample-1.pkl
    images/s_09_act_02_subact_01_ca_01/s_09_act_02_subact_01_ca_01_000001.jpg ...

A label file is the pickle of a dict from (subject, action, subaction, camera) to the list of the
sequence's frames, each a dict of
    image                   '../../data/hm36/' and the image's path in this folder
    joints_3d               [16, 3]: (x, y) image pixels, then a depth that is not used
    joints_3d_vis           [16, 3] in {0, 1}, of which the first column is used
    center_x, center_y      of the person's box, image pixels
    width, height           of the person's box, image pixels
Reading it imports and calls nothing that a pickle asks for, except what makes numpy's arrays.

The training split is S1, S5, S6, S7 and S8, one clip per sequence: a target's source is drawn from
its own sequence. The test split is S9 and S11, one clip per subject, which is whom a model is
personalized to: all the subject's sequences in the file's order. Human3.6M's cameras differ in
size (1000 and 1002 rows), so a test subject's frames are padded with zeros to one size, on the
right and below; a crop shows zeros outside an image anyway.

Joints are kept as the file has them. Boxes are made for `geometry.crop_region` with
`subtract_one=False` (`box`).
"""

import dataclasses
import functools
import pathlib
import pickle
from typing import Any

import numpy as np
from absl import logging

from ttp_jax.data import images
from ttp_jax.data.clips import Clip, Labels, check_request, checked
from ttp_jax.data.skeletons import HUMAN36M

_LABELS = {'train': 'HM36Vid_trainfull_all', 'test': 'HM36Vid_validfull_all'}
_SUBJECTS = {'train': (1, 5, 6, 7, 8), 'test': (9, 11)}
_TEST_FRAMES = {'S9': 1652, 'S11': 1222}  # in the release
_IMAGE_ROOT = '../../data/hm36/'  # in the release's labels
_JOINTS = (len(HUMAN36M.joints), 3)
_FIELDS = {
    'joints_3d': _JOINTS,
    'joints_3d_vis': _JOINTS,
    'center_x': (),
    'center_y': (),
    'width': (),
    'height': (),
}

Key = tuple[int, int, int, int]  # subject, action, subaction, camera
Frame = dict[str, Any]  # one frame's label


def human36m_clips(root: str | pathlib.Path, *, split: str, limit: int | None = None) -> list[Clip]:
    """The clips of one split, frames still on disk: sequences to train on, subjects to test on.

    Everything that can be known without decoding is checked here, as for Penn Action; only the
    first frame of every test sequence is decoded, for its size. A test subject that has another
    number of frames than the release's is mentioned in the log, and one who lacks a frame or has a
    label that cannot be has `clips.Unreadable` frames.

    Args:
      root: the folder that holds `HM36Vid_trainfull_all_cache`, `HM36Vid_validfull_all_cache` and
        `images`.
      split: 'train' or 'test'.
      limit: take only the first so many clips of the split.

    Raises:
      ValueError: in one line that names the file, what was found and what was expected.
    """
    check_request(split, limit)
    root = pathlib.Path(root)
    path = root / f'{_LABELS[split]}_cache/{_LABELS[split]}_w128xh128_keypoint_db_sample-1.pkl'
    people = _people(_read_labels(path, split), split)
    read = functools.partial(_clip, path, root)
    return [checked(read, name, people[name], split=split) for name in list(people)[:limit]]


def box(label: Frame) -> np.ndarray:
    """The box `[4]` that `geometry.crop_region(subtract_one=False)` crops as the release does.

    The release crops about (center_x, center_y) as they are, where `crop_region` finds a box's
    centre at (x1 + x2 - 1) / 2; and a box that ends on its last pixel is one pixel longer than the
    difference of its corners.
    """
    center = np.array([label['center_x'], label['center_y']], np.float64)
    reach = (np.array([label['width'], label['height']], np.float64) - 1) / 2
    return np.concatenate([center + 0.5 - reach, center + 0.5 + reach]).astype(np.float32)


def _people(sequences: dict[Key, list[Frame]], split: str) -> dict[str, list[list[Frame]]]:
    """The sequences of each clip by the clip's name."""
    people: dict[str, list[list[Frame]]] = {}
    for (subject, action, subaction, camera), labels in sequences.items():
        name = f'S{subject}'
        if split == 'train':
            name = f's_{subject:02d}_act_{action:02d}_subact_{subaction:02d}_ca_{camera:02d}'
        people.setdefault(name, []).append(labels)
    return people


def _clip(path: pathlib.Path, root: pathlib.Path, name: str, sequences: list[list[Frame]]) -> Clip:
    labels = [label for sequence in sequences for label in sequence]
    if len(labels) != _TEST_FRAMES.get(name, len(labels)):
        logging.warning(
            '%s: found %d frames of %s, the release has %d',
            path,
            len(labels),
            name,
            _TEST_FRAMES[name],
        )
    try:
        joints, visibility, boxes = map(np.stack, zip(*map(_arrays, labels), strict=True))
        paths = [root / _image(label) for label in labels]
    except ValueError as error:
        raise ValueError(f'{path}: clip {name}: {error}') from None
    frames = images.of_files(paths, clip=name)
    if len(sequences) > 1:
        frames = dataclasses.replace(frames, size=_common_size(frames, sequences))
    return Clip(name, frames, boxes, Labels(joints, visibility))


def _arrays(label: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints `[16, 2]`, visibility `[16]` and box `[4]` of one frame."""
    for field, shape in _FIELDS.items():
        if field not in label:
            raise ValueError(f'field {field} is missing')
        if np.shape(label[field]) != shape:
            raise ValueError(f'field {field} has shape {np.shape(label[field])}, expected {shape}')
        if not np.isfinite(label[field]).all():
            raise ValueError(f'field {field} holds values that are not finite')
    visibility = np.asarray(label['joints_3d_vis'], np.float32)[:, 0]
    if not np.isin(visibility, (0, 1)).all():
        raise ValueError('field joints_3d_vis holds values other than 0 and 1')
    return np.asarray(label['joints_3d'], np.float32)[:, :2], visibility, box(label)


def _image(label: Frame) -> str:
    """The path of a frame's image under the data set's folder."""
    path = str(label.get('image', '')).removeprefix(_IMAGE_ROOT)
    if not path or path.startswith('/') or '..' in path.split('/'):
        raise ValueError(
            f"field image is {label.get('image')!r}, expected '{_IMAGE_ROOT}' and a path"
        )
    return path


def _common_size(frames: images.Frames, sequences: list[list[Frame]]) -> tuple[int, int]:
    """(height, width) that the frames of several sequences, one behind the other, fit in."""
    lengths = [len(sequence) for sequence in sequences]
    firsts = np.cumsum(lengths) - lengths
    height, width = np.max([frames[first].shape[:2] for first in firsts], axis=0)
    return int(height), int(width)


# --- the label file --------------------------------------------------------------------------


def _read_labels(path: pathlib.Path, split: str) -> dict[Key, list[Frame]]:
    """The label file's sequences in its order, with the split's subjects and no others."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file, expected the release's labels there")
    try:
        with path.open('rb') as file:
            labels = _Unpickler(file, encoding='latin1').load()
    except Exception as error:  # broken bytes surface as almost anything
        told = ' '.join(str(error).split())
        raise ValueError(f'{path}: not a readable label file ({told})') from None
    if not isinstance(labels, dict) or not all(map(_is_sequence, labels.items())):
        raise ValueError(
            f'{path}: expected a dict from (subject, action, subaction, camera) to a '
            'list of dicts, one per frame'
        )
    found = sorted({int(key[0]) for key in labels})
    if found != list(_SUBJECTS[split]):
        raise ValueError(f'{path}: found subjects {found}, expected {list(_SUBJECTS[split])}')
    return labels


def _is_sequence(item: tuple[Any, Any]) -> bool:
    key, labels = item
    return (
        isinstance(key, tuple)
        and len(key) == 4
        and isinstance(labels, list)
        and bool(labels)
        and all(isinstance(label, dict) for label in labels)
    )


class _Unpickler(pickle.Unpickler):
    """Makes plain Python values and numpy's arrays, and refuses whatever else it is asked for."""

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 moved its core, and files name it by where it was when they were written.
        module = module.replace('numpy._core', 'numpy.core')
        known = {
            ('numpy', 'dtype'),
            ('numpy', 'ndarray'),
            ('numpy.core.multiarray', '_reconstruct'),
            ('numpy.core.multiarray', 'scalar'),
            ('numpy.core.numeric', '_frombuffer'),
            ('_codecs', 'encode'),  # bytes, as Python 2's pickles have them
            ('collections', 'OrderedDict'),
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f'it asks for {module}.{name}, which is refused')
        return super().find_class(module.replace('numpy.core', 'numpy._core'), name)
