"""A program that is to leave a file behind: run as a process, and believed only if it did.

Contract: queues decide what to run and what comes next; this knows neither. A program that ends
well without its file has failed as much as one that ends with an error. Who is told to stop, by
Ctrl-C or SIGTERM, tells the program and waits for it: it saves what it has, and nobody finds it
still at work in its folder.
"""

import contextlib
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence


class ProgramFailedError(Exception):
    """A program did not do what it was run for; the message says why in one line."""


def run(command: Sequence[str], *, makes: pathlib.Path, log: pathlib.Path | None = None) -> None:
    """Runs a program to its end.

    Args:
      command: what is executed.
      makes: the file or folder that has to be there afterwards.
      log: where its output goes; without, to this program's own.

    Raises:
      ProgramFailedError: it could not be started, its exit code is not 0 or what it makes is
        missing; with the log's last line.
      KeyboardInterrupt, SystemExit: told to stop, once the program has ended.
    """
    try:
        code = _exit_code(command, log)
    except OSError as error:
        raise ProgramFailedError(f'{command[0]}: {error.strerror}') from error
    if code:
        raise ProgramFailedError(f'{log or command[0]} ends with exit code {code}{_last_line(log)}')
    if not makes.exists():
        raise ProgramFailedError(
            f'{log or command[0]} ends well, but {makes} is missing{_last_line(log)}'
        )


def _exit_code(command: Sequence[str], log: pathlib.Path | None) -> int:
    with contextlib.ExitStack() as stack:
        file = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(log, 'w'))
        stack.enter_context(_sigterm_raises())
        errors = file and subprocess.STDOUT
        process = stack.enter_context(subprocess.Popen(command, stdout=file, stderr=errors))
        try:
            return process.wait()
        except (KeyboardInterrupt, SystemExit):
            process.terminate()
            process.wait()
            raise


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """SIGTERM, which would end this program at once, is a SystemExit within."""
    former = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _last_line(log: pathlib.Path | None) -> str:
    if log is None:
        return ''
    lines = log.read_text(errors='replace').strip().splitlines() or ['no output']
    return f': {lines[-1]}'
