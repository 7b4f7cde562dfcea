"""MATLAB files, with errors that name the file and the field."""

import io
import pathlib
import struct
import zlib

import numpy as np
import scipy.io

_HEADER = 128  # bytes before the first element of a MATLAB 5 file
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13, _MATRIX, _COMPRESSED, 16, 17, 18}
_DEEPEST = 32  # matrices within matrices
_INT32, _UINT32, _COMPLEX = 5, 6, 0x800
_NESTED = 0  # parts that are matrices themselves, as many as there are
# How many parts a matrix of each class has: flags, sizes, name, values; a sparse one two more.
_PARTS = {1: _NESTED, 2: _NESTED, 3: _NESTED, 4: 4, 5: 6} | dict.fromkeys(range(6, 16), 4)


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The variables of a `.mat` file.

    Raises:
      ValueError: when it is missing or cannot be read.
    """
    try:
        data = path.read_bytes()
        if data[126:128] in (b'IM', b'MI'):
            _check_elements(data[_HEADER:], '<' if data[126:128] == b'IM' else '>')
        return scipy.io.loadmat(io.BytesIO(data))
    except FileNotFoundError:
        raise ValueError(f'{path}: no such label file') from None
    except Exception as error:  # broken bytes surface as TypeError, zlib.error, struct.error …
        raise ValueError(
            f'{path}: not a readable .mat file ({" ".join(str(error).split())})'
        ) from error


def _check_elements(data: bytes, order: str, depth: int = 0) -> None:
    """Raises ValueError unless elements of known types fill the bytes; order: as of `struct`.

    SciPy believes what a file says of itself: one that is garbled ends the whole process.
    """
    at = 0
    while at < len(data):
        kind, size, start, at = _element(data, at, order)
        if kind not in _TYPES or start + size > len(data) or depth > _DEEPEST:
            raise ValueError(f'element of type {kind} and {size} bytes, of {len(data)}')
        inside = data[start : start + size]
        if kind == _COMPRESSED:
            whole = zlib.decompressobj().decompress(inside)  # two of Penn Action's lack the sum
            _check_elements(whole, order, depth + 1)
        elif kind == _MATRIX and inside:
            _check_matrix(inside, order, depth + 1)


def _check_matrix(data: bytes, order: str, depth: int) -> None:
    """Raises ValueError unless a matrix has the parts that its flags promise."""
    kind, size, start, at = _element(data, 0, order)
    sizes_kind, sizes, *_ = _element(data, at, order)
    flags = struct.unpack_from(f'{order}I', data, start)[0]
    parts, is_complex = _PARTS.get(flags & 0xFF), bool(flags & _COMPLEX)
    _check_elements(data, order, depth)
    if kind != _UINT32 or size != 8 or parts is None or (is_complex and parts == _NESTED):
        raise ValueError(f'matrix with flags {flags:#x}')
    if sizes_kind != _INT32 or sizes % 4 or not 8 <= sizes <= 4 * _DEEPEST:
        raise ValueError(f'matrix whose sizes take {sizes} bytes')
    if parts != _NESTED and _count(data, order) != parts + is_complex:
        raise ValueError(f'matrix of {_count(data, order)} parts, expected {parts + is_complex}')


def _count(data: bytes, order: str) -> int:
    at = count = 0
    while at < len(data):
        *_, at = _element(data, at, order)
        count += 1
    return count


def _element(data: bytes, at: int, order: str) -> tuple[int, int, int, int]:
    """(type, bytes, where they start, where the next element does) of the element at `at`."""
    first, size = struct.unpack_from(f'{order}II', data, at)
    if first >> 16:  # up to four bytes are in the tag itself
        return first & 0xFFFF, first >> 16, at + 4, at + 8
    padded = size if first == _COMPRESSED else -(-size // 8) * 8
    return first, size, at + 8, at + 8 + padded


def field(fields: dict[str, np.ndarray], name: str, path: pathlib.Path) -> np.ndarray:
    """The field `name`.

    Raises:
      ValueError: when there is none.
    """
    if name not in fields:
        raise ValueError(f'{path}: field {name} is missing')
    return fields[name]


def finite(values: np.ndarray, name: str, path: pathlib.Path) -> np.ndarray:
    """The values in float32.

    Raises:
      ValueError: when one is not a finite number.
    """
    try:
        with np.errstate(over='ignore'):
            values = values.astype(np.float32)
    except (TypeError, ValueError):
        raise ValueError(f'{path}: field {name} holds values that are no numbers') from None
    if not np.isfinite(values).all():
        raise ValueError(f'{path}: field {name} holds values that are not finite')
    return values
