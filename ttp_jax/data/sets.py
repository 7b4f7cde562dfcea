"""The data sets by name: training clips, test clips and the joints they are labelled with."""

import dataclasses
import functools
import inspect
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ttp_jax import places
from ttp_jax.data import bbc_pose, clips, deeplabcut, human36m, mixed, penn_action, skeletons
from ttp_jax.data import coco as coco_files
from ttp_jax.data import prepared as records
from ttp_jax.data.drawn import synthetic
from ttp_jax.data.people import footage


class DataSet(NamedTuple):
    """Clips of the two splits, which share no person, and their joints.

    train: empty where nothing is trained.
    """

    train: Sequence[clips.Clip]
    test: Sequence[clips.Clip]
    skeleton: skeletons.Skeleton


def drawn(
    *,
    seed: int,
    training: bool,
    train_people: int,
    test_people: int,
    frames: int = 24,
    size: int = 112,
    motion: str = '',
) -> DataSet:
    """People drawn from a seed; with `motion`, who move as those in a folder of labels did."""

    def people(split, count):
        return synthetic.drawn_clips(
            seed=seed, split=split, people=count, frames=frames, size=size, motion=motion or None
        )

    train = people('train', train_people) if training else ()
    return DataSet(train, people('test', test_people), skeletons.PENN_ACTION)


def several(
    *,
    seed: int,
    training: bool,
    test_people: int,
    roots: Sequence[str] = (),
    drawn_people: int = 0,
    frames: int = 24,
    size: int = 112,
    motion: str = '',
    validation: float = 0.0,
    evaluate: str = 'test',
) -> DataSet:
    """Folders in Penn Action's layout and people drawn from a seed, trained on together.

    Each has as large a share of training as it has frames. evaluate: the part of the first folder
    that stands in for the test split, as `mixed.part` names it.
    """
    train = mixed.training_clips(roots, validation=validation) if training else []
    if drawn_people and training:
        train += synthetic.drawn_clips(
            seed=seed,
            split='train',
            people=drawn_people,
            frames=frames,
            size=size,
            motion=motion or None,
        )
    test = mixed.part(roots[0], evaluate, validation=validation)
    if not test:
        raise ValueError(
            f'{roots[0]}: no clip is of the {evaluate} part, with config.data.validation='
            f'{validation}; expected a larger share'
        )
    return DataSet(train, test[: test_people or None], skeletons.PENN_ACTION)


def _check_roots(roots: Sequence[str]) -> None:
    if not roots:
        raise ValueError('config.data.roots is empty, expected the folders to train on')
    for root in roots:
        if not places.place(root).is_dir():
            raise ValueError(
                f'config.data.roots has {root!r}: no such folder, expected folders laid out as '
                "penn_action's"
            )


# Of each recorded data set: its folder's reader, its joints, and its box convention.
RECORDED = {
    'penn_action': (penn_action.penn_action_clips, skeletons.PENN_ACTION, True),
    'human36m': (human36m.human36m_clips, skeletons.HUMAN36M, False),
    'bbc_pose': (bbc_pose.bbc_pose_clips, skeletons.BBC_POSE, True),
}


def recorded(
    name: str,
    *,
    training: bool,
    train_people: int = 0,
    test_people: int = 0,
    root: str = '',
    prepared: str = '',
) -> DataSet:
    """A data set's own folder, `root`, or what `ttp_jax.data.prepare` made of it in `prepared`.

    At most so many clips of each split (0: all of them).
    """
    _check_folder(name, root, prepared)
    read, skeleton, _ = RECORDED[name]
    if prepared:
        read = functools.partial(records.clips, name)
    folder = prepared or root
    train = read(folder, split='train', limit=train_people or None) if training else ()
    test = read(folder, split='test', limit=test_people or None)
    return DataSet(train, test, skeleton)


