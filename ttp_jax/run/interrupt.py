"""Being asked to stop: SIGTERM, as machines that are lent for a while send it before they go.

Contract: inside `heeded` the signal only sets a flag, which whoever works looks at between two
steps, saves what there is, and raises `Stopped`. Outside it ends the program at once, as ever:
there is nothing to save that is not saved. Ctrl-C is the same, but for a second one, which ends the
program at once anywhere.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Stopped(Exception):
    """The program was asked to stop, and has saved its work; the text says how far it was."""


class Flag:
    """asked: whether a signal has come; name: which."""

    def __init__(self):
        self.asked, self.name = False, ''

    def set(self, number: int, *_) -> None:
        """Is told of the signal. Raises KeyboardInterrupt for a second Ctrl-C."""
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked, self.name = True, 'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'


@contextlib.contextmanager
def heeded() -> Iterator[Flag]:
    """A flag that SIGTERM and Ctrl-C set.

    Only the main thread hears signals; in another one it stays unset.
    """
    flag = Flag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    former = [signal.signal(number, flag.set) for number in numbers]
    try:
        yield flag
    finally:
        for number, handler in zip(numbers, former):
            signal.signal(number, handler)
