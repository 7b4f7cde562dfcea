"""A whole model in one small file: what a network learned, and the config that it belongs to.

Contract: a safetensors file of the parameters, batch statistics and loss means of a checkpoint,
named as in its tree (`params/encoder/stem/kernel`), with the run's config as JSON in the header.
Kernels are float16, at half the size of a checkpoint without its optimiser; vectors, which are few
(norms, biases, statistics, loss means), stay float32. Loading gives float32 again, and nothing in
the file is executed. `ttp_jax.files.pack` makes one of a workdir.
"""

import json
import pathlib
import struct
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors
import safetensors.numpy

from ttp_jax.files import whole_file

FORMAT = 'ttp_jax model 1'
PARTS = ('params', 'batch_stats', 'loss_means')


def save(path: pathlib.Path, tree: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Writes the file. tree: with the keys `PARTS`, of nested dicts of arrays; config: of the run.

    Raises ValueError where an array holds a number that float16 has not.
    """
    arrays = {name: _packed(name, np.asarray(a)) for name, a in _flat(tree).items()}
    header = {'format': FORMAT, 'config': json.dumps(config)}
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file.replacing(path) as temporary:
        # Not `save_file`, which leaves a file that nobody else may read.
        temporary.write_bytes(safetensors.numpy.save(arrays, metadata=header))


def _packed(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim < 2:
        return np.ascontiguousarray(array, np.float32)
    with np.errstate(over='ignore'):
        half = np.ascontiguousarray(array, np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f'{name}: holds {np.abs(array).max():g}, expected numbers below 65504')
    return half


def is_packed(path: str | pathlib.Path) -> bool:
    """Whether `path` is such a file, rather than a checkpoint's folder."""
    path = pathlib.Path(path)
    if not path.is_file():
        return False
    with path.open('rb') as file:
        return file.read(9)[8:] == b'{'


def read_config(path: str | pathlib.Path) -> dict[str, Any]:
    """The config of the run that made the model. Raises ValueError for another kind of file."""
    try:
        with safetensors.safe_open(path, framework='numpy') as file:
            header = file.metadata() or {}
    except (OSError, safetensors.SafetensorError, struct.error) as error:
        raise ValueError(f'{path}: cannot be read as a packed model ({error})') from None
    if header.get('format') != FORMAT:
        found = header.get('format', 'another kind of safetensors file')
        raise ValueError(f'{path}: is {found!r}, expected {FORMAT!r}')
    return json.loads(header['config'])


def read(path: str | pathlib.Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The file's arrays as a tree shaped like `wanted`, in its arrays' types.

    Raises ValueError where an array that `wanted` names is missing or has another shape.
    """
    read_config(path)  # raises for another kind of file
    found, expected = safetensors.numpy.load_file(path), _flat(wanted)
    for name, like in expected.items():
        if name not in found:
            raise ValueError(
                f'checkpoint {path}: {name} is missing; it was made by a model of another shape'
            )
        if found[name].shape != tuple(like.shape):
            raise ValueError(
                f'checkpoint {path}: {name} has shape {found[name].shape}, this model expects '
                f'{tuple(like.shape)}'
            )
    return _like(found, wanted)


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by their names in a file, as a tree of nested dicts."""
    return flax.traverse_util.unflatten_dict(dict(arrays), sep='/')


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    return flax.traverse_util.flatten_dict(dict(tree), sep='/')


def _like(found: Mapping[str, np.ndarray], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays in the tree of `wanted`, with its empty nodes."""
    shape = flax.traverse_util.flatten_dict(dict(wanted), keep_empty_nodes=True)
    empty = flax.traverse_util.empty_node
    return flax.traverse_util.unflatten_dict(
        {k: v if v is empty else found['/'.join(k)].astype(v.dtype) for k, v in shape.items()}
    )
