"""Keypoints that somebody labelled in COCO's format, as clips: any skeleton, people or animals.

Contract: `root` is a JSON file, or a folder in which such files lie, itself or in `annotations`.
`file_name`s are relative to the folder of the file, to `root`, or to `images` in `root`. A file
with `train` in its name is trained on, one with `val` or `test` is tested on; of one file alone a
share of the sequences is kept for testing.

A sequence is what has one `video_id`, or else one folder and name before the image's number
(`take1/000012.jpg`, `take1_012.jpg`), or else an image alone (`000012.jpg`); its frames are in the
order of `frame_id`, or else of their names. One individual of a sequence is a clip: annotations
with the same `track_id` or `instance_id`, or else those whose boxes overlap from frame to frame. Up
to 30 frames without an annotation in between belong to the clip as frames without labels, their
boxes interpolated; a sequence that has no annotation at all is a clip without labels whose box is
the whole picture, and somebody seen in a single image is that image twice, which teaches the
joints.

Joints with visibility 1 or 2 count as visible. Coordinates and boxes stay as the file has them,
boxes ending on their last pixel; an annotation without a box gets one around its keypoints.
"""

import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from ttp_jax.data import images
from ttp_jax.data.clips import SPLITS, Clip, Labels, as_id, check_request
from ttp_jax.data.held_out import held_out_names
from ttp_jax.data.people import tracks
from ttp_jax.data.skeletons import Skeleton, of_names

_GAP = 30  # frames without a label that boxes are interpolated over
_MARGIN = 0.1  # of the longer side, around keypoints that have no box

Json = Mapping[str, Any]


class _Sequence(NamedTuple):
    """A video's images in order, and who is labelled in them."""

    name: str
    images: Sequence[Json]
    found: Mapping[int, Sequence[Json]]  # annotations by the image's place in the sequence


def coco_skeleton(root: str | pathlib.Path) -> Skeleton:
    """The joints and bones that the files in `root` name.

    Raises:
      ValueError: as `coco_clips` does.
    """
    found = {split: of_tree(_read(paths), paths[0]) for split, paths in files(root).items()}
    first = next(iter(found.values()))
    if other := [each for each in found.values() if each.joints != first.joints]:
        raise ValueError(
            f'{root}: its files name different keypoints, {", ".join(first.joints)} and '
            f'{", ".join(other[0].joints)}, expected the same'
        )
    return first


def coco_clips(
    root: str | pathlib.Path, *, split: str, held_out: float = 0.2, limit: int | None = None
) -> list[Clip]:
    """The clips of one split, sequence after sequence, frames still on disk.

    Args:
      root: a file or a folder, as above.
      split: 'train' or 'test'.
      held_out: the share of sequences to test on, where one file has them all.
      limit: take only the first so many clips.

    Raises:
      ValueError: in one line that names the file, what was found and what was expected.
    """
    check_request(split, limit)
    paths = files(root)
    if split in paths:
        tree, source = _read(paths[split]), paths[split][0]
        chosen = sequences(tree, source)
    else:
        tree, source = _read(paths['']), paths[''][0]
        chosen = _part(sequences(tree, source), split, held_out, source)
    joints = len(of_tree(tree, source).joints)
    folders = (source.parent, pathlib.Path(root), pathlib.Path(root) / 'images')
    clips = [clip for one in chosen for clip in _clips(one, joints, source, folders)]
    if not clips:
        raise ValueError(f'{source}: found no clip of the {split} split, expected some')
    return clips[:limit]


def _part(
    found: Sequence[_Sequence], split: str, share: float, source: pathlib.Path
) -> list[_Sequence]:
    if len(found) < 2:
        raise ValueError(
            f'{source}: found {len(found)} sequence, expected two at least, or a file to train '
            "on and one to test on, with 'train' and 'test' in their names"
        )
    tested = held_out_names([each.name for each in found], share)
    return [each for each in found if (each.name in tested) == (split == 'test')]


# --- files -----------------------------------------------------------------------------------


def files(root: str | pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """The files of keypoints by split; '' for one that has both.

    Raises:
      ValueError: there is none, or it cannot be told which is for what.
    """
    root = pathlib.Path(root)
    if root.is_file():
        return {'': [root]}
    known = [p for folder in (root, root / 'annotations') for p in sorted(folder.glob('*.json'))]
    named = [path for path in known if 'keypoint' in path.name.lower()]
    found = named or known
    if not found:
        raise ValueError(f'{root}: found no JSON file, expected keypoints in COCO format')
    parts: dict[str, list[pathlib.Path]] = {}
    for path in found:
        parts.setdefault(_split_of(path), []).append(path)
    if set(parts) not in ({''}, set(SPLITS)):
        names = ', '.join(path.name for path in found)
        raise ValueError(
            f"{root}: found {names}, expected one file, or some with 'train' and some with 'test' "
            "or 'val' in their names"
        )
    if len(parts.get('', ())) > 1:
        raise ValueError(f'{root}: found {len(found)} JSON files, expected one without a split')
    return parts


def _split_of(path: pathlib.Path) -> str:
    name = path.stem.lower()
    if 'train' in name:
        return 'train'
    return 'test' if 'val' in name or 'test' in name else ''


def _read(paths: Sequence[pathlib.Path]) -> Json:
    """The first file's tree; those of several files of one split are not joined, but refused."""
    path, *more = paths
    if more:
        raise ValueError(f'{path.parent}: found {path.name} and {more[0].name}, expected one')
    try:
        tree = json.loads(path.read_text(encoding='utf-8-sig'))
        _ = tree['images'], tree['annotations'], tree['categories']
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path}: {error!r}, expected COCO keypoints: images, annotations and categories'
        ) from None
    return tree


