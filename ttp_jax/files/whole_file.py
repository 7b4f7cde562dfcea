"""Files that are either complete or absent, whenever the program is stopped."""

import contextlib
import pathlib
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary file's path to write to.

    The file takes the place of `path` at the end, and is deleted after an error.
    """
    # Not the process's number: hosts that share a folder may have the same.
    temporary = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:12]}')
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
