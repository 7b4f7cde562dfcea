"""The data sets by name: training clips, test clips and the joints they are labelled with."""
from typing import NamedTuple, Sequence

from ttp_jax.data import clips, penn_action, skeletons, synthetic


class DataSet(NamedTuple):
    """Clips of the two splits, which share no person, and their joints."""
    train: Sequence[clips.Clip]
    test: Sequence[clips.Clip]
    skeleton: skeletons.Skeleton


def drawn(*, seed: int, train_people: int, test_people: int, frames: int, size: int,
          motion: str = '', **_) -> DataSet:
    """People drawn from a seed; with `motion`, who move as those in a folder of labels did."""
    def people(split, count):
        return synthetic.drawn_clips(seed=seed, split=split, people=count, frames=frames, size=size,
                                     motion=motion or None)
    return DataSet(people('train', train_people), people('test', test_people),
                   skeletons.PENN_ACTION)


def penn(*, root: str, train_people: int, test_people: int, **_) -> DataSet:
    """Penn Action's folders; at most so many clips of each split (0: all of them)."""
    if not root:
        raise ValueError('config.data.root is not set, expected a folder with frames/ and labels/')
    def people(split, count):
        return penn_action.penn_action_clips(root, split=split, limit=count or None)
    return DataSet(people('train', train_people), people('test', test_people),
                   skeletons.PENN_ACTION)


LOADERS = {'drawn': drawn, 'penn_action': penn}


def load(name: str, **options) -> DataSet:
    """The data set `name` with its options. Raises ValueError for an unknown name or bad data."""
    if name not in LOADERS:
        raise ValueError(f'config.data.name: no data set {name!r}; known: {", ".join(LOADERS)}')
    return LOADERS[name](**options)
