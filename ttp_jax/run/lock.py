"""One job for one workdir: a second one that was started by mistake is refused.

Contract: a job holds the lock of its workdir's file `.lock` (`.lock.<host>` of several hosts, which
share a workdir on purpose) as long as its process lives. The system lets go of it when a process
ends, however it ends, so no lock is ever stale. The file says who holds it. On a file system
without locks nobody is refused.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

_TAKEN = (errno.EACCES, errno.EAGAIN)


@contextlib.contextmanager
def held(workdir: pathlib.Path, *, host: int = 0, hosts: int = 1) -> Iterator[None]:
    """Holds the workdir, which is made if it is missing.

    Raises:
      ValueError: when another job holds it, naming its process.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    name = '.lock' if hosts == 1 else f'.lock.{host}'
    with open(workdir / name, 'a+', encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                file.seek(0)
                raise ValueError(
                    f'{workdir}: another job is running there, {file.read().strip() or "unnamed"}; '
                    'wait until it ends, or choose another --workdir'
                ) from None
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        file.flush()
        yield
