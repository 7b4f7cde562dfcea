"""Being asked to stop: SIGTERM, as machines that are lent for a while send it before they go.

Contract: inside `heeded` the signal only sets a flag, which whoever works looks at between two
steps, saves what there is, and raises `Stopped`. Outside it ends the program at once, as ever:
there is nothing to save that is not saved.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Stopped(Exception):
    """The program was asked to stop, and has saved its work; the text says how far it was."""


class Flag:
    """asked: whether SIGTERM has come."""

    def __init__(self):
        self.asked = False

    def set(self, *_) -> None:
        """Is told of the signal."""
        self.asked = True


@contextlib.contextmanager
def heeded() -> Iterator[Flag]:
    """A flag that SIGTERM sets. Only the main thread hears signals; in another it stays unset."""
    flag = Flag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    former = signal.signal(signal.SIGTERM, flag.set)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGTERM, former)
