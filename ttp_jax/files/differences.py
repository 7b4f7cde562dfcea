"""What one person's copy of a network has learned, as small differences to the shared one.

Contract: a safetensors file with, for each parameter that changed, the difference to the base in
half precision, named by its path ('encoder/stem/kernel'), and in its header a mark of the base: on
another base the differences would mean nothing.
"""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors
import safetensors.numpy

from ttp_jax.files import whole_file

FORMAT = 'ttp_jax person 1'


def save(path: pathlib.Path, params: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Writes `params - base`, trees of the same names and shapes; equal leaves are left out."""
    mine, theirs = _flat(params), _flat(base)
    changed = {
        name: (array - theirs[name]).astype(np.float16)
        for name, array in mine.items()
        if not np.array_equal(array, theirs[name])
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file.replacing(path) as temporary:
        header = {'format': FORMAT, 'base': mark(base)}
        safetensors.numpy.save_file(changed, temporary, metadata=header)


def load(path: pathlib.Path, base: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the differences of a file added.

    Raises ValueError, naming the file, where it is missing, of another kind, or of another base.
    """
    try:
        with safetensors.safe_open(path, framework='numpy') as file:
            header = file.metadata() or {}
            changed = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f'{path}: cannot be read as a person ({error})') from None
    if header.get('format') != FORMAT:
        raise ValueError(f'{path}: is {header.get("format")!r}, expected {FORMAT!r}')
    if header['base'] != mark(base):
        raise ValueError(f'{path}: was learned on top of another model, expected this one')
    flat = _flat(base)
    return flax.traverse_util.unflatten_dict(
        {name: array + changed.get(name, np.float32(0)) for name, array in flat.items()}, sep='/'
    )


def mark(params: Mapping[str, Any]) -> str:
    """The first 16 digits of a hash over names and numbers."""
    found = hashlib.sha256()
    for name, array in sorted(_flat(params).items()):
        found.update(name.encode())
        found.update(np.ascontiguousarray(array, np.float32).tobytes())
    return found.hexdigest()[:16]


def _flat(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    flat = flax.traverse_util.flatten_dict(dict(tree), sep='/')
    return {name: np.asarray(array, np.float32) for name, array in flat.items()}
