"""What a clip is, and many clips as arrays that a compiled step can sample from.

A clip is one person's frames in order and a box around the person in each; labels, where there are
any, lie beside them. Frames are RGB uint8 `[height, width, 3]`; joints `(x, y)` and boxes
`x1, y1, x2, y2` are in image pixels, where a box ends on its last pixel.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

SPLITS = ('train', 'test')


# An id names files of results: no folder, nothing hidden, nothing that a shell takes for an option.
_SAFE_ID = re.compile(r'\w[\w .,+=@()-]{0,199}')


class Labels(NamedTuple):
    """Where a person's joints are, for training and for scores; predictions never read them."""

    joints: np.ndarray  # [frames, joints, 2] float32, (x, y) image pixels
    visibility: np.ndarray  # [frames, joints] float32, 0 ... 1: 0 not seen, else its weight


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """One person's video. `frames` is an array or any sequence that decodes on access."""

    id: str  # '0001', 'test-00003'; names the clip in errors, reports and file names
    frames: Sequence[np.ndarray] | np.ndarray  # [frames] of [height, width, 3] uint8 RGB
    boxes: np.ndarray  # [frames, 4] float32, x1, y1, x2, y2 image pixels
    labels: Labels | None = None  # None: nobody has labelled it
    source: str = ''  # the recording it was cut from, if others may be of it as well


@dataclasses.dataclass(frozen=True)
class Unreadable(Sequence):
    """The frames of somebody of whom nothing can be read: none, and why."""

    reason: str

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index):
        raise ValueError(self.reason)


def unreadable(name: str, reason: str) -> Clip:
    """Somebody to personalize to of whom nothing can be read: no reason to stop for the others."""
    return Clip(name, Unreadable(reason), np.zeros((0, 4), np.float32))


def checked(read: Callable[..., Clip], name: str, *what, split: str) -> Clip:
    """`read(name, *what)`; of a test clip that cannot be read, the reason in its place."""
    try:
        return read(name, *what)
    except ValueError as error:
        if split != 'test':
            raise
        return unreadable(name, str(error))


class FrameBank(NamedTuple):
    """All frames of many clips, end to end, zero-padded on the right and below to one size."""

    frames: np.ndarray  # [total, height, width, 3] uint8
    sizes: np.ndarray  # [total, 2] int32, (height, width) without padding
    boxes: np.ndarray  # [total, 4] float32
    joints: np.ndarray  # [total, joints, 2] float32
    visibility: np.ndarray  # [total, joints] float32
    clip_start: np.ndarray  # [total] int32, index of the first frame of the frame's clip
    clip_length: np.ndarray  # [total] int32, frames in the frame's clip


def check_request(split: str, limit: int | None) -> None:
    """Raises ValueError unless a reader can be asked for `limit` clips of `split`."""
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected 'train' or 'test'")
    if limit is not None and limit < 1:
        raise ValueError(f'limit is {limit}, expected at least 1')


def check_ids(clips: Sequence[Clip]) -> None:
    """Raises ValueError unless every clip's id is safe as a file's name, and nobody else's."""
    seen: set[str] = set()
    for clip in clips:
        if not _SAFE_ID.fullmatch(clip.id):
            raise ValueError(
                f'clip id {clip.id!r}: expected letters, digits and " .,+=@()_-", at most 200, '
                'beginning with a letter or digit: results are kept in files of that name'
            )
        if clip.id in seen:
            raise ValueError(f'clip id {clip.id!r}: found twice, expected a different one per clip')
        seen.add(clip.id)


def as_id(name: str, *, otherwise: str) -> str:
    """A name with only what `check_ids` takes, and no spaces; otherwise: where nothing is left."""
    return re.sub(r'[^\w.+=@()-]+', '_', name).lstrip('.+=@()-_')[:100] or otherwise


