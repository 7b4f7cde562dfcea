"""`results.jsonl`: a line for each person as soon as they are done, and all of them at the end.

Contract: the file has one writer, who holds the lock of its folder: the workdir, or the folder of a
host's share (`shares`). Lines are whole, or the last one is cut short and not counted. After a stop
the file is made again from what is stored, so nobody is there twice, and nobody who is to be done
again is there already. Lines are in order of time while people are worked for, and by id once all
are done.
"""

import pathlib
from collections.abc import Iterable

from ttp_jax.files import whole_file
from ttp_jax.files.lines import Lines
from ttp_jax.results import rows
from ttp_jax.results.rows import Row


class Ledger:
    """The lines of one writer."""

    def __init__(self, folder: pathlib.Path):
        self.path = folder / 'results.jsonl'
        self.lines = Lines(self.path)

    def begin(self, phase: str, done: Iterable[Row]) -> None:
        """Puts those rows of a phase that stand in the place of all that the file has of it.

        A row that is there already, of the same result, keeps the host that it names.
        """
        self.lines.flush()
        found = rows.read(self.path)
        others = [row for row in found if row['phase'] != phase]
        known = {row['id']: row for row in found if row['phase'] == phase}

        self._replace(rows.joined(others, rows.as_known(done, known)))

    def add(self, row: Row) -> None:
        """One more line (`lines`)."""
        self.lines.add(rows.text([row]))

    def close(self) -> None:
        """Puts the lines in order, by id."""
        self.lines.flush()
        self._replace(rows.joined(rows.read(self.path)))

    def _replace(self, found: list[Row]) -> None:
        with whole_file.replacing(self.path) as temporary:
            temporary.write_text(rows.text(found), encoding='utf-8')
