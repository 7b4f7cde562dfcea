"""Records of a finished run, from its report, its stored predictions and its people's labels.

Contract: nothing is predicted anew. Labels are those of the run's own config, drawn or read again;
scores are the report's, curves are made from the predictions that it scored. People without a score
are left out of all but `people`.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.tables.records import Record
from experiments.tables.rows import Row
from experiments.tables.tasks import Task
from ttp_jax.data import sets
from ttp_jax.data.clips import Clip
from ttp_jax.data.skeletons import Skeleton
from ttp_jax.results import metrics
from ttp_jax.run import check_config, defaults, keys

SHARES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)  # of a torso: thresholds of the curve

Arrays = Mapping[str, np.ndarray]


def measure(row: Row, task: Task, network: Task, *, size: str) -> list[Record]:
    """A record for each mode of a row.

    Raises:
      ValueError: when a mode has no score in the report.
      OSError: for predictions that are missing.
    """
    report = json.loads((task.workdir / 'report.json').read_text())
    data = test_people(json.loads((task.workdir / 'config.json').read_text()))
    scored = {person['id'] for person in report['people'] if person['before'] is not None}
    people = [clip for clip in data.test if clip.id in scored]
    trained = json.loads((network.workdir / 'report.json').read_text())
    train_people = json.loads((network.workdir / 'config.json').read_text())['data']['train_people']
    records = []
    for mode in row.modes:
        if report['mpck'].get(mode) is None:
            raise ValueError(f'no score {mode!r} in the report')
        stored = [_stored(task.workdir, mode, clip.id) for clip in people]
        records.append(
            {
                'size': size,
                'table': row.table,
                'system': row.name,
                'data': row.network.data,
                'mode': mode,
                'seed': row.network.seed,
                'train_people': train_people,
                'mpck': report['mpck'][mode],
                'people': {person['id']: person[mode] for person in report['people']},
                'sources': sources(people),
            }
            | curves(people, [arrays['joints'] for arrays in stored], skeleton=data.skeleton)
            | behaviour([clip.id for clip in people], stored)
            | origin(report)
            | {'network': origin(trained)}
        )
    return records


def test_people(config: Mapping[str, Any]) -> sets.DataSet:
    """The people that a run of this config personalizes to."""
    found = defaults.completed(keys.flat(config))
    return sets.load(seed=found.seed, training=False, **check_config.data_options(found))


def sources(people: Sequence[Clip]) -> dict[str, str]:
    """The first of the people cut from the same recording, of each whose recording is known."""
    first: dict[str, str] = {}
    return {clip.id: first.setdefault(clip.source, clip.id) for clip in people if clip.source}


def curves(
    people: Sequence[Clip], predictions: Sequence[np.ndarray], *, skeleton: Skeleton
) -> dict[str, Any]:
    """`curve` and `frames` of a record: percent by threshold, and by index of the frame."""
    labels = [clip.labels for clip in people if clip.labels is not None]
    if len(labels) != len(people):
        raise ValueError('some people have no labels, expected labels of all')
    joints = [each.joints for each in labels]
    visibility = [each.visibility for each in labels]
    by_threshold = {
        f'{share:g}': metrics.pooled_pck(
            predictions, joints, visibility, skeleton=skeleton, threshold=share
        )['mPCK']
        for share in SHARES
    }
    return {'curve': by_threshold, 'frames': by_frame(predictions, joints, visibility, skeleton)}


def by_frame(
    predictions: Sequence[np.ndarray],
    joints: Sequence[np.ndarray],
    visibility: Sequence[np.ndarray],
    skeleton: Skeleton,
) -> list[float | None]:
    """Percent of right joints in everybody's first frame, second frame, ..."""
    longest = max(map(len, joints))
    right, seen = np.zeros(longest), np.zeros(longest)
    for found, true, weight in zip(predictions, joints, visibility, strict=True):
        correct = metrics.right_joints(found, true, skeleton=skeleton) * weight
        right[: len(true)] += correct.sum(axis=1)
        seen[: len(true)] += np.asarray(weight, np.float64).sum(axis=1)
    return [100 * float(r / s) if s else None for r, s in zip(right, seen, strict=True)]


def behaviour(ids: Sequence[str], stored: Sequence[Arrays]) -> dict[str, Any]:
    """`confidence` and `losses`: what is known of a person without any label."""
    losses = {
        name: [float(arrays['losses'].flat[0]), float(arrays['losses'].flat[-1])]
        for name, arrays in zip(ids, stored, strict=True)
        if arrays['losses'].size and np.isfinite(arrays['losses']).all()
    }
    confidence = {
        name: float(arrays['scores'].mean()) for name, arrays in zip(ids, stored, strict=True)
    }
    return {'confidence': confidence, 'losses': losses}


def origin(report: Mapping[str, Any]) -> dict[str, Any]:
    """Where numbers come from. Folders in a command are those of one machine, and left out."""
    command = ' '.join(_without_folder(word) for word in report['command'].split(' '))
    return {'command': command, 'commit': report['git'], 'seconds': report['seconds']}


def _without_folder(word: str) -> str:
    name, equals, value = word.partition('=')
    return f'{name}={pathlib.PurePath(value).name}' if equals and value.startswith('/') else word


def _stored(workdir: pathlib.Path, mode: str, name: str) -> dict[str, np.ndarray]:
    with np.load(workdir / 'predictions' / mode / f'{name}.npz') as file:
        return dict(file)
