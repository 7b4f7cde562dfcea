"""Draws the example clip of the README: one person, who moves, and the boxes around them.

    python -m experiments.example_clip docs

Contract: writes `example.mp4` and `example.csv` (frame, x1, y1, x2, y2, pixels from 0) into the
folder. Nothing of them is of a real person.
"""

import csv
import pathlib
import sys
from fractions import Fraction

import av
import numpy as np

from ttp_jax.data.clips import Clip
from ttp_jax.data.drawn import synthetic

FRAMES, SIZE, RATE, SEED = 48, 256, 16, 20


def example(frames: int = FRAMES, size: int = SIZE) -> Clip:
    """The person."""
    return synthetic.drawn_clips(seed=SEED, split='test', people=1, frames=frames, size=size)[0]


def write(folder: pathlib.Path, clip: Clip) -> None:
    """Both files."""
    with av.open(str(folder / 'example.mp4'), 'w') as container:
        options = {'crf': '24', 'preset': 'veryslow'}
        stream = container.add_stream('libx264', rate=Fraction(RATE), options=options)
        stream.height, stream.width = np.shape(clip.frames[0])[:2]
        stream.pix_fmt = 'yuv420p'
        for image in clip.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode(None))
    with (folder / 'example.csv').open('w', newline='') as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(('frame', 'x1', 'y1', 'x2', 'y2'))
        for frame, box in enumerate(np.asarray(clip.boxes, float)):
            rows.writerow((frame, *(f'{side:.1f}' for side in box)))


if __name__ == '__main__':
    write(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else 'docs'), example())
