"""What a person would use instead: mediapipe's pose on the same clips, with the same metric.

mediapipe asks for an older protobuf than this project's packages, so it has an environment of its
own (ttp_jax/data/people/detect.py says how; this needs `etils[epath]` in it as well), and there are
two programs:

    finder/bin/python -m experiments.mediapipe_compare find ROOT FOUND.npz --clips=10
    python -m experiments.mediapipe_compare score ROOT FOUND.npz

Contract: ROOT is laid out as Penn Action's; of its test clips the first `--clips` are taken (0: all
of them). `find` runs the full model of mediapipe 0.10.14 with tracking, on whole pictures and on
the crop around the labelled box that our network gets; `score` predicts the same frames with the
network of the package, without personalization, with the labelled boxes, with ones that are shifted
and scaled as a detector's are, and with ones around what mediapipe found in whole pictures. It
prints mPCK@0.2 of all. A frame in which mediapipe sees nobody counts as wrong, or has the joints of
the nearest frame in which it does. The head is its nose.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ttp_jax.data import penn_action
from ttp_jax.data.clips import Clip
from ttp_jax.data.people import detect, tracks

# mediapipe's landmarks of Penn Action's joints: nose, then left and right of each kind.
LANDMARKS = (0, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
CROP = 1.25  # sides of the box, as the network's crops have
SHIFT, SCALE = 0.05, 0.1  # standard deviations of a detector's boxes, parts of their size


def test_clips(root: str, count: int) -> list[Clip]:
    """The first test clips of a folder; 0: all of them."""
    return penn_action.penn_action_clips(root, split='test', limit=count or None)


# --- mediapipe's environment -----------------------------------------------------------------


def whole(clip: Clip) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(picture, its corner (x, y)) of every frame as it is."""
    for image in clip.frames:
        yield np.asarray(image), np.zeros(2)


def cropped(clip: Clip) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(the square around the box, its corner): what lies outside of the picture is black."""
    for image, box in zip(clip.frames, clip.boxes):
        side = int(np.ceil(CROP * float((box[2:] - box[:2] + 1).max())))
        corner = np.round((box[:2] + box[2:]) / 2 - side / 2).astype(int)
        padded = np.pad(np.asarray(image), ((side, side), (side, side), (0, 0)))
        x, y = np.clip(corner + side, 0, np.array(padded.shape[1::-1]) - side)
        yield np.ascontiguousarray(padded[y : y + side, x : x + side]), np.array([x, y]) - side


PICTURES = {'whole picture': whole, 'crop around the box': cropped}


def find_in(clip: Clip, pictures: Callable) -> np.ndarray:
    """mediapipe's joints in every frame, `[frames, 13, 2]` pixels; NaN where it sees nobody."""
    from mediapipe.python.solutions import pose  # of another environment than the rest

    joints = np.full((len(clip.frames), len(LANDMARKS), 2), np.nan, np.float32)
    with pose.Pose(model_complexity=1) as finder:
        for t, (image, corner) in enumerate(pictures(clip)):
            seen = look(finder, image)
            if seen is not None:
                joints[t] = seen[:, :2] + corner
    return joints


def look(finder, image: np.ndarray) -> np.ndarray | None:
    """Penn Action's joints in one picture, `[13, 3]`: x, y in pixels from 0, and the confidence.

    finder: mediapipe's `Pose`. None where it sees nobody.
    """
    landmarks = finder.process(image).pose_landmarks
    if landmarks is None:
        return None
    points = [landmarks.landmark[i] for i in LANDMARKS]
    places = np.array([(point.x, point.y, point.visibility) for point in points])
    return places * [*image.shape[1::-1], 1] - [0.5, 0.5, 0]


def find(root: str, path: str, count: int) -> None:
    """Writes an array for each clip and kind of picture: `<kind>/<clip>`."""
    found = {
        f'{kind}/{clip.id}': find_in(clip, pictures)
        for clip in test_clips(root, count)
        for kind, pictures in PICTURES.items()
    }
    np.savez(path, **found)  # type: ignore[arg-type]  # numpy's own keywords


# --- this project's environment --------------------------------------------------------------


def shaken(boxes: np.ndarray, seed: int) -> np.ndarray:
    """Boxes `[T, 4]` as a detector gives them, drawn anew in every frame, then smoothed."""
    rng = np.random.default_rng(seed)
    size = boxes[:, 2:] - boxes[:, :2] + 1
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + SHIFT * size * rng.normal(size=size.shape)
    half = size / 2 * np.exp(SCALE * rng.normal(size=size.shape))
    found = np.concatenate([centre - half, centre + half - 1], axis=1)
    track = tracks.Track('1', np.arange(len(boxes)), found.astype(np.float32))
    return tracks.smoothed(track, 1.0).boxes


