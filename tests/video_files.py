"""Small videos, encoded in the tests themselves."""

import av
import numpy as np


def moving_square(frames: int = 12, size: tuple[int, int] = (48, 64), *, step: int = 3):
    """A bright square that moves to the right over a dark ramp; `[frames, H, W, 3]` uint8."""
    height, width = size
    ramp = np.linspace(0, 80, width).astype(np.uint8)
    video = np.broadcast_to(ramp[None, None, :, None], (frames, height, width, 3)).copy()
    for t in range(frames):
        video[t, 10:26, step * t : step * t + 16] = (220, 140, 60)
    return video


def encode(path, frames, *, rate: int = 10, codec: str = 'libx264', turn: int = 0, **options):
    """Writes `[frames, H, W, 3]` uint8 RGB as a video; turn: degrees of its rotation mark."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=rate, options={'crf': '1'} | options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = 'yuv444p' if codec == 'libx264' else 'yuv420p'
        if turn:
            stream.set_display_rotation(turn)
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode(None))
    return path
