"""The people of videos as clips without labels: a video and boxes in, everyone's clip out.

Contract: a video is read twice, frame by frame, once to find its cuts and once to cut people out of
it; no more than a frame of it is in memory. Clips are named `<video>-<person>`, and a person's
further parts, after a cut or a long gap or where they are too long for one clip, `.2`, `.3` and so
on. Boxes count pixels from 0.
"""

import pathlib
from collections.abc import Callable, Iterator

from absl import logging

from ttp_jax.data.people import box_files, tracks
from ttp_jax.data.people.cut_out import FilmedClip, cut_out
from ttp_jax.data.people.cuts import CutDetector
from ttp_jax.data.video import Frame, Video, named, open_videos

# (frames, what is done with them, about how many there are) -> the same frames
Watch = Callable[[Iterator[Frame], str, int], Iterator[Frame]]


def unwatched(frames: Iterator[Frame], what: str, total: int) -> Iterator[Frame]:
    """The frames as they are."""
    return frames


NO_BOXES = (
    'no boxes were given, so every crop is the whole picture: somebody small, or who moves through '
    'it, is seen coarsely. Boxes around the person (--config.boxes=boxes.csv) make keypoints '
    'better; python -m ttp_jax.data.people.detect says how to find some'
)


def check(what: str, boxes: str = '') -> None:
    """Raises ValueError at once for a video or a file of boxes that is not there."""
    named(what)
    if boxes and not pathlib.Path(boxes).is_file():
        raise ValueError(f'{boxes}: no such file, expected boxes of people')


def people(
    what: str,
    boxes: str = '',
    *,
    folder: pathlib.Path,
    side: int = 192,
    seconds: float = 0.0,
    longest: int = 0,
    watch: Watch = unwatched,
) -> list[FilmedClip]:
    """Everyone in the videos that `what` names, by video, person and part.

    Args:
      what: a video file, or a folder or pattern of videos or frames: `video.open_videos`.
      boxes: a file of boxes: `box_files.read`; without one, one person fills the whole picture.
      folder: where their pictures go while they are used.
      side: of a crop in pixels of the clip, at most; larger people are reduced.
      seconds: how much of each video is read; 0: all of it.
      longest: frames of a clip; 0: any number.
      watch: is given every pass over frames, to show how far it is.

    Raises ValueError, in one line, as the readers do.
    """
    videos = open_videos(what)
    given = box_files.read(boxes, videos=[video.name for video in videos]) if boxes else None
    if given is None:
        logging.warning(NO_BOXES)
    found = []
    for video in videos:
        frames, cuts = shots(video, seconds=seconds, watch=watch)
        own = [tracks.whole_frame(frames, video.size)] if given is None else given.get(video.name)
        if not own:
            logging.warning('%s: nobody has a box in it, left out', video.name)
            continue
        parts = tracks.prepared(own, frames=frames, size=video.size, cuts=cuts, longest=longest)
        file = pathlib.Path(folder) / f'{video.name}.jpegs'
        prefix = f'{video.name}-'
        read = watch(video.frames(seconds=seconds), 'cut out', frames)
        found += cut_out(video, parts, read, file=file, side=side, prefix=prefix)
    return found


def shots(video: Video, *, seconds: float = 0.0, watch: Watch = unwatched) -> tuple[int, list[int]]:
    """How many frames can be decoded, and which of them begin a new shot."""
    detector, cuts, count = CutDetector(), [], 0
    total = min(video.length(), round(seconds * video.rate) or video.length())
    for frame in watch(video.frames(seconds=seconds), 'decode', total):
        count = frame.index + 1
        if detector.begins_shot(frame.image):
            cuts.append(frame.index)
    return count, cuts
