"""Joints as other people mean them: a folder's labels, moved to where another folder's would be.

Who labels a photograph puts a hip elsewhere than who labels a video, and a pose estimator elsewhere
again: by a tenth of the torso, half of what PCK@0.2 forgives. And some labels are wrong: left and
right are exchanged, or a joint lies on somebody else. An estimator that looked at both folders
tells both. mediapipe has an environment of its own (ttp_jax/data/people/detect.py says how; this
needs `etils[epath]` in it as well), so there are two programs:

    finder/bin/python -m experiments.relabel find REAL real.npz --every=15
    finder/bin/python -m experiments.relabel find ROOT root.npz
    python -m experiments.relabel move ROOT NEW_ROOT --found=root.npz --like=REAL real.npz

Folders are laid out as Penn Action's. NEW_ROOT gets ROOT's clips with other labels; its frames are
a link to ROOT's. What is known is of the training clips alone. Without `--found` ROOT's labels are
that estimator's own, and are only moved. Of the others a joint is unseen where the estimator is
sure that it is elsewhere, and left and right of a body are exchanged where that fits it far better.
"""

import argparse
import pathlib
import shutil
import sys
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.io
import scipy.optimize

from experiments import mediapipe_compare
from ttp_jax.data import penn_action
from ttp_jax.data.skeletons import PENN_ACTION
from ttp_jax.files import whole_file

MIRROR = list(PENN_ACTION.mirror)
ALIKE, WRONG = 0.12, 0.15  # distances, in longer sides of the box: fit to; not believed
SURE = 0.5  # the confidence with which an estimator may contradict
EXCHANGED = 0.6  # the ratio of distances from which on left and right are exchanged
BLUR = 0.02  # torsos within which a label is as good as exact


class Labelled(NamedTuple):
    """Frames as two see them: `[N, 13, 2]` joints and `[N, 13]` seen of people, and sizes `[N]`.

    found `[N, 13, 3]`: x, y and confidence of an estimator; NaN where it saw nobody.
    """

    joints: np.ndarray
    seen: np.ndarray
    size: np.ndarray
    found: np.ndarray


# --- what labels mean ------------------------------------------------------------------------


def torso(joints: np.ndarray) -> np.ndarray:
    """Of joints `[..., 13, 2]` the vectors `[..., 2, 2]`: hips to shoulders; left to right."""
    shoulders, hips = (joints[..., list(pair), :] for pair in PENN_ACTION.torso or ())
    return np.stack(
        [shoulders.mean(axis=-2) - hips.mean(axis=-2), shoulders[..., 1, :] - shoulders[..., 0, :]],
        axis=-2,
    )