def of_tree(tree: Json, source: pathlib.Path) -> Skeleton:
    """The skeleton that a file's categories name.

    Raises:
      ValueError: no category has keypoints, or two of them have different ones.
    """
    named = [each for each in tree['categories'] if each.get('keypoints')]
    if not named:
        raise ValueError(f'{source}: no category has keypoints, expected their names')
    first, *others = named
    for other in others:
        if other['keypoints'] != first['keypoints']:
            raise ValueError(
                f'{source}: categories {first.get("name")!r} and {other.get("name")!r} have '
                'different keypoints, expected the same'
            )
    try:
        bones = [(a - 1, b - 1) for a, b in first.get('skeleton') or ()]
        return of_names(first['keypoints'], bones)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{source}: {error}') from None


# --- sequences and individuals ---------------------------------------------------------------


def sequences(tree: Json, source: pathlib.Path) -> list[_Sequence]:
    """The videos of a file, each with its images in order and who is labelled in them.

    Raises:
      ValueError: an image or annotation lacks a field, or belongs to nothing.
    """
    try:
        names = {video['id']: str(video.get('name', video['id'])) for video in _of(tree, 'videos')}
        grouped: dict[str, list[Json]] = {}
        for image in tree['images']:
            grouped.setdefault(_sequence_name(image, names), []).append(image)
        found = _by_image(tree)
        ordered = {name: sorted(own, key=_order) for name, own in grouped.items()}
        return [_sequence(name, own, found) for name, own in ordered.items()]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{source}: {error!r}, expected COCO images and annotations') from None


def _of(tree: Json, key: str) -> Sequence[Json]:
    return tree.get(key) or ()


def _by_image(tree: Json) -> dict[Any, list[Json]]:
    """Annotations by image, of single individuals whose category has keypoints."""
    with_joints = {each['id'] for each in tree['categories'] if each.get('keypoints')}
    found: dict[Any, list[Json]] = {image['id']: [] for image in tree['images']}
    for each in tree['annotations']:
        if each['category_id'] in with_joints and not each.get('iscrowd'):
            found[each['image_id']].append(each)
    return found


def _sequence(name: str, own: Sequence[Json], found: Mapping[Any, Sequence[Json]]) -> _Sequence:
    return _Sequence(name, own, {t: found[image['id']] for t, image in enumerate(own)})


def _sequence_name(image: Json, videos: Mapping[Any, str]) -> str:
    """Of the video, or of the folder and what comes before the image's number."""
    if 'video_id' in image:
        return videos.get(image['video_id'], str(image['video_id']))
    path = pathlib.PurePosixPath(image['file_name'].replace('\\', '/'))
    stem = re.sub(r'[ _.-]*\d+$', '', path.stem)
    return '/'.join([*path.parts[:-1], *([stem] if stem else [])]) or path.stem


def _order(image: Json) -> tuple:
    """By frame, or else by name, numbers in it counted as numbers."""
    parts = re.split(r'(\d+)', image['file_name'])
    return image.get('frame_id', 0), [int(p) if p.isdigit() else p for p in parts]


def _clips(
    sequence: _Sequence, joints: int, source: pathlib.Path, folders: Iterable[pathlib.Path]
) -> list[Clip]:
    paths = [_path(image, source, folders) for image in sequence.images]
    name = as_id(sequence.name, otherwise='images')
    people = _individuals(sequence, joints, source)
    if not people:
        return _unlabelled(name, paths, sequence.images[0])
    clips = []
    for person, places in people.items():
        for part, rows in enumerate(_parts(sorted(places)), start=1):
            id = f'{name}-{person}' + f'.{part}' * (part > 1)
            clips.append(_clip(id, paths, {t: places[t] for t in rows}, joints))
    return clips


def _path(image: Json, source: pathlib.Path, folders: Iterable[pathlib.Path]) -> pathlib.Path:
    """Where an image lies: in the first folder that has it."""
    tried = [folder / image['file_name'] for folder in folders]
    for path in tried:
        if path.is_file():
            return path
    raise ValueError(f'{tried[0]}: no such file, which {source} names an image of')


