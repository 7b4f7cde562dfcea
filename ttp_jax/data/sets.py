"""The data sets by name: training clips, test clips and the joints they are labelled with."""
import functools
from typing import NamedTuple, Sequence

from ttp_jax.data import (bbc_pose, clips, human36m, penn_action, prepared as records, skeletons,
                          synthetic)


class DataSet(NamedTuple):
    """Clips of the two splits, which share no person, and their joints.

    subtract_one: the box convention, as `geometry.crop_region` takes it.
    """
    train: Sequence[clips.Clip]
    test: Sequence[clips.Clip]
    skeleton: skeletons.Skeleton
    subtract_one: bool = True


def drawn(*, seed: int, train_people: int, test_people: int, frames: int, size: int,
          motion: str = '', **_) -> DataSet:
    """People drawn from a seed; with `motion`, who move as those in a folder of labels did."""
    def people(split, count):
        return synthetic.drawn_clips(seed=seed, split=split, people=count, frames=frames, size=size,
                                     motion=motion or None)
    return DataSet(people('train', train_people), people('test', test_people),
                   skeletons.PENN_ACTION)


# Of each recorded data set: its folder's reader, its joints, and its box convention.
RECORDED = {
    'penn_action': (penn_action.penn_action_clips, skeletons.PENN_ACTION, True),
    'human36m': (human36m.human36m_clips, skeletons.HUMAN36M, False),
    'bbc_pose': (bbc_pose.bbc_pose_clips, skeletons.BBC_POSE, True),
}


def recorded(name: str, *, root: str, train_people: int, test_people: int, prepared: str = '',
             **_) -> DataSet:
    """A data set's own folder, `root`, or what `ttp_jax.data.prepare` made of it in `prepared`.

    At most so many clips of each split (0: all of them).
    """
    if not root and not prepared:
        raise ValueError(f"config.data.root is not set, expected the folder of {name}'s data, or "
                         'config.data.prepared: what ttp_jax.data.prepare made of it')
    read, skeleton, subtract_one = RECORDED[name]
    if prepared:
        read = functools.partial(records.clips, name)
    train, test = (read(prepared or root, split=split, limit=count or None)
                   for split, count in (('train', train_people), ('test', test_people)))
    return DataSet(train, test, skeleton, subtract_one)


LOADERS = {'drawn': drawn} | {name: functools.partial(recorded, name) for name in RECORDED}


def load(name: str, **options) -> DataSet:
    """The data set `name` with its options. Raises ValueError for an unknown name or bad data."""
    if name not in LOADERS:
        raise ValueError(f'config.data.name: no data set {name!r}; known: {", ".join(LOADERS)}')
    return LOADERS[name](**options)
