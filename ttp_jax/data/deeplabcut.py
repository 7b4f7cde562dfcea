"""A DeepLabCut project as clips: few labelled frames, and the videos that they come from.

Contract: `root` is the project's folder: `config.yaml`, which names body parts, skeleton and
videos; `labeled-data/<video>/CollectedData_<scorer>.csv` (or `.h5`, which takes pandas and tables)
beside the images that it labels; and the videos, where `config.yaml` says they are or in `videos`.

One individual of a video is a clip: the labelled images, and between them frames of the video that
nobody has labelled, evenly spread, in the order of the video. A share of the labelled images is
kept for testing: for training their joints count as unseen, for testing all others do. So both
splits are of the same individuals in the same frames, as such projects are meant, and no label is
on both sides. A video without labels is a clip without labels.

Boxes are of one size over a video, around all places where it has labels of the individual, so that
labelled frames and others are seen alike; a video without labels is seen whole. A file of boxes
(`people.box_files`) says better; its people are the individuals by name. Coordinates are (x, y) in
pixels of the labelled images.
"""

import csv
import dataclasses
import itertools
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import yaml
from absl import logging

from ttp_jax.data import images
from ttp_jax.data.clips import Clip, Labels, as_id, check_request
from ttp_jax.data.held_out import held_out_names
from ttp_jax.data.people import box_files, tracks
from ttp_jax.data.skeletons import Skeleton, of_names
from ttp_jax.data.video import Frame, Video, open_videos

_HEAD = ('scorer', 'individuals', 'bodyparts', 'coords')
_MARGIN = 0.25  # of the longer side, around all labels of a video
_ONE = '1'  # the individual of a project that names none
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]


class _Still(NamedTuple):
    """One image of a video: its number there, its file, and whether somebody labelled it."""

    number: int
    path: pathlib.Path
    labelled: bool


class _Labelled(NamedTuple):
    """The labels of one video: images in order, and by individual what is labelled in them."""

    paths: Sequence[pathlib.Path]
    people: Mapping[str, Labels]


@dataclasses.dataclass(frozen=True)
class Project:
    """What `config.yaml` says."""

    root: pathlib.Path
    skeleton: Skeleton
    videos: Mapping[str, pathlib.Path]  # by name; those that are there
    crops: Mapping[str, tuple[int, int, int, int]]  # by video, x1, x2, y1, y2 of its images


def deeplabcut_skeleton(root: str | pathlib.Path) -> Skeleton:
    """The body parts and bones of a project. Raises ValueError as `read_project` does."""
    return read_project(root).skeleton


def deeplabcut_clips(
    root: str | pathlib.Path,
    *,
    split: str,
    folder: str | pathlib.Path = '',
    held_out: float = 0.2,
    frames: int = 100,
    boxes: str = '',
    limit: int | None = None,
) -> list[Clip]:
    """The clips of one split, video after video.

    Args:
      root: the project.
      split: 'train' or 'test'.
      folder: where frames of videos are put, as JPEGs; without it labelled images are all.
      held_out: the share of the labelled images to test on.
      frames: of a clip, about: unlabelled ones are added up to it.
      boxes: a file of boxes; '': see above.
      limit: take only the first so many clips.

    Raises:
      ValueError: in one line that names the file, what was found and what was expected.
    """
    check_request(split, limit)
    project = read_project(root)
    labelled = {path.name: read_labels(path, project) for path in _labelled_folders(project)}
    names = [f'{name}/{path.stem}' for name, each in labelled.items() for path in each.paths]
    if len(names) < 2:
        raise ValueError(
            f'{project.root}: found {len(names)} labelled image(s), expected two at least'
        )
    tested = held_out_names(names, held_out)
    everything = sorted({*labelled, *project.videos})
    given = box_files.read(boxes, videos=everything) if boxes else {}
    clips: list[Clip] = []
    for name in everything:
        own = labelled.get(name, _Labelled((), {}))
        stills = _stills(project, name, own, folder, frames)
        clips += _clips(name, own, stills, tested, split, given.get(name, ()))
    if not clips:
        raise ValueError(f'{project.root}: no video has two images, expected one at least')
    return clips[:limit]


# --- the project -----------------------------------------------------------------------------


