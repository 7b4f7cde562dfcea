"""One line of `results.jsonl` for each person and phase: what became of them.

Contract: a row is a dict of plain values, one line of JSON:
  id, phase         the clip, and 'online' or 'offline'
  status, reason    'personalized', 'kept' or 'failed' (`personalize.verdict`), and why
  frames            how many the person has
  mpck_before, mpck_after   percent, of the shared network and of what counts now; null without
                            labels or predictions
  loss_before, loss_after   means over the first and the last tenth of the person's steps; null
                            where there were none
  gain, gain_error  points of mPCK that personalization was estimated to bring, without labels, and
                    the deviation of true gains from such estimates; null where nobody estimated it
  host, seconds     who worked for the person, and an even share of the time of their chunk
  predictions       the file, relative to the workdir; null where there is none
"""

import functools
import json
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ttp_jax.data.clips import Clip
from ttp_jax.data.skeletons import Skeleton
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.personalize.verdict import FAILED
from ttp_jax.results import metrics

Row = dict[str, Any]


def row(
    clip: Clip,
    phase: str,
    before: Adapted,
    after: Adapted,
    *,
    skeleton: Skeleton,
    host: str,
    predictions: str | None,
    gain_error: float = math.nan,
) -> Row:
    """What one phase did to one person; before: their predictions with the shared weights."""
    score = functools.partial(_score, clip, skeleton=skeleton)
    first, last = _ends(after.losses)
    return {
        'id': clip.id,
        'phase': phase,
        'status': after.status,
        'reason': after.reason,
        'frames': len(clip.frames),
        'mpck_before': _known(score(before)),
        'mpck_after': _known(score(after)),
        'loss_before': _known(first),
        'loss_after': _known(last),
        'gain': _known(after.gain),
        'gain_error': _known(gain_error if math.isfinite(after.gain) else math.nan),
        'host': host,
        'seconds': _known(after.seconds),
        'predictions': predictions,
    }


def refused(name: str, phase: str, reason: str, *, frames: int, host: str) -> Row:
    """The row of somebody whose clip could not be used at all."""
    keys = ('mpck_before', 'mpck_after', 'loss_before', 'loss_after', 'gain', 'gain_error')
    start = {'id': name, 'phase': phase, 'status': FAILED, 'reason': reason, 'frames': frames}
    return start | dict.fromkeys(keys) | {'host': host, 'seconds': None, 'predictions': None}


def _score(clip: Clip, result: Adapted, *, skeleton: Skeleton) -> float:
    if clip.labels is None or not result.predicted:
        return math.nan
    return metrics.pck(result.joints, *clip.labels, skeleton=skeleton)['mPCK']


def _ends(losses: np.ndarray) -> tuple[float, float]:
    """Mean losses of the first and of the last tenth of the steps."""
    steps = np.ravel(losses)
    if not steps.size:
        return math.nan, math.nan
    tenth = max(1, steps.size // 10)
    return float(steps[:tenth].mean()), float(steps[-tenth:].mean())


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def joined(*hosts: Iterable[Row]) -> list[Row]:
    """The rows of several hosts as one list, by id and phase, one for each person and phase.

    Where two hosts have worked for one person, as when one of them died, a result counts more than
    a failure. The order of hosts does not matter.
    """

    def rank(row: Row) -> tuple:
        return row['status'] == FAILED, row['host'], json.dumps(row, sort_keys=True)

    best: dict[tuple[str, str], Row] = {}
    for row in (row for rows in hosts for row in rows):
        key = row['id'], row['phase']
        best[key] = min(best.get(key, row), row, key=rank)
    return [best[key] for key in sorted(best)]


def as_known(rows: Iterable[Row], known: Mapping[str, Row]) -> list[Row]:
    """The rows, each with the host that a known row of the same result names; known: by id."""

    def one(row: Row) -> Row:
        old = known.get(row['id'], row)
        return old if old | {'host': row['host']} == row else row

    return [one(row) for row in rows]


def text(rows: Iterable[Row]) -> str:
    """Rows as lines of JSON."""
    return ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)


def read(path: pathlib.Path) -> list[Row]:
    """The rows of a file, none where there is no file; a last line that was cut off is left out.

    Raises:
      ValueError: for another line that is no row, naming it.
    """
    if not path.is_file():
        return []
    *whole, _ = path.read_bytes().decode('utf-8', 'replace').split('\n')
    return [_parsed(line, f'{path}: line {number}') for number, line in enumerate(whole, start=1)]


def _parsed(line: str, name: str) -> Row:
    try:
        row = json.loads(line)
        _ = row['id'], row['phase'], row['status'], row['host']
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{name} is no person's result ({error!r}); remove it") from None
    return row
