"""Files that are either complete or absent, whenever the program is stopped."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary file's path to write to.

    The file takes the place of `path` at the end, and is deleted after an error.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
