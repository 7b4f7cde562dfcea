"""Files that are either complete or absent, whenever the program is stopped."""

import contextlib
import errno
import os
import pathlib
import re
import tempfile
import uuid
from collections.abc import Iterator

from ttp_jax import places

# What a disk says that takes no more.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary file's path to write to, on this machine.

    The file takes the place of `path`, maybe in a store (`places`), at the end, and is deleted
    after an error.

    Raises:
      ValueError: in one line, where the disk or the store takes no more.
    """
    if places.in_store(path):
        with tempfile.TemporaryDirectory() as folder, telling(path):
            temporary = pathlib.Path(folder) / path.name
            yield temporary
            places.put(path, temporary.read_bytes())
        return
    # Not the process's number: hosts that share a folder may have the same.
    temporary = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:12]}')
    try:
        with telling(path):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def telling(path: pathlib.Path) -> Iterator[None]:
    """Turns a disk's refusal to take more into a ValueError of one line that names the file."""
    try:
        yield
    except (OSError, ValueError) as error:
        if (number := _error_number(error)) not in _FULL:
            raise
        raise ValueError(
            f'{path}: cannot be written ({os.strerror(number)}); all that was finished is kept '
            'and the same command goes on from there once there is room'
        ) from error


def _error_number(error: OSError | ValueError) -> int:
    """The system's number of an error, 0 where there is none; Orbax has it in its text."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found.group(1)) if found else 0