def read_project(root: str | pathlib.Path) -> Project:
    """What `config.yaml` says, as far as it is there.

    Raises:
      ValueError: the file is missing or no YAML, or it names no body part.
    """
    root = pathlib.Path(root)
    path = root / 'config.yaml'
    try:
        tree = yaml.safe_load(path.read_text(encoding='utf-8'))
        parts = tree['bodyparts']
        parts = tree['multianimalbodyparts'] if isinstance(parts, str) else parts
        places = {part: index for index, part in enumerate(parts)}
        pairs = tree.get('skeleton') or ()  # a new project's names parts that it does not have
        bones = [(places[a], places[b]) for a, b in pairs if a in places and b in places]
        skeleton = of_names(parts, bones)
        sets = tree.get('video_sets') or {}
        crops = {_stem(video): _crop((each or {}).get('crop')) for video, each in sets.items()}
    except OSError as error:
        raise ValueError(
            f'{path}: cannot be read ({error.strerror}), expected a DeepLabCut project'
        ) from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        text = ' '.join(str(error).split())
        raise ValueError(f"{path}: not a DeepLabCut project's ({text})") from None
    videos = {_stem(video): _video(root, video) for video in sets}
    return Project(
        root,
        skeleton,
        {name: video for name, video in videos.items() if video is not None},
        {name: crop for name, crop in crops.items() if crop is not None},
    )


def _stem(video: str) -> str:
    """A video's name: projects move between systems, and so their paths have either slash."""
    return str(video).replace('\\', '/').rpartition('/')[2].rpartition('.')[0]


def _video(root: pathlib.Path, video: str) -> pathlib.Path | None:
    name = str(video).replace('\\', '/').rpartition('/')[2]
    found = [path for path in (pathlib.Path(video), root / 'videos' / name) if path.is_file()]
    if not found:
        logging.warning('%s: no such video, of which only labelled images are used', video)
    return found[0] if found else None


def _crop(text: str | None) -> tuple[int, int, int, int] | None:
    if not text:
        return None
    x1, x2, y1, y2 = (int(float(side)) for side in str(text).split(','))
    return x1, x2, y1, y2


def _labelled_folders(project: Project) -> list[pathlib.Path]:
    """The folders of images that somebody has labelled."""
    inside = sorted((project.root / 'labeled-data').glob('*'))
    found = [path for path in inside if any(path.glob('CollectedData_*'))]
    if not found:
        raise ValueError(
            f'{project.root / "labeled-data"}: found no CollectedData_*.csv in {len(inside)} '
            'folders, expected labelled frames'
        )
    return found


# --- labels ----------------------------------------------------------------------------------


def read_labels(folder: pathlib.Path, project: Project) -> _Labelled:
    """The labels of one video.

    Raises:
      ValueError: naming the file, for a table that is none of DeepLabCut's, a number that is none,
        or an image that is not there.
    """
    path, columns, rows = _table(folder)
    parts = {part: index for index, part in enumerate(project.skeleton.joints)}
    people: dict[str, np.ndarray] = {}
    for column, (individual, part, axis) in enumerate(columns):
        if part in parts and axis in ('x', 'y') and individual != 'single':
            shape = (len(rows), len(parts), 2)
            values = people.setdefault(individual, np.full(shape, np.nan, np.float32))
            values[:, parts[part], 'xy'.index(axis)] = [row[1][column] for row in rows]
    if not people:
        raise ValueError(f'{path}: names none of the body parts of {project.root / "config.yaml"}')
    paths = [folder / name for name, _ in rows]
    if missing := [image for image in paths if not image.is_file()]:
        raise ValueError(f'{missing[0]}: no such image, which {path.name} has labels of')
    return _Labelled(paths, {name: _as_labels(joints) for name, joints in people.items()})


def _as_labels(joints: np.ndarray) -> Labels:
    """Joints with NaN where nobody has put one, as labels."""
    seen = np.isfinite(joints).all(axis=-1)
    return Labels(np.where(seen[..., None], joints, 0).astype(np.float32), seen.astype(np.float32))


def _table(folder: pathlib.Path):
    """(file, (individual, part, coordinate) of each column, (image, numbers) of each row)."""
    for kind, read in (('csv', _of_csv), ('h5', _of_hdf5)):
        for path in sorted(folder.glob(f'CollectedData_*.{kind}')):
            return path, *read(path)
    raise ValueError(f'{folder}: found no CollectedData_*.csv or .h5, expected labels')