def filmed(
    *,
    input: str = '',
    boxes: str = '',
    seconds: float = 0.0,
    cut_outs: str = '',
    frames: int = 24,
    size: int = 112,
    skeleton: str = '',
    watch: footage.Watch = footage.unwatched,
) -> DataSet:
    """The people of a video, without labels; nobody to train on.

    input, boxes, seconds: as `footage.people` takes them. cut_outs: the folder for their pictures.
    frames: of a clip, at most; size: side of what a crop is made of, pixels, at most. skeleton: of
    the network, if not Penn Action's: `skeletons.to_text`.
    """
    people = footage.people(
        input,
        boxes,
        folder=pathlib.Path(cut_outs),
        side=size,
        seconds=seconds,
        longest=frames,
        watch=watch,
    )
    return DataSet((), people, labels('video', skeleton=skeleton)[0])


def coco(
    *,
    training: bool,
    root: str = '',
    validation: float = 0.0,
    train_people: int = 0,
    test_people: int = 0,
    skeleton: str = '',
) -> DataSet:
    """Keypoints in COCO format, of any skeleton.

    validation: the share of the sequences to test on, where one file has them all. At most so many
    clips of each split (0: all of them).
    """
    read = functools.partial(coco_files.coco_clips, root, held_out=validation)
    train = read(split='train', limit=train_people or None) if training else ()
    test = read(split='test', limit=test_people or None)
    return DataSet(train, test, labels('coco', root=root, skeleton=skeleton)[0])


def from_deeplabcut(
    *,
    training: bool,
    root: str = '',
    boxes: str = '',
    validation: float = 0.0,
    frames: int = 24,
    train_people: int = 0,
    test_people: int = 0,
    cut_outs: str = '',
    skeleton: str = '',
) -> DataSet:
    """A DeepLabCut project: the same individuals, in training and test with other labels.

    validation: the share of the labelled images to test on; frames: of a clip, about; cut_outs: the
    folder for frames of videos. At most so many clips of each split (0: all of them).
    """
    read = functools.partial(
        deeplabcut.deeplabcut_clips,
        root,
        folder=cut_outs,
        held_out=validation,
        frames=frames,
        boxes=boxes,
    )
    train = read(split='train', limit=train_people or None) if training else ()
    test = read(split='test', limit=test_people or None)
    return DataSet(train, test, labels('deeplabcut', root=root, skeleton=skeleton)[0])


# Of data that people labelled themselves, what reads the joints that their labels name.
OWN = {'coco': coco_files.coco_skeleton, 'deeplabcut': deeplabcut.deeplabcut_skeleton}


def _check_own(name: str, root: str, boxes: str) -> None:
    if not root or not os.path.exists(root):
        found = f'is {root!r}: no such file or folder' if root else 'is not set'
        wanted = {'coco': 'a COCO JSON or a folder of it', 'deeplabcut': "a project's folder"}
        raise ValueError(f'config.data.root {found}, expected {wanted[name]}')
    if boxes and not os.path.isfile(boxes):
        raise ValueError(f'config.data.boxes is {boxes!r}: no such file, expected boxes')


def _check_folder(name: str, root: str, prepared: str) -> None:
    if root and prepared:
        raise ValueError(
            f'config.data.root is {root!r} and config.data.prepared is {prepared!r}, expected one: '
            f"{name}'s own folder, or what ttp_jax.data.prepare made of it"
        )
    if not (root or prepared):
        raise ValueError(
            f'config.data.root is not set, expected the folder of the data of config.data.name='
            f'{name}, or config.data.prepared: what ttp_jax.data.prepare made of it'
        )
    if not places.place(prepared or root).is_dir():
        key = 'prepared' if prepared else 'root'
        raise ValueError(
            f"config.data.{key} is {prepared or root!r}: no such folder, expected {name}'s data"
        )


LOADERS: dict[str, Any] = (
    {'drawn': drawn, 'mixed': several, 'video': filmed}
    | {name: functools.partial(recorded, name) for name in RECORDED}
    | {'coco': coco, 'deeplabcut': from_deeplabcut}
)


