"""People cut out of a video, one clip each, in one pass over it.

Contract: a clip shows the part of the video that its person's crops can touch, at up to `detail`
times the resolution of a crop: enough for every augmentation, and small enough that a film of any
length fits on the disk, where it lies in one file of JPEGs until frames are used. `Placement` says
where in the video that part is; points go through it back into the video's own pixels.
"""

import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np

from ttp_jax.data import images
from ttp_jax.data.clips import Clip
from ttp_jax.data.people.tracks import Track
from ttp_jax.data.video import Frame

# A crop is 1.25 boxes wide, up to 1.25 times that when augmented, and turned by any angle; it lies
# a little below the box's centre (geometry.crop_region).
_CROP, _REACH = 1.25, 1.25 * 1.25 * 1.2
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 97]


class Placement(NamedTuple):
    """Where a clip's pixels lie in the video: the corner (x, y) in video pixels, and the scale."""

    corner: np.ndarray  # [2], of the part's top left pixel
    size: tuple[int, int]  # (height, width) of the part, video pixels
    scale: np.ndarray  # [2], clip pixels per video pixel, along x and y

    def to_video(self, points: np.ndarray) -> np.ndarray:
        """Points `[..., 2]` from pixels of the clip to pixels of the video."""
        return (points + 0.5) / self.scale - 0.5 + self.corner

    def to_clip(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `to_video`."""
        return (points - self.corner + 0.5) * self.scale - 0.5

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The part of a video's frame, as the clip shows it."""
        (x, y), (height, width) = self.corner, self.size
        part = np.ascontiguousarray(image[y : y + height, x : x + width])
        shape = tuple(np.round(self.scale * (width, height)).astype(int).tolist())
        if shape == (width, height):
            return part
        return cv2.resize(part, shape, interpolation=cv2.INTER_AREA)


class Person(NamedTuple):
    """A clip without labels, the track it was cut along, and where it lies in the video."""

    clip: Clip
    track: Track
    place: Placement
    times: np.ndarray  # [frames] seconds


def place(track: Track, *, size: tuple[int, int], crop: int, detail: float) -> Placement:
    """The part of a video of `size` (height, width) that crops of `crop` pixels can touch."""
    low, high = track.boxes[:, :2], track.boxes[:, 2:]
    side = (high - low + 1).max(axis=1, keepdims=True)
    centre = (low + high) / 2
    first = np.floor((centre - _REACH * side / 2).min(axis=0)).astype(int).clip(0)
    last = np.ceil((centre + _REACH * side / 2).max(axis=0)).astype(int) + 1
    width, height = np.minimum(last, size[::-1]) - first
    scale = min(1.0, detail * crop / (_CROP * float(np.median(side))))
    shape = np.maximum(1, np.round(scale * np.array([width, height])))
    return Placement(first, (int(height), int(width)), shape / (width, height))


class _Slice(NamedTuple):
    """One encoded image in a file of many."""

    path: pathlib.Path
    start: int
    length: int

    def read_bytes(self) -> bytes:
        with self.path.open('rb') as file:
            file.seek(self.start)
            return file.read(self.length)

    def __str__(self) -> str:
        return f'{self.path} at byte {self.start}'


def people(
    frames: Iterable[Frame],
    tracks: Sequence[Track],
    *,
    size: tuple[int, int],
    file: pathlib.Path,
    crop: int,
    detail: float = 3.0,
    prefix: str = '',
    on_frame: Callable[[], None] = lambda: None,
) -> list[Person]:
    """Everyone's clip, from one pass over the frames of a video.

    Args:
      frames: of the video, in order.
      tracks: `tracks.prepared`, ending within the video.
      size: (height, width) of the video.
      file: where the pictures go; replaced.
      crop: side of a crop, pixels.
      detail: how many pixels of a clip a crop's pixel may at most be made of; more are reduced: at
        1 pictures are as coarse as the crop, at 3 as in clips of small videos.
      prefix: put before each clip's id.
      on_frame: called behind each frame.
    """
    places = [place(track, size=size, crop=crop, detail=detail) for track in tracks]
    slices: list[list[_Slice]] = [[] for _ in tracks]
    times: list[list[float]] = [[] for _ in tracks]
    first = [track.frames[0] for track in tracks]
    last = [track.frames[-1] for track in tracks]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open('wb') as output:
        for frame in frames:
            for i in range(len(tracks)):
                if first[i] <= frame.index <= last[i]:
                    slices[i].append(_write(output, file, places[i].cut(frame.image)))
                    times[i].append(frame.time)
            on_frame()
    return [
        Person(
            Clip(prefix + track.id, images.Frames(tuple(own)), _boxes(track, where)),
            track,
            where,
            np.array(seconds),
        )
        for track, where, own, seconds in zip(tracks, places, slices, times)
    ]


def _write(output: BinaryIO, file: pathlib.Path, image: np.ndarray) -> _Slice:
    _, encoded = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _QUALITY)
    start = output.tell()
    output.write(encoded.tobytes())
    return _Slice(file, start, len(encoded))


def _boxes(track: Track, where: Placement) -> np.ndarray:
    """The track's boxes in pixels of the clip; they end on their last pixel there, too."""
    edges = track.boxes.reshape(-1, 2, 2) + [[-0.5, -0.5], [0.5, 0.5]]
    scaled = where.to_clip(edges) - [[-0.5, -0.5], [0.5, 0.5]]
    return scaled.reshape(-1, 4).astype(np.float32)
