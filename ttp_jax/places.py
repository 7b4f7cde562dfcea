"""Where files are: in a folder of this machine, or in an object store (`gs://...`, `s3://...`).

Contract: a place in a store is an `etils.epath.Path`, which has a `pathlib.Path`'s methods and
reaches the store through fsspec (gcsfs, s3fs). An object is whole or not there, as a store gives
no part of one; it cannot be appended to, nor locked. What a store refuses is tried again, since
stores fail now and then.
"""

import os
import pathlib
import time
from typing import Any

from etils import epath

STORES = ('gs://', 's3://')
ATTEMPTS, FIRST_WAIT = 6, 0.5  # seconds, which double: 15 in all


def place(name: str | os.PathLike) -> pathlib.Path:
    """The place of this name; that of a store is no `pathlib.Path`, but has its methods."""
    text = os.fspath(name)
    if text.startswith(STORES):
        _list_anew()
    found: Any = epath.Path(text) if text.startswith(STORES) else pathlib.Path(text)
    return found


def _list_anew() -> None:
    """Has fsspec ask the store whenever something is listed: other hosts write to it as well."""
    from fsspec.config import conf

    for kind in STORES:
        conf.setdefault(kind.removesuffix('://'), {})['use_listings_cache'] = False


def in_store(path: pathlib.Path) -> bool:
    """Whether a place is in an object store."""
    return not isinstance(path, pathlib.Path)


def put(path: pathlib.Path, data: bytes) -> None:
    """Writes an object of a store.

    Raises ValueError, in one line, where it still fails after several attempts.
    """
    for attempt in range(ATTEMPTS):
        try:
            path.write_bytes(data)
            return
        except Exception as error:  # fsspec passes on what each store's own library raises
            last = error
            if attempt + 1 < ATTEMPTS:
                time.sleep(FIRST_WAIT * 2**attempt)
    raise ValueError(
        f'{path}: could not be written in {ATTEMPTS} attempts ({_line(last)}); all that was '
        'finished is kept, and the same command goes on from there'
    ) from last


def _line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
