"""PyTorch's state-dict files, read and written without PyTorch.

Contract: a file is a flat dict from tensor name to array, in PyTorch's layout. Nothing that a file
contains is executed: a pickle may name the handful of things that a state dict is made of, each of
which is answered by an inert record here, and any other name is refused. Every error is a
ValueError of one line that opens with the file's path.

Read: `.pth` as zip archive (PyTorch 1.6 and later) and as the older stream of pickles (which
torchvision's VGG-16 still is), and safetensors. Written: the zip archive, as
`torch.load(weights_only=True)` reads it.
"""

import collections
import io
import os
import pathlib
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np
import safetensors.numpy

Tensors = dict[str, np.ndarray]

DTYPES = {
    'DoubleStorage': np.dtype('<f8'),
    'FloatStorage': np.dtype('<f4'),
    'HalfStorage': np.dtype('<f2'),
    'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
    'LongStorage': np.dtype('<i8'),
    'IntStorage': np.dtype('<i4'),
    'ShortStorage': np.dtype('<i2'),
    'CharStorage': np.dtype('i1'),
    'ByteStorage': np.dtype('u1'),
    'BoolStorage': np.dtype('?'),
}
# How the older format begins: the pickled number 0x1950a86a20f9469cfc6c.
LEGACY_START = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'


class _Storage(NamedTuple):
    """A run of `size` numbers that the file holds under `key`."""

    dtype: np.dtype
    key: str
    size: int


class _Tensor(NamedTuple):
    """A strided view of a storage, in elements; its numbers are read only when they are wanted."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Foreign(ValueError):
    """The file is whole, but is not a state dict."""


# --- reading ---------------------------------------------------------------------------------


def read(path: str | os.PathLike) -> Tensors:
    """The tensors of a state dict; of a training checkpoint, those of its `state_dict`.

    The `module.` that data parallelism puts before every name is taken off.

    Raises:
      ValueError: for a file that is missing, truncated or damaged, or something else than a state
        dict.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f'{path}: no such file')
    try:
        tensors = _reader(path)(path)
    except _Foreign as error:
        raise ValueError(f'{path}: a foreign file, not a state dict: {error}') from None
    except Exception as error:  # damaged pickles and archives raise anything at all
        raise ValueError(f'{path}: truncated or damaged ({_first_line(error)})') from None
    if all(name.startswith('module.') for name in tensors):
        tensors = {name.removeprefix('module.'): value for name, value in tensors.items()}
    return tensors


def _reader(path: pathlib.Path) -> Callable[[pathlib.Path], Tensors]:
    """The format, told by the first bytes and not by the name."""
    with path.open('rb') as file:
        start = file.read(len(LEGACY_START))
    if start.startswith(b'PK'):
        return _read_zip
    if start == LEGACY_START:
        return _read_legacy
    if start[8:9] == b'{':
        return safetensors.numpy.load_file
    if LEGACY_START.startswith(start):
        raise ValueError(f'it ends after {len(start)} bytes')
    raise _Foreign("neither PyTorch's .pth nor safetensors")


def _read_zip(path: pathlib.Path) -> Tensors:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = next((n.removesuffix('data.pkl') for n in names if n.endswith('/data.pkl')), None)
        if root is None:
            raise _Foreign('a zip archive without data.pkl')
        if f'{root}byteorder' in names and archive.read(f'{root}byteorder') != b'little':
            raise _Foreign('numbers in big-endian order')
        tree = _Unpickler(io.BytesIO(archive.read(f'{root}data.pkl'))).load()
        return {
            name: _array(tensor, archive.read(f'{root}data/{tensor.storage.key}'))
            for name, tensor in _state_dict(tree).items()
        }


def _read_legacy(path: pathlib.Path) -> Tensors:
    """Pickles of a magic number, a version, the machine, the tree and keys; then the storages."""
    with path.open('rb') as file:
        for _ in range(3):
            _Unpickler(file).load()
        unpickler = _Unpickler(file)
        tree = unpickler.load()
        keys = _Unpickler(file).load()
        data = {key: _read_storage(file, unpickler.storages[key]) for key in keys}
    return {
        name: _array(tensor, data[tensor.storage.key]) for name, tensor in _state_dict(tree).items()
    }


def _read_storage(file: BinaryIO, storage: _Storage) -> bytes:
    size = int.from_bytes(file.read(8), 'little')
    if size != storage.size:
        raise ValueError(f'storage {storage.key} has {size} numbers, expected {storage.size}')
    return file.read(size * storage.dtype.itemsize)