def _of_csv(path: pathlib.Path):
    with path.open(newline='', encoding='utf-8-sig') as file:
        rows = [row for row in csv.reader(file) if row]
    head = {row[0]: row for row in itertools.takewhile(lambda row: row[0] in _HEAD, rows)}
    if not {'bodyparts', 'coords'} <= head.keys():
        raise ValueError(
            f"{path}: has no rows 'bodyparts' and 'coords' at its top, expected DeepLabCut's"
        )
    keys = 1 + sum(1 for _ in itertools.takewhile(lambda cell: not cell, head['coords'][1:]))
    count = len(head['coords']) - keys
    individuals = head.get('individuals', [_ONE] * (keys + count))
    columns = list(zip(individuals[keys:], head['bodyparts'][keys:], head['coords'][keys:]))
    table = []
    for line, row in enumerate(rows[len(head) :], start=len(head) + 1):
        if len(row) != keys + count:
            raise ValueError(f'{path}: line {line} has {len(row)} cells, expected {keys + count}')
        table.append((_image(row[:keys]), [_number(cell, path, line) for cell in row[keys:]]))
    return columns, table


def _image(cells: Sequence[str]) -> str:
    return re.split(r'[/\\]', cells[-1])[-1]


def _number(cell: str, path: pathlib.Path, line: int) -> float:
    try:
        return float(cell) if cell.strip() else np.nan
    except ValueError:
        raise ValueError(f'{path}: line {line}: {cell!r}, expected a number or nothing') from None


def _of_hdf5(path: pathlib.Path):
    try:
        import pandas  # optional, and slow to import

        frame = pandas.read_hdf(path)
    except ImportError:
        raise ValueError(
            f"{path}: needs `pip install 'ttp_jax[deeplabcut]'`, or the CSV beside it"
        ) from None
    except Exception as error:  # whatever HDF5 does
        raise ValueError(f'{path}: cannot be read ({str(error).splitlines()[0]})') from None
    levels = list(frame.columns.names)
    if not {'bodyparts', 'coords'} <= set(levels):
        raise ValueError(f"{path}: its columns are {levels}, expected DeepLabCut's")

    def column(values: Sequence[Any]) -> tuple[str, str, str]:
        named = dict(zip(levels, map(str, values)))
        return named.get('individuals', _ONE), named['bodyparts'], named['coords']

    names = [index if isinstance(index, tuple) else (index,) for index in frame.index]
    rows = [
        (_image([str(n) for n in name]), row.tolist()) for name, row in zip(names, frame.values)
    ]
    return [column(values) for values in frame.columns], rows


# --- frames of videos ------------------------------------------------------------------------


def _stills(
    project: Project, name: str, own: _Labelled, folder: str | pathlib.Path, frames: int
) -> list[_Still]:
    """A video's labelled images and, in between, others of its frames."""
    labelled = [_Still(_number_of(path), path, True) for path in own.paths]
    taken = {still.number for still in labelled}
    more = frames - len(labelled)
    others: Sequence[tuple[int, pathlib.Path]] = ()
    if folder and name in project.videos and more > 0:
        video = open_videos(project.videos[name])[0]
        size = images.decode(own.paths[0].read_bytes(), own.paths[0]).shape[:2] if taken else None
        crop = _region(video, size, project.crops.get(name))
        if crop is not None:
            others = extract(video, pathlib.Path(folder) / f'{name}-{more}', more, crop)
    found = [_Still(number, path, False) for number, path in others if number not in taken]
    return sorted([*labelled, *found])


def _number_of(path: pathlib.Path) -> int:
    """The frame of the video that a labelled image is, by the number in its name."""
    numbers = re.findall(r'\d+', path.stem)
    return int(numbers[-1]) if numbers else 0


def _region(
    video: Video, size: tuple[int, int] | None, crop: tuple[int, int, int, int] | None
) -> tuple[slice, slice] | None:
    """The rows and columns of the video that its labelled images of `size` show."""
    if size in (None, video.size):
        return slice(None), slice(None)
    if crop is not None and (crop[3] - crop[2], crop[1] - crop[0]) == size:
        return slice(crop[2], crop[3]), slice(crop[0], crop[1])
    logging.warning(
        '%s: is %s pixels, its labelled images are %s, and config.yaml has no crop of that size; '
        'none of its other frames is used',
        video.paths[0],
        video.size,
        size,
    )
    return None


