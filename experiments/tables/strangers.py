"""What predicts, without labels, whether a network gains: how much worse it rebuilds strangers.

Contract: a person's gap is the loss of their first step, before anything is learned, in units of
what training people's was in the end: the number of its terms, each divided by its running mean.
Of networks that learned to rebuild with the default's features, adapted with the default's steps.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.tables.groups import Group, gaps
from experiments.tables.statistics import Estimate

_SYSTEMS = re.compile(
    r'main/(ours|feature-shared \(keypoint\))|ablations/\d+ training people'
    r'|ablations/strong network, as the others'
)


class Network(NamedTuple):
    """One network: its mean gap, its score before in percent, and its mean gain in points."""

    data: str
    gap: float
    before: float
    gain: float


def chosen(found: Sequence[Group]) -> list[Group]:
    """The groups that rebuild, each with networks of its own, and have been adapted offline."""
    return [
        group
        for group in found
        if _SYSTEMS.fullmatch(f'{group.table}/{group.system}') and group.gains('offline')
    ]


def networks(among: Sequence[Group], mode: str = 'offline') -> list[Network]:
    """Every seed's network of the groups."""
    return [
        Network(
            group.data,
            float(np.mean(list(gaps(group.modes[mode][seed]).values()))),
            group.modes['before'][seed]['mpck'],
            float(np.nanmean(list(gains.values()))),
        )
        for group in among
        for seed, gains in group.gains(mode).items()
    ]


def gain_of_strangers(group: Group, mode: str, *, least_gap: float = 1.0) -> Estimate | None:
    """What everyone gains where those with a smaller gap keep the shared predictions.

    As `--config.personalize.least_gap` does it: what the others gain stays what it is.
    """
    kept = {
        seed: {
            name: points * (gaps(group.modes[mode][seed]).get(name, np.inf) >= least_gap)
            for name, points in gains.items()
        }
        for seed, gains in group.gains(mode).items()
    }
    return group.estimate(kept)


def count(group: Group, mode: str, *, least_gap: float = 1.0) -> tuple[int, int]:
    """How many people of all seeds are strangers, and how many there are."""
    found = [gap for r in group.modes[mode].values() for gap in gaps(r).values()]
    return sum(gap >= least_gap for gap in found), len(found)
