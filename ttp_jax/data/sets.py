"""The data sets by name: training clips, test clips and the joints they are labelled with."""

import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from ttp_jax.data import bbc_pose, clips, human36m, mixed, penn_action, skeletons
from ttp_jax.data import prepared as records
from ttp_jax.data.drawn import synthetic


class DataSet(NamedTuple):
    """Clips of the two splits, which share no person, and their joints.

    subtract_one: the box convention, as `geometry.crop_region` takes it.
    """

    train: Sequence[clips.Clip]
    test: Sequence[clips.Clip]
    skeleton: skeletons.Skeleton
    subtract_one: bool = True


def drawn(
    *, seed: int, train_people: int, test_people: int, frames: int, size: int, motion: str = '', **_
) -> DataSet:
    """People drawn from a seed; with `motion`, who move as those in a folder of labels did."""

    def people(split, count):
        return synthetic.drawn_clips(
            seed=seed, split=split, people=count, frames=frames, size=size, motion=motion or None
        )

    return DataSet(
        people('train', train_people), people('test', test_people), skeletons.PENN_ACTION
    )


def several(
    *,
    seed: int,
    roots: Sequence[str],
    drawn_people: int,
    frames: int,
    size: int,
    motion: str,
    validation: float,
    evaluate: str,
    test_people: int,
    **_,
) -> DataSet:
    """Folders in Penn Action's layout and people drawn from a seed, trained on together.

    Each has as large a share of training as it has frames. evaluate: the part of the first folder
    that stands in for the test split, as `mixed.part` names it.
    """
    _check_roots(roots)
    train = mixed.training_clips(roots, validation=validation)
    if drawn_people:
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
        _check_folder('mixed', root)


# Of each recorded data set: its folder's reader, its joints, and its box convention.
RECORDED = {
    'penn_action': (penn_action.penn_action_clips, skeletons.PENN_ACTION, True),
    'human36m': (human36m.human36m_clips, skeletons.HUMAN36M, False),
    'bbc_pose': (bbc_pose.bbc_pose_clips, skeletons.BBC_POSE, True),
}


def recorded(
    name: str, *, root: str, train_people: int, test_people: int, prepared: str = '', **_
) -> DataSet:
    """A data set's own folder, `root`, or what `ttp_jax.data.prepare` made of it in `prepared`.

    At most so many clips of each split (0: all of them).
    """
    _check_folder(name, prepared or root)
    read, skeleton, subtract_one = RECORDED[name]
    if prepared:
        read = functools.partial(records.clips, name)
    train, test = (
        read(prepared or root, split=split, limit=count or None)
        for split, count in (('train', train_people), ('test', test_people))
    )
    return DataSet(train, test, skeleton, subtract_one)


def _check_folder(name: str, folder: str) -> None:
    if not folder:
        raise ValueError(
            f"config.data.root is not set, expected the folder of {name}'s data, or "
            'config.data.prepared: what ttp_jax.data.prepare made of it'
        )
    if not pathlib.Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder, expected {name}'s data")


LOADERS = {'drawn': drawn, 'mixed': several} | {
    name: functools.partial(recorded, name) for name in RECORDED
}


def load(name: str, **options) -> DataSet:
    """The data set `name` with its options. Raises ValueError for an unknown name or bad data."""
    _check_name(name)
    return LOADERS[name](**options)


def check(name: str, *, root: str, prepared: str, roots: Sequence[str] = (), **_) -> None:
    """Raises at once what `load` would raise for an unknown name or a missing folder."""
    _check_name(name)
    if name in RECORDED:
        _check_folder(name, prepared or root)
    if name == 'mixed':
        _check_roots(roots)


def labels(name: str) -> tuple[skeletons.Skeleton, bool]:
    """(joints, box convention) of the data set `name`. Raises ValueError for an unknown name."""
    _check_name(name)
    return RECORDED[name][1:] if name in RECORDED else (skeletons.PENN_ACTION, True)


def _check_name(name: str) -> None:
    if name not in LOADERS:
        raise ValueError(f'config.data.name: no data set {name!r}; known: {", ".join(LOADERS)}')
