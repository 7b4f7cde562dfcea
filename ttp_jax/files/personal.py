"""Personal weights as small files: what a person's copy of the network differs in from the base.

Contract. A file holds, for each trained leaf that was chosen, the difference to the network that
the person started from, in few bits: codes, and one scale by which they are multiplied.
  bfloat16  16 bits: right to 2 ** -8 of each value
  int8      8 bits: right to 1/254 of the leaf's largest difference
With a rank, a leaf of more than one axis is two narrow matrices, `[inputs, rank]` and `[rank,
outputs]`, wherever that is smaller. `base` is the digest of the network that was started from: the
difference means nothing on another. `mark` says what made the file, as in `predictions`. A file is
whole or not there.
"""

import pathlib
from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np

from ttp_jax.files import predictions
from ttp_jax.personalize import partition

KINDS = ('bfloat16', 'int8')

Packed = dict[str, np.ndarray]  # 'codes' and 'scale'


def save(
    path: pathlib.Path,
    trained: partition.Flat,
    base: partition.Flat,
    *,
    kind: str,
    digest: str,
    mark: str = '',
    layers: Sequence[str] = ('.*',),
    rank: int = 0,
) -> None:
    """Writes what `trained` differs in from `base`, leaf by leaf; their other leaves are not there.

    Args:
      trained, base: a person's leaves, and the same leaves of the network they started from.
      kind: one of `KINDS`.
      digest: of that network, as `digest.of_tree` gives it.
      mark: of what made the file.
      layers: which leaves are kept, as `partition.claimed` takes them; of the others the difference
        is lost.
      rank: of the matrices that stand for a leaf; 0: every leaf as it is.

    Raises:
      ValueError: for an unknown kind, a difference that is not finite, or layers that there are
        none of.
    """
    if kind not in KINDS:
        raise ValueError(f'{path}: kind is {kind!r}, expected one of {", ".join(KINDS)}')
    chosen: set[str] = set().union(*(partition.claimed(layer, trained) for layer in layers))
    arrays = {'base': np.asarray(digest)}
    for name in sorted(chosen):
        change = np.asarray(trained[name], np.float32) - np.asarray(base[name], np.float32)
        if not np.isfinite(change).all():
            raise ValueError(f'{path}: {name} is not finite, expected finite weights to save')
        for part, packed in _packed(change, kind, rank).items():
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


def pack(values: np.ndarray, kind: str) -> Packed:
    """Values in few bits; any shape."""
    if kind == 'bfloat16':  # as whole numbers: the file's format has no such type
        codes = np.asarray(values, ml_dtypes.bfloat16).view(np.uint16)
        return {'codes': codes, 'scale': np.ones((), np.float32)}
    scale = np.asarray(np.abs(values).max(initial=0) / 127, np.float32)
    codes = np.rint(values / (scale or 1)).astype(np.int8)
    return {'codes': codes, 'scale': scale}


def unpack(packed: Packed) -> np.ndarray:
    """What `pack` was given, about; float32."""
    codes = packed['codes']
    if codes.dtype == np.uint16:
        codes = codes.view(ml_dtypes.bfloat16)
    return codes.astype(np.float32) * packed['scale']


def _packed(change: np.ndarray, kind: str, rank: int) -> dict[str, Packed]:
    """A leaf's difference as a whole, or as two narrow matrices where they are smaller."""
    matrix = change.reshape(-1, change.shape[-1]) if change.ndim > 1 else change[:, None]
    if not 0 < rank * sum(matrix.shape) < change.size:
        return {'whole': pack(change, kind)}
    left, weights, right = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(weights[:rank])  # on both sides, so that both have values of one size
    return {
        'left': pack(left[:, :rank] * root, kind),
        'right': pack(root[:, None] * right[:rank], kind),
    }


def _unpacked(parts: Mapping[str, Packed], shape: tuple[int, ...]) -> np.ndarray:
    if 'whole' in parts:
        return unpack(parts['whole'])
    return (unpack(parts['left']) @ unpack(parts['right'])).reshape(shape)


def _by_leaf(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Packed]]:
    """Arrays named 'leaf:part:key' by leaf, part and key."""
    found: dict[str, dict[str, Packed]] = {}
    for name, value in arrays.items():
        leaf, part, key = name.rsplit(':', 2)
        found.setdefault(leaf, {}).setdefault(part, {})[key] = value
    return found