def _checked_first_frame(clip: Clip) -> np.ndarray:
    """Frame 0, the only one decoded; a ValueError names the clip and what is wrong with it.

    A clip needs two frames: its source frame must be able to differ from its target. Boxes of one
    pixel (x1 = x2) are valid: Penn Action has some.
    """
    count = len(clip.frames)
    if isinstance(clip.frames, Unreadable):
        raise ValueError(clip.frames.reason)
    if count < 2:
        raise ValueError(f'clip {clip.id}: found {count} frame(s), expected at least 2')
    _check_array(clip, 'boxes', clip.boxes, (count, 4))
    _check_boxes(clip)
    if clip.labels is not None:
        _check_labels(clip, clip.labels)
    return _frame(clip, 0)


def _check_labels(clip: Clip, labels: Labels) -> None:
    count = len(clip.frames)
    joints = np.shape(labels.joints)[1] if np.ndim(labels.joints) == 3 else 'joints'
    _check_array(clip, 'joints', labels.joints, (count, joints, 2))
    _check_array(clip, 'visibility', labels.visibility, (count, joints))
    if np.min(labels.visibility) < 0 or np.max(labels.visibility) > 1:
        raise ValueError(f'clip {clip.id}: visibility holds values outside of 0 ... 1')


def _check_array(clip: Clip, name: str, values, shape: tuple[int | str, ...]) -> None:
    values = np.asarray(values)
    if values.shape != shape:
        raise ValueError(f'clip {clip.id}: {name} have shape {values.shape}, expected {shape}')
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        raise ValueError(f'clip {clip.id}: {name} of frame {bad[0, 0]} are not finite')


def _check_boxes(clip: Clip) -> None:
    empty = np.any(clip.boxes[:, 2:] + 1 <= clip.boxes[:, :2], axis=1)
    if empty.any():
        frame = int(empty.argmax())
        box = clip.boxes[frame].tolist()
        raise ValueError(
            f'clip {clip.id}: box of frame {frame} is {box}, expected x1 <= x2 and y1 <= y2'
        )


def _frame(clip: Clip, index: int) -> np.ndarray:
    frame = np.asarray(clip.frames[index])
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        found = f'{frame.dtype} {frame.shape}'
        raise ValueError(
            f'clip {clip.id}: frame {index} is {found}, expected uint8 (height, width, 3)'
        )
    return frame


def stack_clip(clip: Clip) -> np.ndarray:
    """All frames of a clip, `[frames, height, width, 3]` uint8.

    Raises:
      ValueError: naming the first frame that differs in size from frame 0.
    """
    return _stacked(clip, _frame(clip, 0))


def _stacked(clip: Clip, first: np.ndarray) -> np.ndarray:
    stacked = np.empty((len(clip.frames), *first.shape), np.uint8)
    _decode_into(stacked, clip, first)
    return stacked


def _decode_into(room: np.ndarray, clip: Clip, first: np.ndarray) -> None:
    """Fills `room` `[frames, height, width, 3]` with a clip, whose frame 0 is decoded already."""
    room[0] = first
    for index in range(1, len(room)):
        frame = _frame(clip, index)
        if frame.shape != first.shape:
            raise ValueError(
                f'clip {clip.id}: frame {index} has shape {frame.shape}, expected that of frame 0,'
                f' {first.shape}'
            )
        room[index] = frame


def decoded(clip: Clip) -> Clip:
    """The clip with its frames in memory, every one of them checked."""
    return dataclasses.replace(clip, frames=_stacked(clip, _checked_first_frame(clip)))


def frame_size(clip: Clip) -> tuple[int, int]:
    """(height, width) of a clip's frames; decodes the first."""
    height, width, _ = _frame(clip, 0).shape
    return height, width


def largest_frame(clips: Sequence[Clip]) -> tuple[int, int]:
    """Largest (height, width) among the clips; decodes the first frame of each."""
    height, width = np.max([frame_size(clip) for clip in clips], axis=0)
    return int(height), int(width)


