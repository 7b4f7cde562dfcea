"""The mean of several packed models: one network from runs that began with the same one.

    python -m ttp_jax.files.average FILE MODEL MODEL ...

Runs that start from one network and go on with other clips, seeds or rates end in places whose
middle is often better than any of them (Izmailov et al., UAI 2018; Wortsman et al., ICML 2022).
Networks that did not start together have no useful middle. Statistics of norms are averaged too.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import safetensors.numpy

from ttp_jax.files import packed


def average(paths: Sequence[str | pathlib.Path]) -> dict[str, np.ndarray]:
    """The mean of every array of the files, by its name, as the first file has its type.

    Raises:
      ValueError: there is no file, one is no packed model, or lacks an array of the first, or has
        it in another shape.
    """
    if not paths:
        raise ValueError('no models to average, expected one at least')
    for path in paths:
        packed.read_config(path)  # raises for another kind of file
    first, *others = map(safetensors.numpy.load_file, paths)
    for path, other in zip(paths[1:], others, strict=True):
        _check_same(path, other, first)
    return {
        name: np.mean([each[name] for each in (first, *others)], axis=0, dtype=np.float64).astype(
            array.dtype
        )
        for name, array in first.items()
    }


def _check_same(path, other, first) -> None:
    for name in sorted(first.keys() | other.keys()):
        found, expected = (tree[name].shape if name in tree else None for tree in (other, first))
        if found != expected:
            raise ValueError(f'{path}: {name} is {found}, expected {expected}, as in the first')


def main(argv: list[str]) -> None:
    """The program: averages packed models."""
    parser = argparse.ArgumentParser(prog='python -m ttp_jax.files.average', description=__doc__)
    parser.add_argument('file', help='the file to write; its config is that of the first model')
    parser.add_argument('models', nargs='+', help='packed models, as ttp_jax.files.pack makes them')
    asked = parser.parse_args(argv)
    try:
        config = packed.read_config(asked.models[0])
        tree = average(asked.models)
        packed.save(pathlib.Path(asked.file), packed.nested(tree), config)
    except ValueError as error:
        sys.exit(f'error: {error}')
    print(f'{asked.file}: the mean of {len(asked.models)} models')


if __name__ == '__main__':
    main(sys.argv[1:])
