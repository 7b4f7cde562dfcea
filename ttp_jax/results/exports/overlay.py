"""The annotated video: everyone's joints before personalization on the left, after on the right.

One pass over the video's frames, one frame in memory at a time. Small videos are enlarged and large
ones reduced, so that lines are as thin as the eye likes them.
"""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import av
import numpy as np

from ttp_jax.data.skeletons import Skeleton
from ttp_jax.data.video import Frame
from ttp_jax.files import whole_file
from ttp_jax.results.exports import drawing
from ttp_jax.results.exports.keypoints import Found

_LEAST, _MOST = 360, 720  # pixels of a half's longer side
_GAP = 4

Drawn = tuple[np.ndarray, np.ndarray]  # somebody's joints `[J, 2]` in a frame, scores `[J]`


def write(
    path: pathlib.Path,
    frames: Iterable[Frame],
    phases: Mapping[str, Sequence[Found]],
    *,
    skeleton: Skeleton,
    rate: float,
) -> None:
    """An MP4 with one half for each of `phases`, a phase's name to its people.

    frames: of the video, in order; rate: frames per second.
    """
    found = {name: [_by_frame(person) for person in people] for name, people in phases.items()}

    def here(index: int) -> dict[str, list[Drawn]]:
        return {
            name: [each[index] for each in people if index in each]
            for name, people in found.items()
        }

    pictures = (picture(frame.image, here(frame.index), skeleton=skeleton) for frame in frames)
    write_pictures(path, pictures, rate=rate)


def picture(
    image: np.ndarray, phases: Mapping[str, Sequence[Drawn]], *, skeleton: Skeleton
) -> np.ndarray:
    """One frame `[H, W, 3]` with a half for each phase; people are (joints, scores)."""
    halves = [_half(image, name, people, skeleton) for name, people in phases.items()]
    return _even(_beside(halves))


def write_pictures(path: pathlib.Path, pictures: Iterable[np.ndarray], *, rate: float) -> None:
    """An MP4 of pictures `[H, W, 3]` uint8 RGB of one size, as they come."""
    with whole_file.replacing(path) as temporary, av.open(str(temporary), 'w', format='mp4') as out:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = _stream(out, picture, rate)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        if stream is not None:
            out.mux(stream.encode(None))


def _by_frame(person: Found) -> dict[int, Drawn]:
    return {
        int(f): (joints, scores)
        for f, joints, scores in zip(person.frames, person.joints, person.scores)
    }


def _stream(container, picture: np.ndarray, rate: float):
    codec = 'libx264' if 'libx264' in av.codecs_available else 'mpeg4'
    options = {'crf': '20', 'preset': 'fast'} if codec == 'libx264' else {'qscale': '3'}
    stream = container.add_stream(
        codec, rate=Fraction(rate).limit_denominator(1001), options=options
    )
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = 'yuv420p'  # what every player reads
    return stream


def _half(image: np.ndarray, name: str, people: Sequence[Drawn], skeleton: Skeleton) -> np.ndarray:
    longer = max(image.shape[:2])
    scale = np.clip(longer, _LEAST, _MOST) / longer
    image = drawing.enlarged(image, scale)
    for joints, scores in people:
        drawing.skeleton(image, drawing.moved(joints, scale), skeleton, scores=scores)
    drawing.words(image, name, (8, 6))
    return image


def _beside(halves: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((halves[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for half in halves for part in (gap, half)]
    return np.concatenate(parts[1:], axis=1)


def _even(image: np.ndarray) -> np.ndarray:
    """Cut to an even number of rows and columns, as the codec wants."""
    return np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])
