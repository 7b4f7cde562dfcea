"""Everyone's predictions as files: there as soon as they are made, and never made twice.

Contract. A phase's folder holds `<clip id>.npz` for each person: `joints [T, J, 2]`, image pixels
(x, y); `scores [T, J]`, the heatmaps' maxima; `losses [T, epochs]` while adapting; `names [J]` of
the joints. A file is whole or not there, so that a run that was stopped goes on with the next
person.
"""

import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np

from ttp_jax.data.clips import Clip
from ttp_jax.files import whole_file
from ttp_jax.personalize.many_people import Adapted


def save(folder: pathlib.Path, clip: Clip, adapted: Adapted, *, names: Sequence[str]) -> None:
    """Writes one person's file; names: of the joints."""
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file.replacing(_path(folder, clip)) as path, open(path, 'wb') as file:
        np.savez(
            file,
            joints=adapted.joints,
            scores=adapted.scores,
            losses=adapted.losses,
            names=np.array(names),
        )


def load(folder: pathlib.Path, people: Sequence[Clip]) -> dict[int, Adapted]:
    """{index: predictions} of those of the people who have a file, without adapted weights.

    Raises ValueError, naming the file, for one that is not of the person's clip.
    """
    return {
        i: _read(_path(folder, clip), clip)
        for i, clip in enumerate(people)
        if _path(folder, clip).is_file()
    }


def _path(folder: pathlib.Path, clip: Clip) -> pathlib.Path:
    return folder / f'{clip.id}.npz'


def _read(path: pathlib.Path, clip: Clip) -> Adapted:
    try:
        with np.load(path) as file:
            found = Adapted(file['joints'], file['scores'], file['losses'])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path}: not a file of predictions ({error}); remove it') from error
    if found.joints.shape != clip.labels.joints.shape:
        raise ValueError(
            f'{path}: joints have shape {found.joints.shape}, expected '
            f'{clip.labels.joints.shape} of clip {clip.id}; remove it'
        )
    return found