def extract(
    video: Video, folder: pathlib.Path, count: int, region: tuple[slice, slice]
) -> list[tuple[int, pathlib.Path]]:
    """(number, file) of about `count` frames, evenly spread over a video, put into `folder`.

    The folder is whole or not there; one that is there is taken as it is.
    """
    if not folder.is_dir():
        whole = folder.with_name(folder.name + '.part')
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir(parents=True)
        for frame in _spread(video, count):
            path = whole / f'{frame.index:06d}.jpg'
            cv2.imwrite(str(path), cv2.cvtColor(frame.image[region], cv2.COLOR_RGB2BGR), _QUALITY)
        os.replace(whole, folder)
    return [(int(path.stem), path) for path in sorted(folder.glob('*.jpg'))]


def _spread(video: Video, count: int) -> Iterator[Frame]:
    length = video.length() or sum(1 for _ in video.frames())
    step = max(1, -(-length // count))
    return (frame for frame in video.frames() if frame.index % step == step // 2)


# --- clips -----------------------------------------------------------------------------------


def _clips(
    name: str,
    own: _Labelled,
    stills: Sequence[_Still],
    tested: set[str],
    split: str,
    given: Sequence[tracks.Track],
) -> list[Clip]:
    """Everyone's clip of one video; one without labels where nobody is labelled."""
    if len(stills) == 1:
        stills = [*stills, *stills]  # teaches its joints
    if not stills:
        return []
    safe = as_id(name, otherwise='video')
    frames = images.Frames(tuple(still.path for still in stills))
    first = frames[0].shape[:2]
    counts = [f'{name}/{still.path.stem}' in tested for still in stills]
    kept = np.array([hit == (split == 'test') for hit in counts])
    clips = []
    for person, labels in own.people.items():
        spread = _spread_labels(labels, own.paths, stills)
        boxes = _boxes(_track_of(person, given, len(own.people)), spread, stills, first)
        visibility = spread.visibility * kept[:, None]
        id = safe if person == _ONE else f'{safe}-{as_id(person, otherwise="individual")}'
        clips.append(Clip(id, frames, boxes, Labels(spread.joints, visibility)))
    if clips:
        return clips
    if len(stills) < 2:
        return []
    unlabelled = _boxes(given[0] if given else None, None, stills, first)
    return [Clip(safe, frames, unlabelled)]


def _spread_labels(
    labels: Labels, paths: Sequence[pathlib.Path], stills: Sequence[_Still]
) -> Labels:
    """Labels of all images: those that nobody has labelled show no joint."""
    row = {path: index for index, path in enumerate(paths)}
    joints = np.zeros((len(stills), *labels.joints.shape[1:]), np.float32)
    visibility = np.zeros(joints.shape[:2], np.float32)
    for t, still in enumerate(stills):
        if still.labelled:
            joints[t] = labels.joints[row[still.path]]
            visibility[t] = labels.visibility[row[still.path]]
    return Labels(joints, visibility)


def _track_of(person: str, given: Sequence[tracks.Track], people: int) -> tracks.Track | None:
    named = [track for track in given if track.person == person]
    return (named or (list(given) if people == 1 else []) or [None])[0]  # type: ignore[list-item]


def _boxes(
    track: tracks.Track | None,
    labels: Labels | None,
    stills: Sequence[_Still],
    size: tuple[int, int],
) -> np.ndarray:
    """The box in every image: as given, else around all that is labelled, else the picture."""
    numbers = [still.number for still in stills]
    if track is not None:
        sides = [np.interp(numbers, track.frames, side) for side in track.boxes.T]
        return np.stack(sides, axis=1).astype(np.float32)
    seen = None if labels is None else labels.joints[labels.visibility > 0]
    if seen is None or not len(seen):
        return tracks.whole_frame(len(stills), size).boxes
    low, high = seen.min(axis=0), seen.max(axis=0)
    margin = max(2.0, _MARGIN * float((high - low).max()))
    edge = np.array(size[::-1]) - 1
    box = np.concatenate([np.maximum(low - margin, 0), np.minimum(high + margin, edge)])
    return np.tile(box.astype(np.float32), (len(stills), 1))
