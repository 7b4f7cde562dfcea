"""One job for one folder: a second one that was started by mistake is refused.

Contract: a job holds the lock of its folder's file `.lock` as long as its process lives. The system
lets go of it when a process ends, however it ends, so no lock is ever stale. The file says who
holds it. Several jobs may share a folder if all of them say so. On a file system without locks
nobody is refused.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

_TAKEN = (errno.EACCES, errno.EAGAIN)


class Taken(ValueError):
    """Another job holds the folder; holder: which, as its file says."""

    def __init__(self, folder: pathlib.Path, holder: str):
        super().__init__(
            f'{folder}: another job is running there, {holder}; wait until it ends, or choose '
            'another --workdir'
        )
        self.holder = holder


@contextlib.contextmanager
def held(folder: pathlib.Path, *, shared: bool = False, note: str = '') -> Iterator[None]:
    """Holds the folder, which is made if it is missing.

    Args:
      folder: the one to hold.
      shared: with others that share it too.
      note: what else to say of who holds it.

    Raises:
      Taken: when another job holds it, naming its process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / '.lock', 'a+', encoding='utf-8') as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                file.seek(0)
                raise Taken(folder, file.read().strip() or 'unnamed') from None
        file.truncate(0)
        several = 'hosts, such as ' if shared else ''
        file.write(f'{several}process {os.getpid()} on {socket.gethostname()}{note}\n')
        file.flush()
        yield