def fit_in(clips: Sequence[Clip], *, gib: float) -> bool:
    """Whether all frames of all clips, padded to one size, take at most `gib` GiB.

    Decodes the first frame of each clip and checks all that can be known from it.

    Raises:
      ValueError: there are no clips, a clip has too few frames or a box, joint or visibility that
        cannot be, or the clips disagree on the number of joints.
    """
    sizes = [first.shape[:2] for first in _checked_first_frames(clips)]
    height, width = map(int, np.max(sizes, axis=0))
    return 3 * height * width * sum(len(clip.frames) for clip in clips) <= gib * 2**30


def stack_clips(clips: Sequence[Clip]) -> FrameBank:
    """Joins clips into one bank, decoding all their frames, each once.

    Raises:
      ValueError: as `fit_in` does, and for a frame that does not decode or that differs in size
        from its clip's first.
    """
    frames, sizes = _pad_frames(clips, list(_checked_first_frames(clips)))
    lengths = [len(clip.frames) for clip in clips]
    return label_bank(clips)._replace(frames=frames, sizes=np.repeat(sizes, lengths, axis=0))


def label_bank(clips: Sequence[Clip]) -> FrameBank:
    """The bank of the clips without its frames and their sizes: nothing is decoded."""
    labels = filled_labels(clips)
    lengths = np.array([len(clip.frames) for clip in clips])
    starts = np.cumsum(lengths) - lengths
    return FrameBank(
        frames=np.empty((0, 0, 0, 3), np.uint8),
        sizes=np.empty((0, 2), np.int32),
        boxes=np.concatenate([clip.boxes for clip in clips], dtype=np.float32),
        joints=np.concatenate([each.joints for each in labels], dtype=np.float32),
        visibility=np.concatenate([each.visibility for each in labels], dtype=np.float32),
        clip_start=np.repeat(starts, lengths).astype(np.int32),
        clip_length=np.repeat(lengths, lengths).astype(np.int32),
    )


def filled_labels(clips: Sequence[Clip]) -> list[Labels]:
    """Everyone's labels; clips without any get as many joints as the others have, all unseen.

    Such clips train the task that needs no labels.

    Raises:
      ValueError: no clip has labels.
    """
    counts = [clip.labels.joints.shape[1] for clip in clips if clip.labels is not None]
    if not counts:
        raise ValueError(f'none of {len(clips)} clips has labels, expected one at least')

    def unseen(frames: int) -> Labels:
        return Labels(np.zeros((frames, counts[0], 2)), np.zeros((frames, counts[0])))

    return [unseen(len(clip.frames)) if clip.labels is None else clip.labels for clip in clips]


def _checked_first_frames(clips: Sequence[Clip]) -> Iterator[np.ndarray]:
    if not clips:
        raise ValueError('no clips to stack, expected at least one')
    counts: dict[str, int] = {}  # the joints of each labelled clip so far, by its id
    for clip in clips:
        first = _checked_first_frame(clip)
        if clip.labels is not None:
            counts[clip.id] = clip.labels.joints.shape[1]
            _check_same_joints(counts, clip.id)
        yield first


def _check_same_joints(counts: Mapping[str, int], name: str) -> None:
    other, expected = next(iter(counts.items()))
    if counts[name] != expected:
        raise ValueError(
            f'clip {name}: has {counts[name]} joints, expected the {expected} of clip {other}'
        )


def _pad_frames(
    clips: Sequence[Clip], firsts: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Frames `[total, height, width, 3]`, and each clip's `(height, width)`, `[clips, 2]`."""
    sizes = np.array([first.shape[:2] for first in firsts], np.int32)
    ends = np.cumsum([len(clip.frames) for clip in clips])
    frames = np.zeros((ends[-1], *sizes.max(axis=0), 3), np.uint8)
    # In place: a bank may take most of the memory there is.
    for clip, first, end, (height, width) in zip(clips, firsts, ends, sizes, strict=True):
        _decode_into(frames[end - len(clip.frames) : end, :height, :width], clip, first)
    return frames, sizes
