"""Frames that stay encoded until they are read: image files, or records of prepared data.

Contract: a frame is `[height, width, 3]` uint8 RGB. Its *item* is anything that has `read_bytes()`
and whose `str()` names it in errors: a path, or a record. Both go through `decode`, so a data set
read from its folder and the same one read from records give the same pixels.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_AS_SHOWN = cv2.IMREAD_COLOR
_EIGHTH = cv2.IMREAD_REDUCED_GRAYSCALE_8
_JPEG_START = b'\xff\xd8\xff'


@dataclasses.dataclass(frozen=True, eq=False)
class Frames(Sequence):
    """Encoded images as a sequence of `[height, width, 3]` uint8 RGB, decoded at every access."""

    items: Sequence[Any]  # one per frame, with `read_bytes()` and a name
    size: tuple[int, int] | None = None  # (height, width) to pad to with zeros, right and below

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return dataclasses.replace(self, items=self.items[index])
        image = decode(self.encoded(index), self.items[index])
        return image if self.size is None else _pad(image, self.size, self.items[index])

    def encoded(self, index: int) -> bytes:
        """The image as it is stored."""
        return read(self.items[index])


def read(item: Any) -> bytes:
    """An item's bytes. Raises ValueError, with its name, where they cannot be had."""
    try:
        return item.read_bytes()
    except OSError as error:
        raise ValueError(f'{item}: cannot be read ({error.strerror})') from None


def decode(encoded: bytes, name: Any, *, as_shown: bool = False) -> np.ndarray:
    """An encoded image as `[height, width, 3]` uint8 RGB.

    The orientation that a camera noted is ignored, since labels refer to the pixels as they are
    stored; as_shown: obeyed, as by those who look at it.

    Raises:
      ValueError: for bytes that are no image, with the name.
    """
    flags = _AS_SHOWN if as_shown else _AS_STORED
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None
    if image is None:
        raise ValueError(f'{name}: cannot be read as an image')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def check(encoded: bytes, name: Any) -> bytes:
    """The same bytes, once they are known to decode: tried in grey, at an eighth of the size.

    Raises:
      ValueError: when they do not, with the name.
    """
    if not encoded or cv2.imdecode(np.frombuffer(encoded, np.uint8), _EIGHTH) is None:
        raise ValueError(f'{name}: cannot be read as an image')
    return encoded


def _pad(image: np.ndarray, size: tuple[int, int], name: Any) -> np.ndarray:
    below, right = size[0] - image.shape[0], size[1] - image.shape[1]
    if below < 0 or right < 0:
        raise ValueError(f'{name}: is {image.shape[:2]} pixels, expected at most {tuple(size)}')
    return np.pad(image, ((0, below), (0, right), (0, 0)))


def of_files(
    paths: Sequence[pathlib.Path], *, clip: str, size: tuple[int, int] | None = None
) -> Frames:
    """The frames of the clip named `clip`, still on disk, once their files are known to exist.

    Raises:
      ValueError: there are fewer than two frames, a folder or a file is missing, or the first file
        is not a JPEG. A later file that does not decode raises when it is read.
    """
    if len(paths) < 2:
        raise ValueError(
            f'clip {clip}: found {len(paths)} frame(s) in its labels, expected at least 2'
        )
    present: dict[pathlib.Path, set[str]] = {}
    for path in paths:
        folder = path.parent
        if folder not in present:
            present[folder] = _names(folder, f'the {len(paths)} frames of clip {clip}')
        if path.name not in present[folder]:
            raise ValueError(
                f'{path}: no such frame, clip {clip} is labelled with {len(paths)} frames'
            )
    _check_jpeg(paths[0])
    return Frames(tuple(paths), size)


def _names(folder: pathlib.Path, expected: str) -> set[str]:
    # One listing per folder: asking for each of Penn Action's 163,841 files by itself takes minutes
    # on a network disk.
    if not folder.is_dir():
        raise ValueError(f'{folder}: no such folder, expected {expected}')
    return {path.name for path in folder.iterdir()}


def _check_jpeg(path: pathlib.Path) -> None:
    try:
        with path.open('rb') as file:
            start = file.read(len(_JPEG_START))
    except OSError as error:
        raise ValueError(f'{path}: cannot be read ({error.strerror})') from None
    if start != _JPEG_START:
        raise ValueError(f'{path}: starts with {start!r}, expected a JPEG image')
