"""Checkpoints in an object store: Orbax's folder of a step as one object, `<step>.tar`.

Contract: an object is whole or not there, which a folder of objects is not. Orbax itself writes to
gs:// but not to s3:// (0.12: it takes such a path for a relative one), so both go this way.
"""

import pathlib
import tarfile
import tempfile
from typing import Any

from ttp_jax.files import whole_file


def steps(folder: pathlib.Path) -> list[int]:
    """The steps that are stored in a folder, in order."""
    found = [path.name.removesuffix('.tar') for path in folder.glob('*.tar')]
    return sorted(int(name) for name in found if name.isdigit())


def upload(step: pathlib.Path, folder: pathlib.Path, *, keep: int) -> None:
    """Stores a step's local folder, and forgets all but the newest `keep` steps."""
    with whole_file.replacing(folder / f'{step.name}.tar') as temporary:
        with tarfile.open(temporary, 'w') as file:
            file.add(step, arcname=step.name)
    for old in steps(folder)[:-keep]:
        (folder / f'{old}.tar').unlink(missing_ok=True)


# Before Python 3.11.4 there are no filters, and the default trusts what checkpoints of ours hold.
_ONLY_DATA: Any = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}


def download(folder: pathlib.Path, step: int, target: pathlib.Path) -> pathlib.Path:
    """Puts a stored step's folder into a local one, and returns it."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = pathlib.Path(temporary) / 'step.tar'
        copy.write_bytes((folder / f'{step}.tar').read_bytes())
        with tarfile.open(copy) as file:
            file.extractall(target, **_ONLY_DATA)
    return target / str(step)
