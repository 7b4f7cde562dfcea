"""Spoiled folders, labels, frames, videos, boxes, configs and results, and what comes of each.

    python -m experiments.fuzz --count=1000 [--first=0] [--only=boxes]

Case N is the same whenever it is run (`--first=N --count=1`). Everything of a job is real but its
networks (`stand_ins`). Each case has to end in a result, in which everybody else has theirs, or in
an error of one line that names the file, the key or the person. All others are printed, and make
the exit status 1.
"""

import argparse
import collections
import contextlib
import pathlib
import random
import re
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from absl import logging

from experiments.fuzz.surfaces import SURFACES, Surface, make_templates

SECONDS = 30  # for one case; more would be a job that hangs


class Outcome(NamedTuple):
    """kind: 'result', 'error' or 'fault'; told: what came of it; trace: of a fault."""

    kind: str
    told: str
    trace: str = ''


def outcome(surface: Surface, where: pathlib.Path, healthy: pathlib.Path, case: int) -> Outcome:
    """What comes of one case."""
    try:
        with limited(SECONDS):
            return Outcome('result', surface(where, healthy, random.Random(case)))
    except ValueError as error:
        told = str(error)
        if type(error) is ValueError and '\n' not in told and is_named(told, where):
            return Outcome('error', told)
        return Outcome('fault', f'no error of one line: {told!r}', traceback.format_exc())
    except OSError as error:  # a place that cannot be written to: `main` prints the line
        kind = 'error' if is_named(str(error), where) else 'fault'
        return Outcome(kind, str(error), traceback.format_exc())
    except Exception as error:  # whatever it is, the other cases go on
        return Outcome('fault', f'{type(error).__name__}: {error}', traceback.format_exc())


def is_named(told: str, where: pathlib.Path) -> bool:
    """Whether an error says what it is about: a file or folder, a key, or a person."""
    return str(where) in told or bool(
        re.search(r'config\.[a-z]|clip |person |checkpoint |pattern ', told)
    )


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raises TimeoutError after so many seconds."""

    def stop(*_):
        raise TimeoutError(f'took more than {seconds} s')

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def study() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=1000)
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--only', choices=sorted(SURFACES))
    parser.add_argument('--show', action='store_true', help='print every case')
    arguments = parser.parse_args()
    logging.set_verbosity(logging.FATAL)
    warnings.simplefilter('ignore')
    names = [name for name, (_, weight) in SURFACES.items() for _ in range(weight)]
    found: dict[str, collections.Counter] = {name: collections.Counter() for name in SURFACES}
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        make_templates(root / 'healthy')
        for case in range(arguments.first, arguments.first + arguments.count):
            name = arguments.only or names[case % len(names)]
            with tempfile.TemporaryDirectory(dir=root) as where:
                result = outcome(SURFACES[name][0], pathlib.Path(where), root / 'healthy', case)
            found[name][result.kind] += 1
            if result.kind == 'fault' or arguments.show:
                print(f'case {case}, {name}: {result.kind}: {result.told}\n{result.trace}')
    print('spoiled | results | errors of one line | faults')
    for name, counts in found.items():
        print(f'{name} | {counts["result"]} | {counts["error"]} | {counts["fault"]}')
    return int(any(counts['fault'] for counts in found.values()))


if __name__ == '__main__':
    sys.exit(study())