def load(
    name: str,
    *,
    training: bool = True,
    seed: int = 0,
    box_jitter: float = 0.0,
    watch: footage.Watch = footage.unwatched,
    **options: Any,
) -> DataSet:
    """The data set `name` with its options, without a training split unless there is `training`.

    box_jitter: how far the boxes of test people are moved and scaled, as `jittered` does.
    watch: is given the frames of videos while they are decoded, to show how far it is.

    Raises ValueError as `check` does, and for bad data.
    """
    check(name, **options)
    taken, options = _taken(name), {'seed': seed, 'training': training, 'watch': watch} | options
    found = LOADERS[name](**{key: options[key] for key in options if key in taken})
    if not box_jitter:
        return found
    return found._replace(test=[jittered(clip, box_jitter, seed=seed) for clip in found.test])


def jittered(clip: clips.Clip, std: float, *, seed: int) -> clips.Clip:
    """The clip with boxes as a detector might find them: each moved and scaled by itself.

    std: of how far the centre moves along each axis, in shares of the box's side there, and of the
    logarithm of what both sides are multiplied by. What is drawn depends on the seed and the id.
    """
    draws = np.random.default_rng([seed, *clip.id.encode()]).normal(size=(len(clip.boxes), 3)) * std
    corners = np.asarray(clip.boxes, np.float64).reshape(-1, 2, 2)  # first and last pixels, (x, y)
    side = corners[:, 1] - corners[:, 0] + 1  # a box ends on its last pixel
    centre = corners.mean(axis=1) + draws[:, :2] * side
    reach = (side * np.exp(draws[:, 2:]) - 1) / 2
    boxes = np.concatenate([centre - reach, centre + reach], axis=1).astype(np.float32)
    return dataclasses.replace(clip, boxes=boxes)


def check(name: str, *, box_jitter: float = 0.0, **options: Any) -> None:
    """Raises ValueError at once for an unknown name, a missing folder, or an option set in vain.

    Options that belong to other data sets must be empty or at their defaults; box_jitter is
    anybody's.
    """
    del box_jitter
    _check_name(name)
    for key in sorted(options.keys() - _taken(name)):
        default = _default(key)
        if options[key] and options[key] != default:
            raise ValueError(
                f'config.data.{key} is {options[key]!r}, which config.data.name={name} has no use '
                f'for, expected {default!r}'
            )
    if name in RECORDED:
        _check_folder(name, options.get('root', ''), options.get('prepared', ''))
    if name in OWN:
        _check_own(name, options.get('root', ''), options.get('boxes', ''))
    if name == 'mixed':
        _check_roots(options.get('roots', ()))
    if name == 'video':
        if not options.get('cut_outs'):
            raise ValueError(
                "config.data.cut_outs is not set, expected a folder for people's pictures"
            )
        footage.check(options.get('input', ''), options.get('boxes', ''))


def _taken(name: str) -> Mapping[str, inspect.Parameter]:
    """The options that the loader of a data set takes."""
    return inspect.signature(LOADERS[name]).parameters


def _default(key: str) -> Any:
    """An option's default, by a loader that has one. Raises TypeError where none does."""
    for name in LOADERS:
        if key in _taken(name) and _taken(name)[key].default is not inspect.Parameter.empty:
            return _taken(name)[key].default
    raise TypeError(f'no data set takes the option {key!r}')


def labels(name: str, *, skeleton: str = '', root: str = '') -> tuple[skeletons.Skeleton, bool]:
    """(joints, box convention) of the data set `name`.

    Args:
      name: of the data set.
      skeleton: the joints of data that name them themselves, as `skeletons.to_text` has them; '':
        they are read from `root`.
      root: as for `load`.

    Raises:
      ValueError: for an unknown name, a text that is no skeleton, and as the readers do.
    """
    _check_name(name)
    if name in RECORDED:
        return RECORDED[name][1:]
    if name in OWN:
        return skeletons.from_text(skeleton) if skeleton else OWN[name](root), False
    if name == 'video' and skeleton:
        return skeletons.from_text(skeleton), False
    return skeletons.PENN_ACTION, name not in ('video', 'mixed')  # their boxes count pixels from 0


def _check_name(name: str) -> None:
    if name not in LOADERS:
        raise ValueError(f'config.data.name: no data set {name!r}; known: {", ".join(LOADERS)}')
