"""A file that grows by whole lines: appended to on a disk, written anew in a store.

Contract: one writer. On a disk a line is on its way when `add` returns. An object of a store cannot
be appended to: there lines wait for `EVERY` seconds at most while more are added, and for `flush`.
"""

import pathlib
import time

from ttp_jax import places
from ttp_jax.files import whole_file

EVERY = 10.0  # seconds


class Lines:
    """The lines of one file, behind those that it has."""

    def __init__(self, path: pathlib.Path):
        self.path, self.written = path, time.monotonic()
        self.known: str | None = None  # of a store: all that the object is to have

    def add(self, text: str) -> None:
        """One or more lines, each with its end. Raises ValueError where the disk is full."""
        if not places.in_store(self.path):
            with whole_file.telling(self.path), open(self.path, 'a', encoding='utf-8') as file:
                file.write(text)
            return
        if self.known is None:
            self.known = self.path.read_text() if self.path.is_file() else ''
        self.known += text
        if time.monotonic() - self.written > EVERY:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        if self.known is not None:
            places.put(self.path, self.known.encode())
            self.known, self.written = None, time.monotonic()
