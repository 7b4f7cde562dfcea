"""`results.jsonl`: a line for each person as soon as they are done, and all of them at the end.

Contract: one process writes `results.jsonl` itself; of several each writes `results.<host>.jsonl`,
and whoever comes to the end joins what is there. Lines are whole, or the last one is cut short and
not counted. After a stop the file is made again from what is stored, so nobody is there twice, and
nobody who is to be done again is there already. Lines are in order of time while people are worked
for, and by id once all are done.
"""

import pathlib
from collections.abc import Iterable

from ttp_jax.files import whole_file
from ttp_jax.results import rows
from ttp_jax.results.rows import Row


class Ledger:
    """The lines of one host."""

    def __init__(self, workdir: pathlib.Path, *, host: int = 0, hosts: int = 1):
        self.workdir = workdir
        name = 'results.jsonl' if hosts == 1 else f'results.{host}.jsonl'
        self.path = workdir / name

    def begin(self, phase: str, done: Iterable[Row]) -> None:
        """Puts those rows of a phase that stand in the place of all that the file has of it.

        A row that is there already, of the same result, keeps the host that it names.
        """
        found = rows.read(self.path)
        others = [row for row in found if row['phase'] != phase]
        known = {row['id']: row for row in found if row['phase'] == phase}

        def as_known(row: Row) -> Row:
            old = known.get(row['id'], row)
            return old if old | {'host': row['host']} == row else row

        self._replace(self.path, rows.joined(others, map(as_known, done)))

    def add(self, row: Row) -> None:
        """One more line, on its way to the disk when this returns."""
        with open(self.path, 'a', encoding='utf-8') as file:
            file.write(rows.text([row]))

    def close(self) -> None:
        """Joins what there is of all hosts into `results.jsonl`, by id."""
        files = [self.path, *sorted(self.workdir.glob('results.*.jsonl'))]
        self._replace(self.workdir / 'results.jsonl', rows.joined(*map(rows.read, files)))

    def _replace(self, path: pathlib.Path, found: list[Row]) -> None:
        with whole_file.replacing(path) as temporary:
            temporary.write_text(rows.text(found), encoding='utf-8')
