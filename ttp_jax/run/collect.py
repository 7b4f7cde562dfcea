"""What hosts have done, joined into one `results.jsonl` and one report, without any model.

Contract: everyone's predictions in the workdir, as long as they were made by the same run: weights,
settings and code, as their marks say. Lines of results follow from the predictions and the labels,
so none is stale; from the hosts' own lines comes only who did the work.
"""

import collections
import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ttp_jax.data import clips, sets
from ttp_jax.data.clips import Clip
from ttp_jax.data.pairs import CropSpec
from ttp_jax.data.sets import DataSet
from ttp_jax.files import predictions, whole_file
from ttp_jax.personalize import guard
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.results import rows
from ttp_jax.run import check_config, marks, shares, summary
from ttp_jax.run.resume import check_workdir
from ttp_jax.run.store import Store

Marked = tuple[Adapted, str]  # a result and its mark


@dataclasses.dataclass
class Finished:
    """Everyone's results, as `subject.Subject` wants them; those refused are not among `people`."""

    config: ConfigDict
    workdir: pathlib.Path
    data: DataSet
    people: list[Clip]
    refused: dict[str, str]
    rules: dict[str, guard.Rule]
    spec: CropSpec
    seconds: dict[str, float]
    made: dict[str, int]
    placement: dict[str, Any]
    marked: dict[str, list[Marked]]  # by phase, in the order of people

    def store(self, phase: str) -> Store:
        """Where the results of a phase are, with the marks that they have."""
        pictured = {clip.id for clip in self.data.test[: self.config.pictures]}
        return Store(
            self.workdir,
            phase,
            [clip.id for clip in self.people],
            [mark for _, mark in self.marked[phase]],
            self.data.skeleton.joints,
            [index for index, clip in enumerate(self.people) if clip.id in pictured],
        )


@dataclasses.dataclass(frozen=True)
class Left:
    """ids: of people who are not done yet; everyone: how many there are."""

    ids: list[str]
    everyone: int

    def __str__(self):
        return f'{len(self.ids)} of {self.everyone} people are not done yet, such as {self.ids[0]}'


def execute(config: ConfigDict, workdir: pathlib.Path) -> dict:
    """Joins what hosts have left in a workdir; returns the report.

    Raises ValueError where nothing or not everyone is done, or the config is not the hosts'.
    """
    check_config.check(config)
    if not (workdir / 'hosts').is_dir():
        raise ValueError(f'{workdir / "hosts"}: no such folder, expected what hosts have done')
    check_workdir(workdir, config)
    data = sets.load(seed=config.seed, training=False, **check_config.data_options(config))
    clips.check_ids(data.test)
    done = shares.read_all(workdir)
    found = finished(config, workdir, data, done[0].marks if done else {})
    if isinstance(found, Left):
        raise ValueError(f'{workdir}: {found}; start the same command again without collect')
    return report(found)


def finished(
    config: ConfigDict, workdir: pathlib.Path, data: DataSet, of_run: Mapping[str, str]
) -> Finished | Left:
    """Everyone's results, or who has none yet; of_run: the run's mark of each phase."""
    done = [share for share in shares.read_all(workdir) if share.marks == of_run]
    phases = ['before', *config.personalize.schedules]
    found = {
        clip.id: [load(workdir, phase, clip.id, of_run.get(phase, '')) for phase in phases]
        for clip in data.test
    }
    incomplete = {name for name, own in found.items() if None in own}
    # Whoever was refused may have been mended since, by hosts of another number.
    refused = {
        name: why for share in done for name, why in share.refused.items() if name in incomplete
    }
    left = [name for name in found if name in incomplete - refused.keys()]
    if left:
        return Left(left, len(data.test))
    people = [clip for clip in data.test if clip.id not in refused]
    return Finished(
        config,
        workdir,
        data,
        people,
        refused,
        guard.read(config.personalize.guard) if config.personalize.guard else {},
        check_config.crop_spec(config),
        longest(share.seconds for share in done),
        dict(sum((collections.Counter(share.made) for share in done), collections.Counter())),
        {'hosts': [dict(share.placement) for share in done]},
        {
            phase: [each for each in (found[clip.id][index] for clip in people) if each]
            for index, phase in enumerate(phases)
        },
    )


def load(workdir: pathlib.Path, phase: str, name: str, of_run: str) -> Marked | None:
    """A person's predictions and their mark, if that is of this run."""
    found = predictions.load_marked(workdir / 'predictions' / phase / f'{name}.npz')
    return found if found and marks.run_of(found[1]) == of_run else None


def longest(seconds) -> dict[str, float]:
    """By phase, the seconds of the host that took longest: they work side by side."""
    found: dict[str, float] = {}
    for own in seconds:
        for phase, taken in own.items():
            found[phase] = max(taken, found.get(phase, 0.0))
    return found


def report(found: Finished) -> dict:
    """Writes `results.jsonl` and the report; returns the latter."""
    with whole_file.replacing(found.workdir / 'results.jsonl') as temporary:
        temporary.write_text(rows.text(lines(found)), encoding='utf-8')
    results = {phase: [adapted for adapted, _ in own] for phase, own in found.marked.items()}
    return summary.write(found, results, {'made': found.made, 'placement': found.placement})


def lines(found: Finished) -> list[rows.Row]:
    """Everyone's lines in order; who did the work is known from the hosts' own."""
    of_hosts = [rows.read(path) for path in (found.workdir / 'hosts').glob('*/results.jsonl')]
    joined = []
    for phase in found.config.personalize.schedules:
        own = rows_of(found, phase)
        for theirs in of_hosts:
            own = rows.as_known(own, {row['id']: row for row in theirs if row['phase'] == phase})
        joined.append(own)
    return rows.joined(*joined)


def rows_of(found: Finished, phase: str) -> Sequence[rows.Row]:
    """Everyone's rows of one phase, without a host."""
    frames = {clip.id: len(clip.frames) for clip in found.data.test}
    store, before = found.store(phase), found.marked['before']
    gain_error = found.rules[phase].gain_error if phase in found.rules else math.nan
    refused = [
        rows.refused(name, phase, why, frames=frames[name], host='')
        for name, why in found.refused.items()
    ]
    return refused + [
        rows.row(
            clip,
            phase,
            before[index][0],
            found.marked[phase][index][0],
            skeleton=found.data.skeleton,
            gain_error=gain_error,
            host='',
            predictions=store.path('predictions', index).relative_to(found.workdir).as_posix(),
        )
        for index, clip in enumerate(found.people)
    ]
