"""Boxes around people from files: a CSV table, MOTChallenge tracks, or COCO detections.

Contract: what comes out is `Track`s: frames counted from 0, boxes `x1, y1, x2, y2` in pixels from
(0, 0), ending on their last pixel. What goes in is told by its content:

  CSV      a header that names `frame` (from 0), `x1, y1, x2, y2` (as above) or `x, y, width,
           height`, and maybe `person` (else there is one) and `video` (a file's name without its
           ending, or with it where two have the same; needed for several videos). Other columns are
           passed over.
  MOT      rows without a header, `frame, id, left, top, width, height, confidence, ...`, frames and
           pixels from 1 as MOTChallenge counts; rows with confidence 0 are no people.
  COCO     JSON: a list of detections, or a dict with `annotations` and maybe `images`. Frames are
           the images in the order of `frame_id`, or else of `id`; without `images`, `image_id` is
           the frame itself, from 0. People are told apart by `track_id`, or else linked by overlap.
"""

import csv
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ttp_jax.data.people.tracks import Track, linked
from ttp_jax.data.video import name_of

_CORNERS, _SIZES = ('x1', 'y1', 'x2', 'y2'), ('x', 'y', 'width', 'height')
_LEAST_SCORE = 0.3  # of a detection that says how sure it is
_COCO_PERSON = 1


def read(path: str | pathlib.Path, *, videos: Sequence[str]) -> dict[str, list[Track]]:
    """Everybody's track, by the video they are in.

    videos: the names of those that are read. Raises ValueError, naming the file and the line or
    key, for a file that is missing or none of the three kinds, and for people of no known video.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f'{path}: no such file, expected boxes of people')
    text = path.read_text(encoding='utf-8-sig', errors='replace').strip()
    if not text:
        raise ValueError(f'{path}: empty, expected boxes of people')
    if text[0] in '[{':
        found = {'': _coco(text, path)}
    elif any(letter.isalpha() for letter in text.splitlines()[0]):
        found = _table(text, path)
    else:
        found = {'': _mot(text, path)}
    return _by_video(found, videos, path)


def _by_video(found: Mapping[str, list[Track]], videos: Sequence[str], path: pathlib.Path):
    if '' in found and len(videos) > 1:
        raise ValueError(
            f'{path}: its boxes do not say of which of {len(videos)} videos they are, expected a '
            'CSV with a column named video'
        )
    named = {
        videos[0] if name == '' else name if name in videos else name_of(name): tracks
        for name, tracks in found.items()
    }
    for name in named:
        if name not in videos:
            raise ValueError(f'{path}: boxes of a video {name!r}, expected {", ".join(videos)}')
    return named


def _table(text: str, path: pathlib.Path) -> dict[str, list[Track]]:
    rows = list(csv.DictReader(text.splitlines(), skipinitialspace=True))
    columns = {name.strip().lower(): name for name in (rows[0] if rows else {}) if name}
    sides = _CORNERS if 'x1' in columns else _SIZES
    missing = [name for name in ('frame', *sides) if name not in columns]
    if missing:
        raise ValueError(
            f'{path}: no column {missing[0]!r} among {", ".join(columns) or "none"}, expected '
            'frame and x1, y1, x2, y2 (or x, y, width, height), and maybe person and video'
        )
    boxes: dict[str, dict[str, list]] = {}
    for number, row in enumerate(rows, start=2):
        frame, *box = (
            _number(row[columns[name]], path, number, name) for name in ('frame', *sides)
        )
        video, person = (str(row.get(columns.get(k)) or '').strip() for k in ('video', 'person'))
        people = boxes.setdefault(video, {})
        people.setdefault(person or '1', []).append((frame, *_corners(box, sides)))
    return {video: _tracks(people, path) for video, people in boxes.items()}


def _corners(box: Sequence[float], sides: tuple[str, ...]) -> Sequence[float]:
    if sides == _CORNERS:
        return box
    x, y, width, height = box
    return x, y, x + width - 1, y + height - 1


def _number(value: str | None, path: pathlib.Path, line: int, name: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # None is a TypeError
    except (TypeError, ValueError):
        raise ValueError(f'{path}: line {line}: {name} is {value!r}, expected a number') from None


def _mot(text: str, path: pathlib.Path) -> list[Track]:
    people: dict[str, list] = {}
    for line, row in enumerate(csv.reader(text.splitlines()), start=1):
        if len(row) < 6:
            raise ValueError(
                f'{path}: line {line} has {len(row)} values, expected MOTChallenge rows of frame, '
                'id, left, top, width, height, or a CSV whose header names its columns'
            )
        values = [_number(value, path, line, f'value {i}') for i, value in enumerate(row, start=1)]
        frame, person, *box = values[:6]
        if len(values) < 7 or values[6] != 0:
            box = [box[0] - 1, box[1] - 1, *box[2:]]
            people.setdefault(f'{person:g}', []).append((frame - 1, *_corners(box, _SIZES)))
    return _tracks(people, path)


def _coco(text: str, path: pathlib.Path) -> list[Track]:
    try:
        tree = json.loads(text)
        images = tree.get('images', []) if isinstance(tree, dict) else []
        found = [
            each
            for each in (tree['annotations'] if isinstance(tree, dict) else tree)
            if each.get('category_id', _COCO_PERSON) == _COCO_PERSON
            and each.get('score', 1.0) >= _LEAST_SCORE
        ]
        order = sorted(images, key=lambda image: image.get('frame_id', image['id']))
        frame_of = {image['id']: index for index, image in enumerate(order)}
        rows = [_detection(each, frame_of) for each in found]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f'no {error}' if isinstance(error, KeyError) else str(error)
        raise ValueError(f'{path}: not COCO detections ({what})') from None
    if not rows:
        raise ValueError(f'{path}: holds no person, expected detections with a bbox')
    if all('track_id' in each for each in found):
        people: dict[str, list] = {}
        for each, row in zip(found, rows):
            people.setdefault(str(each['track_id']), []).append(row)
        return _tracks(people, path)
    return linked([int(row[0]) for row in rows], np.array([row[1:] for row in rows], np.float32))


def _detection(each: Mapping[str, Any], frame_of: Mapping[Any, int]) -> tuple[float, ...]:
    frame = frame_of[each['image_id']] if frame_of else float(each['image_id'])
    return (frame, *_corners([float(side) for side in each['bbox']], _SIZES))


def _tracks(people: Mapping[str, Iterable[Sequence[float]]], path: pathlib.Path) -> list[Track]:
    if not people:
        raise ValueError(f'{path}: holds no person, expected rows of boxes')
    return [
        _track(person, np.array(sorted(map(tuple, rows))), path) for person, rows in people.items()
    ]


def _track(person: str, rows: np.ndarray, path: pathlib.Path) -> Track:
    with np.errstate(invalid='ignore'):  # what is no number is told below
        frames = rows[:, 0].astype(int)
    wrong = (frames != rows[:, 0]) | (frames < 0)
    if wrong.any():
        raise ValueError(
            f'{path}: person {person}: a frame is {rows[wrong.argmax(), 0]:g}, expected whole '
            'numbers from the first frame on'
        )
    twice = np.flatnonzero(np.diff(frames) == 0)
    if twice.size:
        raise ValueError(
            f'{path}: person {person}: found two boxes in frame {frames[twice[0]]}, expected one'
        )
    return Track(person, frames, rows[:, 1:].astype(np.float32))
