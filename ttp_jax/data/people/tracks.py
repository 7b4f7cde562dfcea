"""Tracks: where one person is in the frames of a video, made fit to be cropped.

Contract: a track's frames are indices into the video from 0, ascending; its boxes are
`x1, y1, x2, y2` in pixels of the frame as shown, the top left pixel being (0, 0), and end on their
last pixel. Files and detectors give tracks with gaps and noise; `prepared` gives tracks whose
frames follow upon each other, that cross no cut, and whose boxes move smoothly.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
from absl import logging
from scipy import ndimage

from ttp_jax.data.clips import as_id

_FARTHEST = 1e6  # pixels; no picture is that large


@dataclasses.dataclass(frozen=True, eq=False)
class Track:
    """One person, or the part of them between two cuts or long gaps."""

    person: str
    frames: np.ndarray  # [N] int
    boxes: np.ndarray  # [N, 4] float32
    part: int = 1  # of a person, counted from 1

    @property
    def id(self) -> str:
        """The person as a clip's id may have it, and which part of them where they have several."""
        person = as_id(self.person, otherwise='person')
        return person if self.part == 1 else f'{person}.{self.part}'


def whole_frame(frames: int, size: tuple[int, int]) -> Track:
    """The track of somebody who may be anywhere in the picture of `size` (height, width)."""
    box = np.array([0, 0, size[1] - 1, size[0] - 1], np.float32)
    return Track('1', np.arange(frames), np.tile(box, (frames, 1)))


def prepared(
    tracks: Sequence[Track],
    *,
    frames: int,
    size: tuple[int, int],
    cuts: Collection[int] = (),
    longest_gap: int = 12,
    smooth: float = 1.0,
    longest: int = 0,
) -> list[Track]:
    """The same people, as tracks that can be cropped.

    Args:
      tracks: one per person.
      frames: how many the video has; later ones of a track are dropped, with a warning.
      size: (height, width) of the video.
      cuts: frames that begin a new shot, where every track is broken.
      longest_gap: missing frames to fill with boxes in between; a longer gap breaks the track.
      smooth: standard deviation, in frames, of the Gaussian that boxes are smoothed with; 0: none.
      longest: a part of more frames is divided equally until none has more; 0: never.

    Raises ValueError: a box has no size or lies outside of the picture, or nobody is left who is
    seen in two frames at least.
    """
    parts = []
    for track in tracks:
        check(track, size)
        pieces = [
            piece
            for whole in _unbroken(_within(track, frames), cuts=cuts, longest_gap=longest_gap)
            for piece in _portioned(smoothed(_filled(whole), smooth), longest)
        ]
        usable = [piece for piece in pieces if len(piece.frames) > 1]
        if not usable:
            logging.warning('person %s: seen in fewer than two frames, left out', track.person)
        parts += [dataclasses.replace(p, part=i) for i, p in enumerate(usable, start=1)]
    if not parts:
        raise ValueError(
            f'none of {len(tracks)} people is seen in two frames of the {frames} that could be '
            'read, expected one at least'
        )
    return parts


def check(track: Track, size: tuple[int, int]) -> None:
    """Raises ValueError, naming person and frame, for a box that cannot be cropped."""
    boxes = track.boxes
    for bad, what in (
        (~np.isfinite(boxes).all(axis=1), 'finite numbers'),
        (~(np.abs(boxes) <= _FARTHEST).all(axis=1), f'numbers of at most {_FARTHEST:g}'),
        ((boxes[:, 2:] < boxes[:, :2]).any(axis=1), 'x1 <= x2 and y1 <= y2'),
        (
            (boxes[:, 2:] < 0).any(axis=1) | (boxes[:, :2] >= size[::-1]).any(axis=1),
            f'a part of the picture of {size[1]} x {size[0]} pixels',
        ),
    ):
        if bad.any():
            first = int(bad.argmax())
            box = ', '.join(f'{value:g}' for value in boxes[first])
            raise ValueError(
                f'person {track.person}: the box of frame {track.frames[first]} is '
                f'[{box}], expected {what}'
            )


