"""People cut out of a video, one clip each, in one pass over it.

Contract: a clip shows the part of the video that its person's crops can touch, reduced so that a
crop is of at most `side` pixels: enough for every augmentation, and small enough that a film of any
length fits on the disk, where it lies in one file of JPEGs until frames are used. `Placement` says
where in the video that part is; points go through it back into the video's own pixels.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np

from ttp_jax.data import images
from ttp_jax.data.clips import Clip
from ttp_jax.data.people.tracks import Track
from ttp_jax.data.video import Frame, Video

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

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes `[N, 4]` in pixels of the clip; they end on their last pixel there, too."""
        edges = boxes.reshape(-1, 2, 2) + [[-0.5, -0.5], [0.5, 0.5]]
        scaled = self.to_clip(edges) - [[-0.5, -0.5], [0.5, 0.5]]
        return scaled.reshape(-1, 4).astype(np.float32)

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The part of a video's frame, as the clip shows it."""
        (x, y), (height, width) = self.corner, self.size
        part = np.ascontiguousarray(image[y : y + height, x : x + width])
        shape = tuple(np.round(self.scale * (width, height)).astype(int).tolist())
        if shape == (width, height):
            return part
        return cv2.resize(part, shape, interpolation=cv2.INTER_AREA)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class FilmedClip(Clip):
    """A clip without labels that knows where it comes from: the person's track in which video."""

    video: Video
    track: Track
    place: Placement
    times: np.ndarray  # [frames] seconds


def place(track: Track, *, size: tuple[int, int], side: int) -> Placement:
    """The part of a video of `size` (height, width) that crops can touch, reduced to `side`."""
    low, high = track.boxes[:, :2], track.boxes[:, 2:]
    longer = (high - low + 1).max(axis=1, keepdims=True)
    centre = (low + high) / 2
    first = np.floor((centre - _REACH * longer / 2).min(axis=0)).astype(int).clip(0)
    last = np.ceil((centre + _REACH * longer / 2).max(axis=0)).astype(int) + 1
    width, height = np.minimum(last, size[::-1]) - first
    scale = min(1.0, side / (_CROP * float(np.median(longer))))
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


def cut_out(
    video: Video,
    tracks: Sequence[Track],
    frames: Iterable[Frame],
    *,
    file: pathlib.Path,
    side: int,
    prefix: str = '',
) -> list[FilmedClip]:
    """Everyone's clip, from one pass over a video.

    Args:
      video: that the frames are of.
      tracks: `tracks.prepared`, ending within the video.
      frames: the video's, in order.
      file: where the pictures go; replaced.
      side: of a crop in pixels of the clip, at most; larger people are reduced.
      prefix: put before each clip's id.
    """
    places = [place(track, size=video.size, side=side) for track in tracks]
    slices: list[list[_Slice]] = [[] for _ in tracks]
    times: list[list[float]] = [[] for _ in tracks]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open('wb') as output:
        for frame in frames:
            for i, track in enumerate(tracks):
                if track.frames[0] <= frame.index <= track.frames[-1]:
                    slices[i].append(_write(output, file, places[i].cut(frame.image)))
                    times[i].append(frame.time)
    return [
        FilmedClip(
            prefix + track.id,
            images.Frames(tuple(own)),
            where.boxes(track.boxes),
            video=video,
            track=track,
            place=where,
            times=np.array(moments),
        )
        for track, where, own, moments in zip(tracks, places, slices, times, strict=True)
    ]


def _write(output: BinaryIO, file: pathlib.Path, image: np.ndarray) -> _Slice:
    _, encoded = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _QUALITY)
    start = output.tell()
    output.write(encoded.tobytes())
    return _Slice(file, start, len(encoded))