def _unlabelled(name: str, paths: Sequence[pathlib.Path], image: Json) -> list[Clip]:
    if len(paths) < 2:
        logging.warning('%s: one image without an annotation, left out', paths[0])
        return []
    height, width, _ = images.decode(paths[0].read_bytes(), paths[0]).shape
    track = tracks.whole_frame(len(paths), (height, width))
    return [Clip(name, images.Frames(tuple(paths)), track.boxes)]


class _Place(NamedTuple):
    """An individual in one frame."""

    box: np.ndarray  # [4]
    joints: np.ndarray  # [J, 2]
    visibility: np.ndarray  # [J]


def _individuals(
    sequence: _Sequence, joints: int, source: pathlib.Path
) -> dict[str, dict[int, _Place]]:
    """By individual and frame, where they are."""
    rows = [
        (t, each, _place(each, joints, source))
        for t, found in sequence.found.items()
        for each in found
    ]
    known = [_identity(each) for _, each, _ in rows]
    if not rows or all(name is not None for name in known):
        names = [str(name) for name in known]
    else:
        names = _linked([t for t, _, _ in rows], [place.box for _, _, place in rows])
    people: dict[str, dict[int, _Place]] = {}
    for name, (t, each, place) in zip(names, rows):
        if t in people.setdefault(as_id(name, otherwise='one'), {}):
            raise ValueError(
                f'{source}: image {each["image_id"]} has two annotations of individual {name}, '
                'expected one'
            )
        people[as_id(name, otherwise='one')][t] = place
    return people


def _identity(each: Json) -> Any:
    return each.get('track_id', each.get('instance_id'))


def _linked(frames: Sequence[int], boxes: Sequence[np.ndarray]) -> list[str]:
    """The number of the track that each box belongs to."""
    key: dict[tuple[int, bytes], str] = {}
    for track in tracks.linked(frames, np.stack(boxes)):
        key |= {
            (t, box.tobytes()): track.person for t, box in zip(track.frames.tolist(), track.boxes)
        }
    return [key[t, box.tobytes()] for t, box in zip(frames, boxes)]


def _place(each: Json, joints: int, source: pathlib.Path) -> _Place:
    name = f'{source}: annotation {each.get("id")}'
    try:
        points = np.asarray(each.get('keypoints') or np.zeros(3 * joints), np.float32)
        bbox = np.asarray(each.get('bbox') or np.zeros(4), np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{name}: {error}, expected numbers in keypoints and bbox') from None
    if bbox.shape != (4,) or not np.isfinite(bbox).all():
        raise ValueError(f'{name}: bbox is {each["bbox"]}, expected x, y, width and height')
    if points.shape != (3 * joints,) or not np.isfinite(points).all():
        raise ValueError(
            f'{name}: {points.size} numbers of keypoints, expected x, y and visibility of {joints}'
        )
    points = points.reshape(joints, 3)
    visible = (points[:, 2] > 0).astype(np.float32)
    x, y, width, height = bbox
    if width > 0 and height > 0:  # without an area it only holds a place
        box = np.array([x, y, x + max(width, 1) - 1, y + max(height, 1) - 1], np.float32)
    elif visible.any():
        box = around(points[visible > 0, :2])
    else:
        raise ValueError(f'{name}: has neither a bbox nor a keypoint that is visible')
    return _Place(box, points[:, :2] * visible[:, None], visible)


def around(points: np.ndarray) -> np.ndarray:
    """The box `[4]` around points `[P, 2]`, with a margin."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = max(1.0, _MARGIN * float((high - low).max()))
    return np.concatenate([low - margin, high + margin]).astype(np.float32)


def _parts(frames: Sequence[int]) -> list[np.ndarray]:
    """The frames of an individual, broken at gaps that are too long."""
    return np.split(np.array(frames), np.flatnonzero(np.diff(frames) > _GAP + 1) + 1)


def _clip(
    id: str, paths: Sequence[pathlib.Path], places: Mapping[int, _Place], joints: int
) -> Clip:
    """One individual's clip, from the first frame that shows them to the last."""
    known = sorted(places)
    frames = np.arange(known[0], known[-1] + 1)
    sides = np.stack([places[t].box for t in known], axis=1)
    boxes = np.stack([np.interp(frames, known, side) for side in sides], axis=1).astype(np.float32)
    labels = Labels(
        np.zeros((len(frames), joints, 2), np.float32), np.zeros((len(frames), joints), np.float32)
    )
    for t in known:
        labels.joints[t - known[0]] = places[t].joints
        labels.visibility[t - known[0]] = places[t].visibility
    rows = np.arange(len(frames)) if len(frames) > 1 else np.array([0, 0])
    shown = images.Frames(tuple(paths[t] for t in frames[rows]))
    return Clip(id, shown, boxes[rows], Labels(labels.joints[rows], labels.visibility[rows]))
