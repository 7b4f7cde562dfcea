"""Who works for whom, where several hosts do: everyone's people, and whose of them are done.

Contract: the test people are shared out by frames into as many shares as there are hosts, by every
host for itself, and share i has the folder `hosts/<i>` in the workdir. Whoever works for a share
holds the lock of its folder (`lock`), so a file in it has one writer. Its own host comes first; a
share that is not done and whose lock is free, because its host died or never began, is taken up by
whichever host has done its own. `share.json` is written when a share is done and says by what.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ttp_jax.data.clips import Clip
from ttp_jax.files import digest, whole_file
from ttp_jax.personalize import placement

IN_PLACE = 'in place of'  # the note in a share's lock that says that another host holds it


class Done(NamedTuple):
    """What `share.json` holds.

    people: the digest of the share's ids. marks: of the run, by phase. refused: why somebody could
    not be worked for, by id. seconds, made: by phase, how long it took and how many frames were
    made in it. finished: when, seconds since 1970.
    """

    people: str
    marks: Mapping[str, str]
    refused: Mapping[str, str]
    seconds: Mapping[str, float]
    made: Mapping[str, int]
    placement: Mapping[str, Any]
    finished: float


def shared_out(people: Sequence[Clip], count: int) -> list[list[int]]:
    """The indices of everyone's people, `[count]`."""
    return placement.share_out([len(clip.frames) for clip in people], count)


def digest_of(people: Sequence[Clip]) -> str:
    """What tells one share's people from another's."""
    return digest.digest([clip.id for clip in people])


def folder(workdir: pathlib.Path, share: int) -> pathlib.Path:
    """Where a share's files are."""
    return workdir / 'hosts' / str(share)


def write(path: pathlib.Path, done: Done) -> None:
    """Writes a share's `share.json`; path: its folder."""
    with whole_file.replacing(path / 'share.json') as temporary:
        temporary.write_text(json.dumps(done._asdict(), indent=2) + '\n')


def read(path: pathlib.Path) -> Done | None:
    """What `write` wrote, or None. Raises ValueError for a file that holds something else."""
    file = path / 'share.json'
    if not file.is_file():
        return None
    try:
        return Done(**json.loads(file.read_text()))
    except (TypeError, ValueError) as error:
        raise ValueError(f'{file}: cannot be read ({error}); remove it') from None


def read_all(workdir: pathlib.Path) -> list[Done]:
    """Every share that was ever done in a workdir, the last one first."""
    found = [read(path.parent) for path in (workdir / 'hosts').glob('*/share.json')]
    return sorted((done for done in found if done), key=lambda done: -done.finished)
