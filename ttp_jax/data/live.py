"""Frames while they are being filmed: a camera, or a stream that somebody sends.

Contract: `camera:0` is this machine's first camera; anything with `://` is a stream that FFmpeg
reads (rtsp, http, udp, ...). A frame is as in `video`, its time in seconds since the first. Whoever
is slower than the source gets the newest frame, and never one that has waited: of frames that came
meanwhile nothing is kept, so memory does not grow. Of a `file://` every frame is given.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

import av
import numpy as np

from ttp_jax.data.video import Frame, upright

# By the system: FFmpeg's name for its cameras, and that of camera number N.
_CAMERAS = {
    'linux': ('v4l2', '/dev/video{}'),
    'darwin': ('avfoundation', '{}'),
    'win32': ('vfwcap', '{}'),
}


def is_live(what: str) -> bool:
    """Whether `what` is a camera or a stream, and no file."""
    return what.startswith('camera:') or '://' in what


def frames(what: str) -> Iterator[Frame]:
    """The frames of a camera or stream, until it ends.

    Raises:
      ValueError: it cannot be opened, or has no video.
    """
    container = _opened(what)
    if not container.streams.video:
        container.close()
        raise ValueError(f'{what}: holds no video stream')
    with contextlib.closing(container):
        images = (upright(frame) for frame in container.decode(video=0))
        yield from _numbered(images if what.startswith('file:') else newest(images))


def _opened(what: str) -> av.container.InputContainer:
    try:
        if not what.startswith('camera:'):
            return av.open(what)
        number = what.removeprefix('camera:')
        if not number.isdigit():
            raise ValueError(f'{what}: expected camera:0, or another number')
        kind, name = _CAMERAS.get(sys.platform, _CAMERAS['linux'])
        return av.open(name.format(number), format=kind)
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f'{what}: cannot be opened ({error.strerror})') from None


def _numbered(images: Iterator[np.ndarray]) -> Iterator[Frame]:
    start = time.monotonic()
    for index, image in enumerate(images):
        yield Frame(index, time.monotonic() - start, image)


def newest(images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Of images that come by themselves always the newest, each at most once.

    They are read in a thread of their own, which ends with the source or when nobody asks any more.
    """
    slot = _Slot()
    threading.Thread(target=slot.fill, args=(images,), daemon=True).start()
    try:
        while (image := slot.take()) is not None:
            yield image
    finally:
        slot.closed = True


class _Slot:
    """Room for one image, which a newer one replaces."""

    def __init__(self):
        self._changed = threading.Condition()
        self._image: np.ndarray | None = None
        self._ended = self.closed = False

    def fill(self, images: Iterator[np.ndarray]) -> None:
        """Puts one image after another into it."""
        try:
            for image in images:
                if self.closed:
                    return
                with self._changed:
                    self._image = image
                    self._changed.notify()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def take(self) -> np.ndarray | None:
        """The image, as soon as there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._image is not None or self._ended)
            image, self._image = self._image, None
            return image
