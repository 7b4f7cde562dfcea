"""Reads and checks a data set's folder once, and writes it as records that are quick to read.

    python -m ttp_jax.data.prepare penn_action --manual_dir=FOLDER --data_dir=FOLDER

Every frame is decoded once, so that a broken file is named now and not in the middle of a training
run. The records are for `config.data.prepared`, which names the same data_dir.
"""

import argparse
import os
import pathlib
import sys

import tensorflow_datasets as tfds

from ttp_jax.data import builders


def prepare(name: str, *, manual_dir: str | os.PathLike, data_dir: str | os.PathLike) -> str:
    """Writes both configs of the data set `name` and says in one line what was written.

    No half-written records are left behind.

    Raises:
      ValueError: when there is no such data set, when it is in `data_dir` already, or when
        something is missing in `manual_dir`.
    """
    settings = tfds.download.DownloadConfig(manual_dir=pathlib.Path(manual_dir).absolute())
    both = [builders.create(name, config, data_dir) for config in builders.CONFIGS]
    if all(builder.data_path.is_dir() for builder in both):
        raise ValueError(
            f'{pathlib.Path(data_dir) / name}: is there already; delete it to prepare {name} anew'
        )
    for builder in both:
        builder.download_and_prepare(download_config=settings)
    return f'{name} in {data_dir}: {"; ".join(map(_counts, both))}'


def _counts(builder: builders.ClipsBuilder) -> str:
    """Such as 'clips: train 1,258, test 1,068'."""
    splits = (f'{name} {split.num_examples:,}' for name, split in builder.info.splits.items())
    return f'{builder.builder_config.name}: {", ".join(splits)}'


def main(argv: list[str] | None = None) -> None:
    """The command line: prepares a data set, or says in one line why not."""
    parser = argparse.ArgumentParser(
        prog='python -m ttp_jax.data.prepare',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('name', choices=builders.BUILDERS)
    parser.add_argument('--manual_dir', required=True, help="the data set's own folder")
    parser.add_argument('--data_dir', required=True, help='where the records go')
    arguments = parser.parse_args(argv)
    try:
        print(prepare(**vars(arguments)))
    except ValueError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
