"""How long the missing rows will take, from the seconds of those that are there.

Contract: a row's time is its run's; a network's is that of its training, and counts once for all
missing rows that share it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.tables.records import Record
from experiments.tables.rows import Row
from experiments.tables.tasks import Task


class Cost(NamedTuple):
    """Seconds of what is known; tasks whose kind has never been run."""

    seconds: float
    unknown: int


def cost(
    rows: Iterable[Row], records: Sequence[Record], *, network_tasks: Callable, size: str
) -> Cost:
    """What the rows will take, with the networks that are not trained yet."""
    known = [record for record in records if record['size'] == size]
    wanted = list(rows)
    networks: dict[Task, str] = {
        task: row.network.data
        for row in wanted
        for task in network_tasks(row.network)
        if not task.done
    }
    each = [_like(known, row.network.data, row.table) for row in wanted]
    each += [_like(known, data, None) for data in networks.values()]
    return Cost(sum(e for e in each if e is not None), sum(e is None for e in each))


def _like(records: Sequence[Record], data: str, table: str | None) -> float | None:
    """Mean seconds of runs like this: of this data set, or else of any; table None: of training."""
    for alike in (lambda r: r['data'] == data, lambda r: True):
        found = [
            sum((r['network'] if table is None else r)['seconds'].values())
            for r in records
            if alike(r) and table in (None, r['table'])
        ]
        if found:
            return float(np.mean(found))
    return None
