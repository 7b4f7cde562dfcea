"""Packs the model of a run into one small file.

    python -m ttp_jax.files.pack WORKDIR FILE

`--config.checkpoint=FILE` starts from it as from a workdir.
"""

import argparse
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from ttp_jax import places
from ttp_jax.files import checkpoint, packed


def pack(workdir: str | pathlib.Path, path: str | pathlib.Path) -> int:
    """Packs the newest checkpoint of a workdir; returns the file's bytes.

    Raises ValueError where there is no checkpoint, or no `config.json` beside it.
    """
    config = checkpoint.config_beside(str(workdir))
    if not config:
        raise ValueError(f'{workdir}: found no config.json beside its checkpoints, expected one')
    tree = checkpoint.read_everything(places.place(workdir))
    arrays = {part: tree[part] for part in packed.PARTS if part in tree}
    packed.save(pathlib.Path(path), arrays, of_model(config))
    return pathlib.Path(path).stat().st_size


def of_model(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without what is of the run's machine: its folders and files."""
    # What joints are called is in no other place where people brought labels of their own.
    data = {key: config['data'][key] for key in ('name', 'skeleton') if key in config['data']}
    kept = {**config, 'checkpoint': '', 'data': data}
    if 'train' in config:
        kept['train'] = {**config['train'], 'encoder_weights': ''}
    return kept


def main(argv: list[str]) -> None:
    """The program: packs a workdir."""
    parser = argparse.ArgumentParser(prog='python -m ttp_jax.files.pack', description=__doc__)
    parser.add_argument('workdir', help='a run that has a checkpoint')
    parser.add_argument('file', help='the file to write, e.g. model.safetensors')
    arguments = parser.parse_args(argv)
    try:
        size = pack(arguments.workdir, arguments.file)
    except ValueError as error:
        sys.exit(f'error: {error}')
    print(f'{arguments.file}: {size / 1e6:.2f} MB')


if __name__ == '__main__':
    main(sys.argv[1:])