def moved(joints: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Joints `[..., 13, 2]`, each by its share `[13, 2]` of the torso's two vectors."""
    return joints + offsets @ torso(joints)


def offsets(frames: Labelled) -> np.ndarray:
    """How people's joints lie from the estimator's: `[13, 2]`, shares of the torso's vectors.

    The same for left and right, mirrored; from joints on which both nearly agree, and torsos that
    are seen from no steep angle.
    """
    found = frames.found[..., :2]
    vectors = torso(found)
    length = np.linalg.norm(vectors[:, 0], axis=-1)
    apart = np.linalg.norm(found - frames.joints, axis=-1)
    fits = (frames.seen > 0) & (apart < ALIKE * frames.size[:, None])
    fits &= (length > frames.size / 8)[:, None]
    sides = np.where(np.arange(len(MIRROR)) <= MIRROR, 1.0, -1.0)
    vectors = vectors / length[:, None, None]
    wanted = (frames.joints - found) / length[:, None, None]

    def of_pair(joint: int) -> np.ndarray:
        pair = sorted({joint, MIRROR[joint]})
        given = np.concatenate([vectors[fits[:, j]] * [[1.0], [sides[j]]] for j in pair])
        result = np.concatenate([wanted[fits[:, j], j] for j in pair])
        known = [1.0, float(len(pair) > 1)]  # what has no other side lies in the middle
        solution = scipy.optimize.least_squares(
            lambda share: ((share * known) @ given - result).ravel(),
            np.zeros(2),
            loss='soft_l1',
            f_scale=BLUR,
        )
        return solution.x * known

    shares = {joint: of_pair(joint) for joint in sorted(set(map(min, enumerate(MIRROR))))}
    return np.stack([shares[min(pair)] * [1.0, sides[pair[0]]] for pair in enumerate(MIRROR)])


def believed(frames: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Joints and seen, with left and right exchanged or a joint unseen where found says so."""
    exchanged = frames._replace(joints=frames.joints[:, MIRROR], seen=frames.seen[:, MIRROR])
    swap = _mean_distance(exchanged) < EXCHANGED * _mean_distance(frames)
    joints = np.where(swap[:, None, None], exchanged.joints, frames.joints)
    seen = np.where(swap[:, None], exchanged.seen, frames.seen)
    apart = np.linalg.norm(frames.found[..., :2] - joints, axis=-1)
    wrong = (apart > WRONG * frames.size[:, None]) & (frames.found[..., 2] > SURE)
    return joints, seen * ~wrong


def _mean_distance(frames: Labelled) -> np.ndarray:
    apart = np.linalg.norm(frames.found[..., :2] - frames.joints, axis=-1)
    return (apart * frames.seen).sum(axis=1) / np.maximum(frames.seen.sum(axis=1), 1)


# --- folders ---------------------------------------------------------------------------------


def find(root: str, path: str, every: int) -> None:
    """Writes for each training clip `[frames, 13, 3]`: x, y from 1, and mediapipe's confidence."""
    from mediapipe.python.solutions import pose  # of another environment than the rest

    found = {}
    with pose.Pose(static_image_mode=True, model_complexity=1) as finder:
        for clip in penn_action.penn_action_clips(root, split='train'):
            own = np.full((len(clip.frames), len(MIRROR), 3), np.nan, np.float32)
            for t in range(0, len(clip.frames), every):
                seen = mediapipe_compare.look(finder, np.asarray(clip.frames[t]))
                if seen is not None:
                    own[t] = seen + [1, 1, 0]
            found[clip.id] = own
    # A half-written file would pass for a finished one in experiments/people.py.
    with whole_file.replacing(pathlib.Path(path)) as temporary, temporary.open('wb') as file:
        np.savez(file, **found)  # type: ignore[arg-type]  # numpy's own keywords


def read(path: pathlib.Path, found: Mapping[str, np.ndarray]) -> Labelled:
    """The frames of one label file, as people and the estimator see them.

    Raises ValueError where the estimator has not looked at that clip, or at another number of
    frames.
    """
    label = penn_action.read_labels(path)
    own = found[path.stem] if path.stem in found else None
    if own is None or own.shape[:2] != label.visibility.shape:
        raise ValueError(
            f'{path}: found {"nothing" if own is None else own.shape} of the estimator for it, '
            f'expected joints of its {len(label.joints)} frames'
        )
    size = (label.boxes[:, 2:] - label.boxes[:, :2]).max(axis=1)
    return Labelled(label.joints, label.visibility, size, own)


def offsets_of(root: pathlib.Path, found: Mapping[str, np.ndarray]) -> np.ndarray:
    """`offsets` of all frames of a folder in which the estimator saw somebody."""
    every = [read(root / 'labels' / f'{name}.mat', found) for name in sorted(found)]
    frames = Labelled(*(np.concatenate(parts) for parts in zip(*every, strict=True)))
    known = np.isfinite(frames.found).all(axis=(1, 2))
    if not known.any():
        raise ValueError(f'{root}: the estimator saw nobody in its training clips')
    return offsets(Labelled(*(part[known] for part in frames)))


def move(
    root: pathlib.Path, new: pathlib.Path, shift: np.ndarray, found: Mapping[str, np.ndarray] | None
) -> int:
    """Writes the folder with other labels; returns how many seen joints are unseen now."""
    (new / 'labels').mkdir(parents=True, exist_ok=True)
    (new / 'frames').unlink(missing_ok=True)
    (new / 'frames').symlink_to((root / 'frames').resolve())
    unseen = 0
    for path in sorted((root / 'labels').glob('*.mat')):
        fields = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith('__')}
        joints = np.stack([fields['x'], fields['y']], axis=-1).astype(float)
        seen = fields['visibility'].astype(float)
        if found is not None:
            frames = read(path, found)._replace(joints=joints, seen=seen)
            joints, seen = believed(frames)
            unseen += int(frames.seen.sum() - seen.sum())
        # Where a shoulder or hip is unknown nothing can be measured in torsos.
        whole = seen[:, [joint for pair in PENN_ACTION.torso or () for joint in pair]].all(axis=1)
        whole |= found is None
        joints = np.where((whole[:, None] & (seen > 0))[..., None], moved(joints, shift), joints)
        fields |= {'x': joints[..., 0], 'y': joints[..., 1], 'visibility': seen}
        scipy.io.savemat(new / 'labels' / path.name, fields)
    shutil.copy(root / 'videos.json', new)  # the last: a folder with it is whole
    return unseen


def table(shift: np.ndarray) -> str:
    """A line per kind of joint: how far it moves, in torsos up and to the person's right."""
    return '\n'.join(
        f'{PENN_ACTION.joints[joint]:<16}{shift[joint, 0]:+7.3f}{shift[joint, 1]:+7.3f}'
        for joint, other in enumerate(MIRROR)
        if joint <= other
    )


def main(argv: list[str]) -> None:
    """One of the two programs."""
    parser = argparse.ArgumentParser(prog='python -m experiments.relabel')
    commands = parser.add_subparsers(dest='what', required=True)
    looks = commands.add_parser('find', help="mediapipe's joints of a folder's training clips")
    looks.add_argument('root')
    looks.add_argument('found', help='the .npz to write')
    looks.add_argument('--every', type=int, default=1, help='looks at every so many-th frame')
    moves = commands.add_parser('move', help='a folder with labels as another has them')
    moves.add_argument('root', type=pathlib.Path)
    moves.add_argument('new', type=pathlib.Path)
    moves.add_argument(
        '--found', help="what `find` wrote of it; without, the labels are mediapipe's"
    )
    moves.add_argument('--like', nargs=2, required=True, metavar=('REAL', 'FOUND'))
    asked = parser.parse_args(argv)
    if asked.what == 'find':
        return find(asked.root, asked.found, asked.every)
    if (asked.new / 'videos.json').exists():
        moves.error(f'{asked.new}: is there already, expected a folder to be made')
    try:
        real, of_real = asked.like
        shift = offsets_of(pathlib.Path(real), dict(np.load(of_real)))
        found = dict(np.load(asked.found)) if asked.found else None
        if found is not None:
            shift = shift - offsets_of(asked.root, found)
        unseen = move(asked.root, asked.new, shift, found)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(f'{asked.new}: moved by, in torsos (up, to the right):\n{table(shift)}')
    print(f'{unseen} joints are unseen now')


if __name__ == '__main__':
    main(sys.argv[1:])
