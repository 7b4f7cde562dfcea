"""Records put side by side: the seeds of a row, its modes, and the same people before and after.

Contract: a `Group` is one system on one data set at one size, its records by mode and seed.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.tables import rows, statistics
from experiments.tables.records import Record
from experiments.tables.statistics import Estimate
from ttp_jax.networks import perceptual

ADAPTED = ('online', 'offline')

# What training people's loss of rebuilding is in the end, with the default's features: the number
# of its terms, of the pixels and of each map, as each is divided by its running mean.
TRAINING_LOSS = 1 + len(perceptual.RANDOM_STAGES)

# Words of a training's command that say nothing about the network, or what is so anyway.
_OF_ANY_NETWORK = (
    '--workdir=',
    '--config.seed=',
    '--config.pictures=',
    '--config.personalize.',
    '--config.model.variant=transformer',
)


class Group(NamedTuple):
    """modes: {mode: {seed: record}}."""

    size: str
    table: str
    system: str
    data: str
    modes: dict[str, dict[int, Record]]

    @property
    def crossed(self) -> bool:
        """Whether all seeds have the same people: those that are not drawn."""
        return self.data == 'real'

    def estimate(self, values: dict[int, dict[str, float]]) -> Estimate | None:
        """The mean over seeds of points by person; None without a seed."""
        if not values:
            return None
        found = [np.array(list(people.values())) for people in values.values()]
        of, names = self._sources(), next(iter(values.values()))
        sources = [of.get(name, name) for name in names] if self.crossed else None
        return statistics.estimate(found, crossed=self.crossed, sources=sources)

    def _sources(self) -> dict[str, str]:
        """Of each person that of the first one cut from the same recording, where it is known."""
        records = [record for by_seed in self.modes.values() for record in by_seed.values()]
        return {k: v for record in records for k, v in record.get('sources', {}).items()}

    def scores(self, mode: str) -> list[float]:
        """mPCK of each seed."""
        return [record['mpck'] for _, record in sorted(self.modes.get(mode, {}).items())]

    def gains(self, mode: str) -> dict[int, dict[str, float]]:
        """{seed: {person: points}} over before, of the seeds that have both."""
        after, before = self.modes.get(mode, {}), self.modes.get('before', {})
        return {
            seed: differences(after[seed]['people'], before[seed]['people'])
            for seed in sorted(after.keys() & before.keys())
        }


def groups(records: Iterable[Record]) -> list[Group]:
    """All of them, in the order in which rows are declared; those that no longer are come last."""
    found: dict[tuple, Group] = {}
    for record in records:
        key = (record['size'], record['table'], record['system'], record['data'])
        group = found.setdefault(key, Group(*key, {}))
        group.modes.setdefault(record['mode'], {})[record['seed']] = record
    place = {name: i for i, name in enumerate(dict.fromkeys(row.name for row in rows.all_rows()))}
    return sorted(found.values(), key=lambda group: place.get(group.system, len(place)))


def differences(a: dict[str, float | None], b: dict[str, float | None]) -> dict[str, float]:
    """a - b of everyone in both; NaN for those without a score."""
    return {
        name: float(np.nan if a[name] is None or b[name] is None else a[name] - b[name])  # type: ignore[operator]
        for name in sorted(a.keys() & b.keys())
    }


def gain(group: Group, mode: str) -> Estimate | None:
    """What a mode gained over before; None where no seed has both."""
    return group.estimate(group.gains(mode))


def more_gain(a: Group, b: Group, mode: str) -> Estimate | None:
    """By how much more a gained than b, for the same people of the same seeds."""
    return a.estimate(_paired(a.gains(mode), b.gains(mode)))


def better_before(a: Group, b: Group) -> Estimate | None:
    """By how much a is better than b before personalization, for the same people."""
    scores = [
        {seed: record['people'] for seed, record in group.modes.get('before', {}).items()}
        for group in (a, b)
    ]
    return a.estimate(_paired(*scores))


def _paired(a, b) -> dict[int, dict[str, float]]:
    """a - b of the same people of the same seeds."""
    return {seed: differences(a[seed], b[seed]) for seed in sorted(a.keys() & b.keys())}


def gaps(record: Record) -> dict[str, float]:
    """{person: loss of the first step, in units of training people's} of an adapted record."""
    return {name: first / TRAINING_LOSS for name, (first, _) in record['losses'].items()}


def people_of(group: Group, mode: str) -> list[dict[str, float]]:
    """Everyone of all seeds: their gain, and what is known of them without labels or beside them.

    Keys: gain; before (percent); confidence (mean of heatmaps' maxima before); gap (the loss of the
    first step, in units of training people's); fall (share of it that is gone at the last step).
    """
    found = []
    for seed, gains in group.gains(mode).items():
        before, after = group.modes['before'][seed], group.modes[mode][seed]
        gap = gaps(after)
        for name, points in gains.items():
            if not np.isfinite(points) or name not in after['losses']:
                continue
            first, last = after['losses'][name]
            found.append(
                {
                    'gain': points,
                    'before': before['people'][name],
                    'confidence': before['confidence'][name],
                    'gap': gap[name],
                    'fall': (first - last) / abs(first) if first else 0.0,
                }
            )
    return found


def trained_again(among: Sequence[Group]) -> dict[int, int]:
    """{seed: how often its network was trained}, of networks that were trained more than once.

    Of a seed with several such networks the one that was trained most often counts.
    """
    trainings: dict[tuple[int, tuple[str, ...]], set] = {}
    for group in among:
        for by_seed in group.modes.values():
            for seed, record in by_seed.items():
                network = record['network']
                once = (network['commit'], *network['seconds'].items())
                trainings.setdefault((seed, _settings(network['command'])), set()).add(once)
    found: dict[int, int] = {}
    for (seed, _), times in sorted(trainings.items()):
        found[seed] = max(found.get(seed, 0), len(times))
    return {seed: count for seed, count in found.items() if count > 1}


def _settings(command: str) -> tuple[str, ...]:
    """What makes a network another one than the default's, in its training's command."""
    return tuple(word for word in command.split() if not word.startswith(_OF_ANY_NETWORK))


def find(among: Sequence[Group], table: str, system: str) -> Group | None:
    """The group of a table's row, if it is there."""
    return next((g for g in among if (g.table, g.system) == (table, system)), None)