def _state_dict(tree: Any) -> dict[str, _Tensor]:
    """The named tensors of an unpickled tree."""
    if isinstance(tree, Mapping) and isinstance(tree.get('state_dict'), Mapping):
        tree = tree['state_dict']
    if not isinstance(tree, Mapping) or not tree:
        raise _Foreign('it holds no named tensors')
    for name, value in tree.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise _Foreign(f'{name!r} is not a tensor')
    return dict(tree)


def _array(tensor: _Tensor, data: bytes) -> np.ndarray:
    """Cuts a tensor out of its storage; one that reaches outside of it is damage."""
    storage, offset, shape, strides = tensor
    values = np.frombuffer(data, storage.dtype)
    if len(values) < storage.size:
        raise ValueError(f'storage {storage.key} has {len(values)} of {storage.size} numbers')
    reach = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or (0 not in shape and offset + reach >= len(values)):
        raise ValueError(f'a tensor of shape {shape} reaches outside of storage {storage.key}')
    steps = [step * storage.dtype.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(values[offset:], shape, steps).copy()


class _Unpickler(pickle.Unpickler):
    """Knows the names in `GLOBALS`, imports nothing, and calls nothing but their stand-ins."""

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding='utf-8')
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == 'torch' and name in DTYPES:
            return DTYPES[name]
        if (module, name) not in GLOBALS:
            raise _Foreign(f'it asks for {module}.{name}, which is refused')
        return GLOBALS[module, name]

    def persistent_load(self, identity: tuple) -> _Storage:
        """('storage', type, key, device, size), and in the older format None for: not a view."""
        kind, dtype, key, _, size, *view = identity
        if kind != 'storage' or any(view):
            raise _Foreign(f'a {"view of a " if any(view) else ""}{kind}')
        self.storages[key] = _Storage(dtype, key, size)
        return self.storages[key]


def _rebuild_tensor(storage, offset, shape, strides, *_) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _ignore(*_) -> None:
    """For what training checkpoints hold beside tensors: numpy's scalars."""


GLOBALS = {
    ('collections', 'OrderedDict'): collections.OrderedDict,
    ('torch._utils', '_rebuild_tensor'): _rebuild_tensor,
    ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
    ('torch._utils', '_rebuild_parameter'): lambda tensor, *_: tensor,
    ('torch', 'Size'): tuple,
    ('_codecs', 'encode'): _ignore,
    **{(f'numpy.{core}.multiarray', 'scalar'): _ignore for core in ('core', '_core')},
}


class _Dtype:
    """numpy's dtype, of which a scalar's pickle sets the state."""

    def __init__(self, *_):
        pass

    def __setstate__(self, state):
        pass


GLOBALS['numpy', 'dtype'] = _Dtype


# --- writing ---------------------------------------------------------------------------------

STORAGES = {np.dtype('float32'): 'FloatStorage', np.dtype('int64'): 'LongStorage'}


def write(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes float32 and int64 arrays as `torch.save` writes an ordered dict of CPU tensors."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        archive.writestr('archive/data.pkl', _pickled(tensors))
        archive.writestr('archive/byteorder', 'little')
        for key, value in enumerate(tensors.values()):
            little = value.astype(value.dtype.newbyteorder('<'))
            archive.writestr(f'archive/data/{key}', little.tobytes())
        archive.writestr('archive/version', '3\n')


def _pickled(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The pickle, put together from opcodes: pickling PyTorch's names would need PyTorch there."""
    ordered = _global('collections', 'OrderedDict') + pickle.EMPTY_TUPLE + pickle.REDUCE
    items = []
    for key, (name, value) in enumerate(tensors.items()):
        strides = tuple(int(np.prod(value.shape[i + 1 :])) for i in range(value.ndim))
        storage = _tuple(
            _plain('storage'),
            _global('torch', STORAGES[value.dtype]),
            _plain(str(key)),
            _plain('cpu'),
            _plain(value.size),
        )
        arguments = _tuple(
            storage + pickle.BINPERSID,
            _plain(0),
            _plain(value.shape),
            _plain(strides),
            _plain(False),
            ordered,
        )
        rebuild = _global('torch._utils', '_rebuild_tensor_v2')
        items.append(_plain(name) + rebuild + arguments + pickle.REDUCE)
    return b''.join(
        [pickle.PROTO, b'\x02', ordered, pickle.MARK, *items, pickle.SETITEMS, pickle.STOP]
    )


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f'{module}\n{name}\n'.encode()


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b''.join(items) + pickle.TUPLE


def _plain(value: Any) -> bytes:
    """The opcodes of a plain value: its pickle without the header and the stop."""
    return pickle.dumps(value, 2)[2:-1]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
