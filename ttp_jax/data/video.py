"""Videos as people bring them: a file, a folder or pattern of videos, or one of frames.

Contract: a frame is `[height, width, 3]` uint8 RGB as a player shows it, turned as the mark of the
file (of an image: its EXIF orientation) says; its index counts from 0 in the order of the video,
its time is in seconds from the first frame. Frames are decoded while they are asked for, one after
another, and forgotten: a film of two hours takes no more memory than one of two seconds. Faults are
one-line ValueErrors that name the file; of a damaged video everything that decodes is kept, and a
warning says what is not. Where an image cannot be read the one before it stands, so that the others
keep their numbers.
"""

import dataclasses
import glob
import itertools
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import av
import numpy as np
from absl import logging

from ttp_jax.data import images
from ttp_jax.data.clips import as_id

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
VIDEOS = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.ts', '.wmv', '.gif')
_RATE = 25.0  # frames per second, where nothing says


class Frame(NamedTuple):
    """One frame: its index, its time in seconds, and `[height, width, 3]` uint8 RGB."""

    index: int  # type: ignore[assignment]  # a tuple's method, which nobody calls here
    time: float
    image: np.ndarray


@dataclasses.dataclass(frozen=True)
class Video:
    """A video that has been looked into: its first frame decodes."""

    name: str  # safe in a file's name
    paths: tuple[pathlib.Path, ...]  # the file; or the images, in order
    size: tuple[int, int]  # (height, width) as shown
    rate: float  # frames per second
    still: bool = False  # whether the paths are images

    def length(self) -> int:
        """How many frames the file says it has; about so many, and 0 where it does not say."""
        if self.still:
            return len(self.paths)
        with _opened(self.paths[0]) as container:
            stream = container.streams.video[0]
            seconds = (container.duration or 0) / av.time_base
            return int(stream.frames or round(seconds * self.rate))

    def frames(self, *, seconds: float = 0.0) -> Iterator[Frame]:
        """All frames in order, or those of the first `seconds`."""
        found = _read_images(self) if self.still else _read_file(self.paths[0])
        kept = itertools.takewhile(lambda frame: not seconds or frame.time < seconds, found)
        for frame in kept:
            if frame.image.shape[:2] != self.size:
                logging.warning(
                    '%s: frame %d is %s pixels, the first is %s; nothing is read from there on',
                    self.paths[0],
                    frame.index,
                    frame.image.shape[:2],
                    self.size,
                )
                return
            yield frame


def open_videos(what: str | pathlib.Path) -> list[Video]:
    """The videos that `what` names: a file, a folder, or a pattern with * ? or [].

    Many images are one video, in the order of their names, numbers in them counted as numbers.

    Raises ValueError: there is no such file, nothing in it that can be read, or images and videos
    both.
    """
    paths = named(str(what))
    stills = [path for path in paths if path.suffix.lower() in IMAGES]
    if stills and len(stills) < len(paths):
        raise ValueError(
            f'{what}: holds {len(stills)} images and {len(paths) - len(stills)} videos, '
            'expected one or the other'
        )
    if stills:
        return [_of_images(stills, name=name_of(stills[0].parent.name))]
    names = [name_of(path.stem) for path in paths]
    if len(set(names)) < len(names):  # a.mp4 and a.mov
        names = [name_of(path.name) for path in paths]
    return [_of_file(path, name) for path, name in zip(paths, names)]


def named(what: str) -> list[pathlib.Path]:
    """The files of `what`, in order, before any is looked into. Raises as `open_videos` does."""
    path = pathlib.Path(what)
    if not what:
        raise ValueError('no video named, expected a file, a folder or a pattern')
    if path.is_file():
        return [path]
    inside = sorted(path.iterdir()) if path.is_dir() else [pathlib.Path(p) for p in glob.glob(what)]
    if not path.is_dir() and not inside:
        raise ValueError(f'{what}: no such file or folder, expected a video')
    found = [p for p in inside if p.suffix.lower() in IMAGES + VIDEOS and p.name[0] != '.']
    if not found:
        raise ValueError(f'{what}: found no video and no image among {len(inside)} files')
    return sorted(found, key=_in_order)


def _in_order(path: pathlib.Path) -> list:
    """A key by which frame10 comes behind frame9."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', path.name)]


def name_of(name: str) -> str:
    """What a video of that file name is called."""
    return as_id(name, otherwise='video')


def _of_file(path: pathlib.Path, name: str) -> Video:
    first = next(_read_file(path), None)
    if first is None:
        raise ValueError(f'{path}: holds no frame that can be decoded')
    with _opened(path) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate
    return Video(name, (path,), first.image.shape[:2], float(rate or _RATE))


def _of_images(paths: Sequence[pathlib.Path], name: str) -> Video:
    if len(paths) < 2:
        raise ValueError(f'{paths[0]}: one image, expected a video or at least two frames')
    first = _image(paths[0])
    return Video(name, tuple(paths), first.shape[:2], _RATE, still=True)


def _read_images(video: Video) -> Iterator[Frame]:
    image = _image(video.paths[0])
    yield Frame(0, 0.0, image)
    for index, path in enumerate(video.paths[1:], start=1):
        try:
            image = _image(path)
        except ValueError as error:
            logging.warning('%s; the frame before it is shown in its place', error)
        yield Frame(index, index / video.rate, image)


def _image(path: pathlib.Path) -> np.ndarray:
    return images.decode(images.read(path), path, as_shown=True)


def _opened(path: pathlib.Path) -> av.container.InputContainer:
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f'{path}: cannot be read as a video ({error.strerror})') from None
    if not container.streams.video:
        container.close()
        raise ValueError(f'{path}: holds no video stream')
    return container


def _read_file(path: pathlib.Path) -> Iterator[Frame]:
    """The frames of a file; what does not decode is left out, and counted in a warning."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = 'AUTO'
        rate = float(stream.average_rate or stream.guessed_rate or _RATE)
        faults: list[str] = []
        start, index = None, -1
        for index, frame in enumerate(_decoded(container, stream, faults)):
            time = index / rate if frame.time is None else frame.time
            start = time if start is None else start
            yield Frame(index, time - start, upright(frame))
    if faults:
        logging.warning(
            '%s: damaged in %d places (%s); the %d frames that could be decoded are kept',
            path,
            len(faults),
            faults[0],
            index + 1,
        )


def _decoded(container, stream, faults: list[str]) -> Iterator[av.VideoFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
        except av.error.FFmpegError as error:  # the container ends here
            faults.append(str(error.strerror))
            return
        try:
            yield from packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            faults.append(str(error.strerror))


def upright(frame: av.VideoFrame) -> np.ndarray:
    """RGB as it is to be shown; the mark says how far to turn it, anticlockwise, in degrees."""
    image = frame.to_ndarray(format='rgb24')
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4))
