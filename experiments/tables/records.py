"""What is kept of finished rows: `experiments/results/*.json`, one record per row, mode and seed.

Contract: a record is a dict of plain values.
  size, table, system, data, mode, seed   what it is of, unique together
  train_people   how many the network was trained on, 0: all of a recorded data set
  mpck       percent, over the frames of all people together
  people     {id: percent}, None without a visible joint
  sources    {id: the first id of the same recording}, of people whose recording is known
  curve      {threshold: percent}, over all people's frames
  frames     [percent of the joints of the clips' first, second, ... frames], None without any
  confidence, losses   {id: number}, see `measure`; losses: [first, last]
  command, commit, seconds {phase: seconds}   of the run; network: the same of its training
"""

import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from experiments.tables.rows import Row
from ttp_jax.files import whole_file

Record = dict[str, Any]

FILES = {'main': 'main_table.json', 'neighbours': 'neighbours.json', 'ablations': 'ablations.json'}
_KEY = ('size', 'table', 'system', 'data', 'mode', 'seed')


def key(record: Record) -> tuple:
    """What a record is of."""
    return tuple(record[name] for name in _KEY)


def keys_of(row: Row, size: str) -> set[tuple]:
    """The keys of the records that a finished row has."""
    network = row.network
    return {(size, row.table, row.name, network.data, mode, network.seed) for mode in row.modes}


def load(folder: pathlib.Path) -> list[Record]:
    """The records of all tables. Raises ValueError for a file that is not JSON, naming it."""
    found = []
    for name in FILES.values():
        path = folder / name
        if path.is_file():
            try:
                found += json.loads(path.read_text())
            except ValueError as error:
                raise ValueError(f'{path}: cannot be read ({error})') from None
    return found


def save(folder: pathlib.Path, records: Iterable[Record]) -> None:
    """Writes each table's file, whole or not at all; of two records of one key the last counts."""
    folder.mkdir(parents=True, exist_ok=True)
    latest = {key(record): record for record in records}
    for table, name in FILES.items():
        rows = [latest[k] for k in sorted(latest) if latest[k]['table'] == table]
        if rows:
            with whole_file.replacing(folder / name) as path:
                path.write_text(json.dumps(rows, indent=1, allow_nan=False) + '\n')


def missing(rows: Sequence[Row], records: Iterable[Record], *, size: str) -> list[Row]:
    """The rows that lack a record of some mode."""
    there = {key(record) for record in records}
    return [row for row in rows if not keys_of(row, size) <= there]
