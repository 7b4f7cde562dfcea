"""One job for one folder: a second one that was started by mistake is refused.

Contract: a job holds the lock of its folder's file `.lock` as long as its process lives. The system
lets go of it when a process ends, however it ends, so no lock is ever stale. The file says who
holds it. Several jobs may share a folder if all of them say so.

An object store has no locks, and some file systems have none. There a job claims its folder in
`.claim`, and says so again every `AGAIN` seconds; a claim that is older than `STALE` counts no
more. That is weaker: clocks of hosts have to agree to within a minute, a job that was killed keeps
others out for so long, those that share a folder are not seen, and two that begin within the same
second may both go on. They then do some work twice and spoil nothing: files are whole, and both
write the same.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator

from ttp_jax import places

_TAKEN = (errno.EACCES, errno.EAGAIN)
AGAIN, STALE, SETTLED = 20.0, 90.0, 1.0  # seconds


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
    holder = f'process {os.getpid()} on {socket.gethostname()}{note}'
    if places.in_store(folder):
        with _claimed(folder, holder, shared=shared):
            yield
        return
    with open(folder / '.lock', 'a+', encoding='utf-8') as file:
        if _locks(file, folder, shared=shared):
            file.truncate(0)
            file.write('hosts, such as ' * shared + holder + '\n')
            file.flush()
            yield
        else:
            with _claimed(folder, holder, shared=shared):
                yield


def _locks(file, folder: pathlib.Path, *, shared: bool) -> bool:
    """Takes the system's lock of a file; False where there is no such thing."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _TAKEN:
            return False
        file.seek(0)
        raise Taken(folder, file.read().strip() or 'unnamed') from None
    return True


@contextlib.contextmanager
def _claimed(folder: pathlib.Path, holder: str, *, shared: bool) -> Iterator[None]:
    """Holds a folder by a claim that is renewed; shared: only looks whether somebody has it."""
    path, token, over = folder / '.claim', uuid.uuid4().hex, threading.Event()
    if (other := _claim(path)) and time.time() - other['time'] < STALE:
        raise Taken(folder, other['holder'])
    if shared:
        yield
        return

    def claim() -> None:
        text = json.dumps({'token': token, 'holder': holder, 'time': time.time()})
        places.put(path, text.encode())

    def again() -> None:
        while not over.wait(AGAIN):
            with contextlib.suppress(ValueError):  # the next time may do
                claim()

    claim()
    time.sleep(SETTLED)
    if (other := _claim(path)) and other['token'] != token:
        raise Taken(folder, other['holder'])
    renewing = threading.Thread(target=again, daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        path.unlink(missing_ok=True)


def _claim(path: pathlib.Path) -> dict | None:
    try:
        return json.loads(path.read_text()) if path.is_file() else None
    except (OSError, ValueError):  # has just gone
        return None
