"""One progress bar per phase: its name, the loss, steps per second and the time left.

In a terminal the bar is redrawn in place; in a log it is a line every ten seconds.
"""

import contextlib
import sys
from collections.abc import Iterator

import tqdm


@contextlib.contextmanager
def bar(phase: str, *, total: int, unit: str = 'step', initial: int = 0) -> Iterator[tqdm.tqdm]:
    """A bar of `total` units; call `.update(n)` and `.set_postfix(loss=...)` on it."""
    quiet = not sys.stderr.isatty()
    with tqdm.tqdm(
        desc=f'{phase:<8}',
        total=total,
        initial=initial,
        unit=unit,
        file=sys.stderr,
        smoothing=0.05,
        mininterval=10.0 if quiet else 0.2,
        maxinterval=20.0,
        ascii=quiet,
        dynamic_ncols=not quiet,
        ncols=100 if quiet else None,
    ) as progress:
        yield progress
