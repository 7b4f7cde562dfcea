"""The person of a video for whom nobody has boxes, found by mediapipe: a program of its own.

mediapipe 0.10.14 brings its weights with it, but asks for protobuf below 5 where grain, which
ttp_jax reads its data with, asks for more than that. So it gets an environment of its own, and what
it finds goes through a file:

    python -m venv finder
    finder/bin/pip install mediapipe==0.10.14 av scipy && finder/bin/pip install --no-deps .
    finder/bin/python -m ttp_jax.data.people.detect clip.mp4 boxes.csv

Contract: the box around the pose that mediapipe sees, with a margin as hand-made boxes have, in
every frame in which it sees one. It follows one person, whoever stands out most; for several people
bring a tracker's boxes. mediapipe is under the Apache license 2.0.
"""

import argparse
import csv
import pathlib
import sys

import numpy as np

from ttp_jax.data.people.cuts import CutDetector
from ttp_jax.data.video import Video, open_videos

_MARGIN = 0.1  # of the longer side, on every side
COLUMNS = ('video', 'frame', 'person', 'x1', 'y1', 'x2', 'y2')


def around(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The box around points `[P, 2]` (x, y in parts of the picture), cut to the picture.

    shape: of the picture, (height, width, ...). None where hardly anything of it is inside.
    """
    size = np.array([shape[1], shape[0]], np.float64)
    low, high = np.min(points, axis=0) * size, np.max(points, axis=0) * size
    margin = _MARGIN * (high - low).max()
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, size) - 1
    return np.concatenate([low, high]) if (high - low > 4).all() else None


def find(video: Video, pose) -> list[tuple[int, np.ndarray]]:
    """(frame, box) of the person wherever they are seen. pose: mediapipe's `Pose`."""
    found, cuts = [], CutDetector()
    for frame in video.frames():
        if cuts.begins_shot(frame.image):
            pose.reset()  # it looks near the last place otherwise
        landmarks = pose.process(frame.image).pose_landmarks
        if landmarks is not None:
            points = np.array([(p.x, p.y) for p in landmarks.landmark])
            found.append((frame.index, around(points, frame.image.shape)))
    return [(index, box) for index, box in found if box is not None]


def main(argv: list[str]) -> None:
    """The program: finds the person of each video and writes their boxes."""
    parser = argparse.ArgumentParser(prog='python -m ttp_jax.data.people.detect')
    parser.add_argument('video', help='a video, or a folder or pattern of them')
    parser.add_argument('boxes', help='the CSV file to write')
    arguments = parser.parse_args(argv)
    try:
        videos = open_videos(arguments.video)
    except ValueError as error:
        sys.exit(f'error: {error}')
    from mediapipe.python.solutions import pose  # of another environment than the rest

    with pathlib.Path(arguments.boxes).open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        for video in videos:
            with pose.Pose(model_complexity=1) as finder:
                found = find(video, finder)
            for index, box in found:
                writer.writerow((video.name, index, 1, *(f'{side:.2f}' for side in box)))
            print(f'{video.name}: a person in {len(found)} frames')


if __name__ == '__main__':
    main(sys.argv[1:])
