"""The data sets by name: training clips, test clips and the joints they are labelled with."""

import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from ttp_jax.data import bbc_pose, clips, human36m, penn_action, skeletons
from ttp_jax.data import prepared as records
from ttp_jax.data.drawn import synthetic


class DataSet(NamedTuple):
    """Clips of the two splits, which share no person, and their joints.

    train: empty where nothing is trained. subtract_one: the box convention, as
    `geometry.crop_region` takes it.
    """

    train: Sequence[clips.Clip]
    test: Sequence[clips.Clip]
    skeleton: skeletons.Skeleton
    subtract_one: bool = True


def drawn(
    *,
    seed: int,
    training: bool,
    train_people: int,
    test_people: int,
    frames: int,
    size: int,
    motion: str = '',
    **_,
) -> DataSet:
    """People drawn from a seed; with `motion`, who move as those in a folder of labels did."""

    def people(split, count):
        return synthetic.drawn_clips(
            seed=seed, split=split, people=count, frames=frames, size=size, motion=motion or None
        )

    train = people('train', train_people) if training else ()
    return DataSet(train, people('test', test_people), skeletons.PENN_ACTION)


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
    root: str,
    train_people: int,
    test_people: int,
    prepared: str = '',
    **_,
) -> DataSet:
    """A data set's own folder, `root`, or what `ttp_jax.data.prepare` made of it in `prepared`.

    At most so many clips of each split (0: all of them).
    """
    _check_folder(name, prepared or root)
    read, skeleton, subtract_one = RECORDED[name]
    if prepared:
        read = functools.partial(records.clips, name)
    folder = prepared or root
    train = read(folder, split='train', limit=train_people or None) if training else ()
    test = read(folder, split='test', limit=test_people or None)
    return DataSet(train, test, skeleton, subtract_one)


def _check_folder(name: str, folder: str) -> None:
    if not folder:
        raise ValueError(
            f"config.data.root is not set, expected the folder of {name}'s data, or "
            'config.data.prepared: what ttp_jax.data.prepare made of it'
        )
    if not pathlib.Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder, expected {name}'s data")


LOADERS = {'drawn': drawn} | {name: functools.partial(recorded, name) for name in RECORDED}


def load(name: str, *, training: bool = True, **options) -> DataSet:
    """The data set `name` with its options, without a training split unless there is `training`.

    Raises ValueError for an unknown name or bad data.
    """
    _check_name(name)
    return LOADERS[name](training=training, **options)


def check(name: str, *, root: str, prepared: str, **_) -> None:
    """Raises at once what `load` would raise for an unknown name or a missing folder."""
    _check_name(name)
    if name in RECORDED:
        _check_folder(name, prepared or root)


def labels(name: str) -> tuple[skeletons.Skeleton, bool]:
    """(joints, box convention) of the data set `name`. Raises ValueError for an unknown name."""
    _check_name(name)
    return RECORDED[name][1:] if name in RECORDED else (skeletons.PENN_ACTION, True)


def _check_name(name: str) -> None:
    if name not in LOADERS:
        raise ValueError(f'config.data.name: no data set {name!r}; known: {", ".join(LOADERS)}')