def _within(track: Track, frames: int) -> Track:
    inside = track.frames < frames
    if not inside.all():
        logging.warning(
            'person %s: %d boxes are of frames behind the last of the %d that could be read',
            track.person,
            (~inside).sum(),
            frames,
        )
    return dataclasses.replace(track, frames=track.frames[inside], boxes=track.boxes[inside])


def _unbroken(track: Track, *, cuts: Collection[int], longest_gap: int) -> list[Track]:
    """The track between cuts and long gaps."""
    steps = np.diff(track.frames)
    shots = np.searchsorted(sorted(cuts), track.frames, side='right')
    breaks = np.flatnonzero((steps > longest_gap + 1) | (np.diff(shots) > 0)) + 1
    return [
        dataclasses.replace(track, frames=frames, boxes=boxes)
        for frames, boxes in zip(np.split(track.frames, breaks), np.split(track.boxes, breaks))
        if len(frames)
    ]


def _filled(track: Track) -> Track:
    """Every frame from the first to the last, missing boxes in between their neighbours."""
    frames = np.arange(track.frames[0], track.frames[-1] + 1)
    boxes = [np.interp(frames, track.frames, side) for side in track.boxes.T]
    return dataclasses.replace(track, frames=frames, boxes=np.stack(boxes, 1).astype(np.float32))


def smoothed(track: Track, sigma: float) -> Track:
    """The track with boxes smoothed over time by a Gaussian; sigma: in frames, 0: as it is."""
    if not sigma:
        return track
    boxes = ndimage.gaussian_filter1d(track.boxes, sigma, axis=0, mode='nearest')
    return dataclasses.replace(track, boxes=boxes)


def _portioned(track: Track, longest: int) -> list[Track]:
    """Equal parts of at most `longest` frames."""
    count = -(-len(track.frames) // longest) if longest else 1
    return [
        dataclasses.replace(track, frames=frames, boxes=boxes)
        for frames, boxes in zip(
            np.array_split(track.frames, count), np.array_split(track.boxes, count)
        )
    ]


def linked(frames: Sequence[int], boxes: np.ndarray, *, overlap: float = 0.3) -> list[Track]:
    """Detections of nobody in particular, as tracks: each goes on with the box that overlaps most.

    frames `[D]` of the boxes `[D, 4]`, in any order. A track that finds no box whose intersection
    over union with its last one is at least `overlap` ends at once for the frame, and for good
    after a dozen frames.
    """
    order = np.argsort(frames, kind='stable')
    open_tracks: list[tuple[list[int], list[np.ndarray]]] = []
    closed = []
    values, starts = np.unique(np.asarray(frames)[order], return_index=True)
    for frame, rows in zip(values, np.split(order, starts[1:]), strict=True):
        closed += [t for t in open_tracks if frame - t[0][-1] > 12]
        open_tracks = [t for t in open_tracks if frame - t[0][-1] <= 12]
        _extend(open_tracks, int(frame), [boxes[i] for i in rows], overlap)
    found = sorted(closed + open_tracks, key=lambda t: (-len(t[0]), t[0][0]))
    return [
        Track(str(number), np.array(t[0]), np.array(t[1], np.float32))
        for number, t in enumerate(found, start=1)
    ]


def _extend(open_tracks: list, frame: int, here: list[np.ndarray], overlap: float) -> None:
    """Gives each track its best box of this frame, best pairs first; other boxes begin tracks."""
    pairs = [
        (_overlap(boxes[-1], box), t, b)
        for t, (_, boxes) in enumerate(open_tracks)
        for b, box in enumerate(here)
    ]
    taken_tracks, taken_boxes = set(), set()
    for share, t, b in sorted(pairs, reverse=True):
        if share >= overlap and t not in taken_tracks and b not in taken_boxes:
            open_tracks[t][0].append(frame)
            open_tracks[t][1].append(here[b])
            taken_tracks.add(t)
            taken_boxes.add(b)
    open_tracks += [([frame], [box]) for b, box in enumerate(here) if b not in taken_boxes]


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    area = [np.prod(box[2:] - box[:2] + 1) for box in (first, second)]
    shared = np.prod(np.maximum(high - low + 1, 0))
    return float(shared / (sum(area) - shared))
