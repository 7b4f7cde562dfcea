"""What made a stored prediction: weights, settings, code and frames, as one short string.

Contract: two marks are equal only if the same phase, run again, would give the same predictions, up
to how convolutions are rounded. So results of an earlier start are taken up, and stale ones are
not. A person's mark begins with the one of the run that made it, and ends with that of the clip.
"""

import functools
import json
import pathlib
from typing import Any

import numpy as np

import ttp_jax
from ttp_jax.data.clips import Clip
from ttp_jax.files.digest import digest

# Only these parts of the package have a say in predictions.
_CODE = ('networks', 'objectives', 'personalize', 'data', 'geometry.py', 'heatmaps.py')


@functools.cache
def of_code() -> str:
    """Of the source that predictions are made by."""
    root = pathlib.Path(ttp_jax.__file__).parent
    files = [
        file
        for name in _CODE
        for file in sorted((root / name).rglob('*.py') if (root / name).is_dir() else [root / name])
    ]
    return digest(file.read_text() for file in files)


def of_clip(clip: Clip) -> str:
    """Of a clip's id, boxes, length, and its first, middle and last frame."""
    count = len(clip.frames)
    shown = [_frame(clip, t) for t in (0, count // 2, count - 1)]
    return digest([clip.id, np.float32(clip.boxes), count, *shown])


def _frame(clip: Clip, index: int) -> np.ndarray | str:
    """A frame; or why it cannot be read: a person's results change when it is mended."""
    try:
        return np.asarray(clip.frames[index])
    except ValueError as error:
        return str(error)


def of_settings(settings: Any) -> str:
    """Of a part of the config."""
    return digest([json.dumps(settings, sort_keys=True, default=list)])


def of_person(of_run: str, of_clip: str) -> str:
    """Of one person's result."""
    return f'{of_run}-{of_clip}'


def run_of(mark: str) -> str:
    """The run's part of a person's mark."""
    return mark.partition('-')[0]


def together(*parts: str) -> str:
    """One mark of several."""
    return digest(parts)
