"""Personal weights as small files: what a person's copy of the network differs in from the base.

Contract. A file holds, for each trained leaf that was chosen, the difference to the network that
the person started from, in few bits. A leaf is a matrix `[inputs, outputs]` (of a kernel all axes
but the last are inputs; a leaf of one axis is one column): codes, and a scale for each column.
  bfloat16  16 bits: right to 2 ** -8 of each value
  int8      8 bits: right to 1/254 of the column's largest difference
  int4      4 bits: right to 1/14 of it; a leaf of at most `SMALL` numbers takes 8
With a rank, a matrix is two narrow ones, `[inputs, rank]` and `[outputs, rank]`, wherever that is
smaller. `base` is the digest of the network that was started from: the difference means nothing on
another. `mark` says what made the file, as in `predictions`. A file is whole or not there.

`USUAL` is the smallest form that loses nothing that can be told on drawn people
(experiments/README.md). It leaves out what only draws (`partition.IMAGE_NETWORKS`), on which no
keypoint depends: a person is predicted as well without, but not adapted further from there.
"""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import ml_dtypes
import numpy as np

from ttp_jax.files import predictions
from ttp_jax.personalize import partition

KINDS = ('bfloat16', 'int8', 'int4')
SMALL = 2048  # numbers; such a leaf is no burden, and a head may be one

Packed = dict[str, np.ndarray]  # 'codes' and 'scale' [columns]


class Form(NamedTuple):
    """How weights are saved.

    kind: one of `KINDS`. rank: of the matrices that stand for a leaf; 0: every leaf as it is.
    layers: which leaves are kept, as `partition.claimed` takes them; of the others the difference
    is lost.
    """

    kind: str = 'int4'
    rank: int = 32
    layers: Sequence[str] = ('all but images',)


USUAL = Form()


def save(
    path: pathlib.Path,
    trained: partition.Flat,
    base: partition.Flat,
    *,
    digest: str,
    mark: str = '',
    form: Form = USUAL,
) -> None:
    """Writes what `trained` differs in from `base`, leaf by leaf; their other leaves are not there.

    Args:
      trained, base: a person's leaves, and the same leaves of the network they started from.
      digest: of that network, as `digest.of_tree` gives it.
      mark: of what made the file.

    Raises:
      ValueError: for an unknown kind, a difference that is not finite, or layers that there are
        none of.
    """
    if form.kind not in KINDS:
        raise ValueError(f'{path}: kind is {form.kind!r}, expected one of {", ".join(KINDS)}')
    chosen: set[str] = set().union(*(partition.claimed(layer, trained) for layer in form.layers))
    arrays = {'base': np.asarray(digest)}
    for name in sorted(chosen):
        change = np.asarray(trained[name], np.float32) - np.asarray(base[name], np.float32)
        if not np.isfinite(change).all():
            raise ValueError(f'{path}: {name} is not finite, expected finite weights to save')
        for part, packed in _packed(change, form).items():
            arrays |= {f'{name}:{part}:{key}': value for key, value in packed.items()}
    predictions.save_arrays(path, arrays, mark=mark, compressed=True)


def load(path: pathlib.Path, base: partition.Flat, *, digest: str) -> partition.Flat:
    """The leaves of `base` as one person has them; those that the file lacks are the base's.

    Raises:
      ValueError: for a file that is missing, cannot be read or was made for another network, saying
        which; or for a leaf that is frozen here.
    """
    found = predictions.read_arrays(path)
    if (made_for := str(found.pop('base', ''))) != digest:
        raise ValueError(
            f'{path}: holds differences to the network {made_for or "of no name"}, expected those '
            f'to {digest}, this one; load the checkpoint that it was made from'
        )
    found.pop('mark', None)
    parts = _by_leaf(found)
    if unknown := parts.keys() - base.keys():
        raise ValueError(
            f'{path}: holds {sorted(unknown)[0]}, which is frozen here; set personalize.frozen as '
            'it was'
        )
    return dict(base) | {
        name: np.asarray(base[name]) + _unpacked(packed, np.shape(base[name]))
        for name, packed in parts.items()
    }


def pack(matrix: np.ndarray, kind: str) -> Packed:
    """Values `[rows, columns]` in few bits."""
    if kind == 'bfloat16':  # as whole numbers: the file's format has no such type
        codes = np.asarray(matrix, ml_dtypes.bfloat16).view(np.uint16)
        return {'codes': codes, 'scale': np.ones(matrix.shape[1], np.float32)}
    most = {'int8': 127, 'int4': 7}[kind]
    scale = np.asarray(np.abs(matrix).max(axis=0, initial=0) / most, np.float32)
    codes = np.rint(matrix / np.where(scale == 0, 1, scale)).astype(np.int8)
    return {'codes': _in_pairs(codes) if kind == 'int4' else codes, 'scale': scale}


def unpack(packed: Packed, rows: int) -> np.ndarray:
    """What `pack` was given, about; `[rows, columns]` float32."""
    codes, scale = packed['codes'], packed['scale']
    if codes.dtype == np.uint16:
        codes = codes.view(ml_dtypes.bfloat16)
    elif codes.dtype == np.uint8:
        codes = _apart(codes)[: rows * len(scale)]
    return codes.reshape(rows, len(scale)).astype(np.float32) * scale


def _in_pairs(codes: np.ndarray) -> np.ndarray:
    """Codes from -7 to 7, two in a byte, the first in the lower half."""
    halves = np.append(codes.reshape(-1), np.zeros(codes.size % 2, np.int8)).astype(np.uint8) & 15
    return halves[::2] | halves[1::2] << 4


def _apart(pairs: np.ndarray) -> np.ndarray:
    halves = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)
    return (halves.astype(np.int8) ^ 8) - 8  # the sign is the highest of four bits


def _packed(change: np.ndarray, form: Form) -> dict[str, Packed]:
    """A leaf's difference as a whole, or as two narrow matrices where they are smaller."""
    matrix = change.reshape(-1, change.shape[-1]) if change.ndim > 1 else change.reshape(-1, 1)
    kind = 'int8' if form.kind == 'int4' and change.size <= SMALL else form.kind
    if not 0 < form.rank * sum(matrix.shape) < change.size:
        return {'whole': pack(matrix, kind)}
    left, weights, right = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(weights[: form.rank])  # on both sides, so that both have values of one size
    return {
        'left': pack(left[:, : form.rank] * root, kind),
        'right': pack(right[: form.rank].T * root, kind),
    }


def _unpacked(parts: Mapping[str, Packed], shape: tuple[int, ...]) -> np.ndarray:
    inputs = math.prod(shape[:-1]) if len(shape) > 1 else math.prod(shape)
    if 'whole' in parts:
        return unpack(parts['whole'], inputs).reshape(shape)
    return (unpack(parts['left'], inputs) @ unpack(parts['right'], shape[-1]).T).reshape(shape)


def _by_leaf(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Packed]]:
    """Arrays named 'leaf:part:key' by leaf, part and key."""
    found: dict[str, dict[str, Packed]] = {}
    for name, value in arrays.items():
        leaf, part, key = name.rsplit(':', 2)
        found.setdefault(leaf, {}).setdefault(part, {})[key] = value
    return found