def found_boxes(clip: Clip, joints: np.ndarray) -> np.ndarray:
    """Boxes `[T, 4]` around mediapipe's joints `[T, 13, 2]`; where it sees nobody, the nearest's.

    The whole picture for somebody who is never seen.
    """
    height, width = np.shape(clip.frames[0])[:2]
    whole_picture = np.array([0, 0, width - 1, height - 1], np.float32)
    boxes = [detect.around(own / (width, height), (height, width)) for own in filled(joints)]
    return np.stack([whole_picture if box is None else box for box in boxes]).astype(np.float32)


def ours(clips: Sequence[Clip], found: Mapping[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """The network's joints by the kind of boxes, without personalization; found: of `find`."""
    import ttp_jax

    model = ttp_jax.load()
    frames = [np.stack([np.asarray(image) for image in clip.frames]) for clip in clips]
    kinds = {
        'labelled boxes': [clip.boxes for clip in clips],
        "boxes like a detector's": [shaken(clip.boxes, i) for i, clip in enumerate(clips)],
        'boxes around what mediapipe found': [
            found_boxes(clip, found[f'whole picture/{clip.id}']) + 1 for clip in clips
        ],
    }
    return {
        # Penn Action's boxes and joints count pixels from 1, `predict`'s from 0.
        kind: [model.predict(list(f), b - 1).joints + 1 for f, b in zip(frames, boxes)]
        for kind, boxes in kinds.items()
    }


def filled(joints: np.ndarray) -> np.ndarray:
    """Joints `[T, J, 2]`, in frames that show nobody those of the nearest frame that does."""
    seen = np.flatnonzero(np.isfinite(joints).all(axis=(1, 2)))
    if not len(seen):
        return np.full_like(joints, -1e4)
    nearest = np.abs(np.arange(len(joints))[:, None] - seen).argmin(axis=1)
    return joints[seen[nearest]]


def score(root: str, path: str) -> str:
    """A table of mPCK@0.2, over the clips that the file has."""
    from ttp_jax.data.skeletons import PENN_ACTION
    from ttp_jax.results import metrics

    with np.load(path) as file:
        found = dict(file)
    ids = {name.rpartition('/')[2] for name in found}
    clips = [clip for clip in test_clips(root, 0) if clip.id in ids]
    rows = {}
    for kind in PICTURES:
        joints = [found[f'{kind}/{clip.id}'] for clip in clips]
        seen = np.concatenate([np.isfinite(own).all(axis=(1, 2)) for own in joints]).mean()
        # Nobody was seen: as wrong as can be. Joints count pixels from 1.
        blank = [np.nan_to_num(own, nan=-1e4) + 1 for own in joints]
        rows[f'mediapipe, {kind} (sees {seen:.0%})'] = blank
        rows[f'mediapipe, {kind}, gaps filled'] = [filled(own) + 1 for own in joints]
    rows |= {f'ours, {kind}': joints for kind, joints in ours(clips, found).items()}
    labels = zip(*(clip.labels or () for clip in clips))
    true, visible = map(list, labels)
    lines = [f'{len(clips)} clips, {sum(len(clip.frames) for clip in clips)} frames']
    for name, joints in rows.items():
        scores = metrics.pooled_pck(joints, true, visible, skeleton=PENN_ACTION)
        parts = ', '.join(
            f'{group} {value:.1f}' for group, value in scores.items() if group != 'mPCK'
        )
        lines.append(f'{scores["mPCK"]:5.1f}  {name} ({parts})')
    return '\n'.join(lines)


def main(argv: list[str]) -> None:
    """One of the two programs."""
    parser = argparse.ArgumentParser(prog='python -m experiments.mediapipe_compare')
    parser.add_argument('what', choices=('find', 'score'))
    parser.add_argument('root', help="a folder in Penn Action's layout")
    parser.add_argument('found', help="the file of mediapipe's joints")
    parser.add_argument('--clips', type=int, default=0, help='so many test clips; 0: all of them')
    options = parser.parse_args(argv)
    if options.what == 'find':
        find(options.root, options.found, options.clips)
    else:
        print(score(options.root, options.found))


if __name__ == '__main__':
    main(sys.argv[1:])
