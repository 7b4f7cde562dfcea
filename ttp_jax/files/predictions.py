"""Everyone's predictions as files: there as soon as they are made, and never made twice.

Contract. A phase's folder holds `<clip id>.npz` for each person: `joints [T, J, 2]`, image pixels
(x, y); `scores [T, J]`, the heatmaps' maxima; both NaN of somebody who could not be predicted;
`losses [T, epochs]` while adapting; `names [J]` of the joints; `status`, `reason` and `gain` of
whose predictions they are; `failed_at`; `seconds`; and `mark`, which says what made them: weights,
settings, code and frames. A file is whole or not there, so that a run that was stopped goes on with
the next person; one with another mark is stale and is made again.
"""

import io
import pathlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ttp_jax import places
from ttp_jax.files import whole_file
from ttp_jax.personalize.many_people import Adapted

# As what a damaged archive of arrays surfaces.
BROKEN = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,  # it says that it is encrypted, or packed as nobody packs
)


def save(path: pathlib.Path, adapted: Adapted, *, names: Sequence[str], mark: str) -> None:
    """Writes one person's file; names: of the joints."""
    save_arrays(
        path,
        {
            'joints': adapted.joints,
            'scores': adapted.scores,
            'losses': adapted.losses,
            'failed_at': adapted.failed_at,
            'status': adapted.status,
            'reason': adapted.reason,
            'gain': adapted.gain,
            'seconds': adapted.seconds,
            'names': list(names),
        },
        mark=mark,
    )


def load(path: pathlib.Path, *, mark: str) -> Adapted | None:
    """One person's predictions, without adapted weights; None where there are none of this mark.

    Raises:
      ValueError: for a file that holds something else, naming it.
    """
    found = load_marked(path)
    return None if found is None or found[1] != mark else found[0]


def load_marked(path: pathlib.Path) -> tuple[Adapted, str] | None:
    """(one person's predictions, the mark of what made them); None where there are none.

    Raises:
      ValueError: for a file that holds something else, naming it.
    """
    if not path.is_file():
        return None
    found = read_arrays(path)
    try:
        adapted = Adapted(
            found['joints'],
            found['scores'],
            found['losses'],
            int(found['failed_at']),
            status=str(found['status']),
            reason=str(found['reason']),
            gain=float(found['gain']),
            seconds=float(found['seconds']),
        )
        return adapted, str(found['mark'])
    except KeyError as error:
        raise ValueError(f'{path}: not a file of predictions ({error}); remove it') from None


def mark_of(path: pathlib.Path) -> str | None:
    """The mark of a file of arrays; None where there is no file, or none that can be read."""
    try:
        with np.load(_readable(path)) as file:
            return str(file['mark'])
    except BROKEN:
        return None


def save_arrays(
    path: pathlib.Path, arrays: Mapping, *, mark: str, compressed: bool = False
) -> None:
    """Writes named arrays to a file, with what made them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write = np.savez_compressed if compressed else np.savez
    with whole_file.replacing(path) as temporary, open(temporary, 'wb') as file:
        named: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
        write(file, mark=np.asarray(mark), **named)


def load_arrays(path: pathlib.Path, *, mark: str) -> dict[str, np.ndarray] | None:
    """What `save_arrays` wrote; None where there is nothing, or something of another mark.

    Raises:
      ValueError: for a file that cannot be read, naming it.
    """
    if not path.is_file():
        return None
    found = read_arrays(path)
    return found if str(found.pop('mark', '')) == mark else None


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """What `save_arrays` wrote, whatever made it; its mark is one more array, `mark`.

    Raises:
      ValueError: for a file that is not there or cannot be read, naming it.
    """
    try:
        with np.load(_readable(path)) as file:
            return dict(file)
    except BROKEN as error:
        raise ValueError(f'{path}: cannot be read ({error}); remove it') from error


def _readable(path: pathlib.Path) -> Any:
    """What `np.load` takes: a file's path, or all of an object of a store."""
    return io.BytesIO(path.read_bytes()) if places.in_store(path) else path
