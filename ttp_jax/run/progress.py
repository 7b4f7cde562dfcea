"""One progress bar per phase: its name, the loss, steps or frames per second and the time left.

In a terminal the bar is redrawn in place; in a log it is a line of its own every ten seconds,
without any control character.
"""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

import tqdm

Item = TypeVar('Item')


class Lines:
    """A stream that bars are written to as lines, where nothing can be redrawn."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> None:
        """The text as a line, if there is anything in it."""
        if text := text.replace('\r', '').strip():
            self.stream.write(text + '\n')

    def flush(self) -> None:
        """As of any stream."""
        self.stream.flush()


@contextlib.contextmanager
def bar(
    phase: str, *, total: int, unit: str = 'step', initial: int = 0, shown: bool = True
) -> Iterator[tqdm.tqdm]:
    """A bar of `total` units; call `.update(n)` and `.set_postfix(loss=...)` on it.

    total: 0 where nobody knows how many there will be.
    """
    quiet = not sys.stderr.isatty()
    with tqdm.tqdm(
        desc=f'{phase:<8}',
        total=total or None,
        initial=initial,
        disable=not shown,
        unit=unit,
        file=Lines(sys.stderr) if quiet else sys.stderr,
        smoothing=0.05,
        mininterval=10.0 if quiet else 0.2,
        maxinterval=20.0,
        ascii=quiet,
        dynamic_ncols=not quiet,
        ncols=100 if quiet else None,
    ) as progress:
        yield progress


def watched(frames: Iterable[Item], phase: str, total: int) -> Iterator[Item]:
    """The same frames, one after another, with a bar that counts them."""
    with bar(phase, total=total, unit='frame') as shown:
        for frame in frames:
            yield frame
            shown.update()
