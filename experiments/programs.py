"""A program that is to leave a file behind: run as a process, and believed only if it did.

Contract: queues decide what to run and what comes next; this knows neither. A program that ends
well without its file has failed as much as one that ends with an error.
"""

import pathlib
import subprocess
from collections.abc import Sequence


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
    if log is None:
        return subprocess.run(command).returncode
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'w') as file:
        return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode


def _last_line(log: pathlib.Path | None) -> str:
    if log is None:
        return ''
    lines = log.read_text(errors='replace').strip().splitlines() or ['no output']
    return f': {lines[-1]}'
