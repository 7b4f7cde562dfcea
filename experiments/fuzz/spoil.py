"""How files go bad: cut short, _foreign, garbled, absurd, _gone.

Contract: `spoil(path, rng)` changes one file on disk, and says in a word how. What is drawn follows
from `rng` alone.
"""

import pathlib
import random
import re
import shutil
from collections.abc import Callable

import scipy.io

ABSURD = (
    '0 -1 -0.0 1e308 -1e308 nan inf -inf 99999999999999999999 2147483648 1e-320 0x10 1_0 ½ ١ NULL'
    ' true "" , ; \x00'
).split(' ')
FOREIGN = {
    'a picture': b'\x89PNG\r\n\x1a\n' + bytes(64),
    'an archive': b'PK\x03\x04' + bytes(range(256)),
    'a program': b'\x7fELF' + bytes(200),
    'a page': b'<!DOCTYPE html><html><body>404 Not Found</body></html>',
    'HDF5': b'\x89HDF\r\n\x1a\n' + bytes(512),
    'numbers': b'1,2,3\n4,5,6\n',
    'a pickle': b'\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01K\x02e.',
    'an object': b'{}',
    'a list': b'[]',
    'UTF-16': 'frame,x1,y1,x2,y2\n0,1,2,3,4\n'.encode('utf-16'),
}


def spoil(path: pathlib.Path, rng: random.Random) -> str:
    """Spoils a file in one way or another; returns how."""
    ways: list[Callable[[pathlib.Path, random.Random], str]] = [
        _cut_short, _empty, _foreign, _flipped, _repeated, _gone, _a_folder, _a_dead_link
    ]  # fmt: skip
    if path.suffix == '.mat':
        ways += [_other_fields] * 8
    if path.suffix in ('.csv', '.txt', '.json', '.jsonl'):
        ways += [_absurd_number] * 8 + [_without_a_line] * 2
    return rng.choice(ways)(path, rng)


def _cut_short(path: pathlib.Path, rng: random.Random) -> str:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data) + 1)])
    return 'cut short'


def _empty(path: pathlib.Path, rng: random.Random) -> str:
    path.write_bytes(b'')
    return '_empty'


def _foreign(path: pathlib.Path, rng: random.Random) -> str:
    kind = rng.choice(sorted(FOREIGN))
    path.write_bytes(FOREIGN[kind])
    return kind


def _flipped(path: pathlib.Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 4, 32))):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(bytes(data))
    return 'garbled'


def _repeated(path: pathlib.Path, rng: random.Random) -> str:
    data = path.read_bytes()
    at = rng.randrange(len(data) + 1)
    path.write_bytes(data[:at] + data[rng.randrange(at + 1) :])
    return 'with a part twice'


def _gone(path: pathlib.Path, rng: random.Random) -> str:
    path.unlink()
    return '_gone'


def _a_folder(path: pathlib.Path, rng: random.Random) -> str:
    path.unlink()
    path.mkdir()
    return 'a folder'


def _a_dead_link(path: pathlib.Path, rng: random.Random) -> str:
    path.unlink()
    path.symlink_to('nowhere')
    return 'a dead link'


def _absurd_number(path: pathlib.Path, rng: random.Random) -> str:
    text = path.read_text(errors='replace')
    if numbers := list(re.finditer(r'-?\d+(\.\d+)?', text)):
        found = rng.choice(numbers)
        value = rng.choice(ABSURD)
        path.write_text(text[: found.start()] + value + text[found.end() :])
        return f'with {value!r} for {found.group()}'
    return 'as it was'


def _without_a_line(path: pathlib.Path, rng: random.Random) -> str:
    lines = path.read_text(errors='replace').splitlines(keepends=True)
    if lines:
        del lines[rng.randrange(len(lines))]
    path.write_text(''.join(lines))
    return 'without a line'


def _other_fields(path: pathlib.Path, rng: random.Random) -> str:
    """A MATLAB file with a variable that is missing, of another shape, or absurd."""
    fields = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith('__')}
    name = rng.choice(sorted(fields))
    value = rng.choice(
        [None, 0, -1, 1e9, float('nan'), float('inf'), 'text', [], [[1, 2], [3, 4]], {'a': 1}]
    )
    if rng.random() < 0.4 and fields[name].size and fields[name].dtype.kind in 'fiu':
        changed = fields[name].astype(float).copy()
        changed.flat[rng.randrange(changed.size)] = rng.choice([float('nan'), -1e6, 1e300, 2, -1])
        fields[name] = changed
        how = f'{name} with an absurd number'
    elif value is None:
        del fields[name]
        how = f'without {name}'
    else:
        fields[name] = value
        how = f'{name} is {value!r}'
    scipy.io.savemat(path, fields)
    return how


def copied(folder: pathlib.Path, where: pathlib.Path) -> pathlib.Path:
    """A copy of a folder or file to spoil."""
    if folder.is_dir():
        shutil.copytree(folder, where)
    else:
        where.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder, where)
    return where
