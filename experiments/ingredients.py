"""Which ingredients make personalization work on drawn people? One whole run per row.

    python experiments/ingredients.py --out=runs/ingredients [--rows=default,paper_augmentation]

Each row is the default run of configs/joint.py with a few values changed; the table gives mPCK@0.2
before, online and offline, and how many people got better and worse offline. Rows are kept in the
folder and not run again.
"""

import argparse
import json
import pathlib
import subprocess
import sys

ROWS = {
    'default': {},
    'seed_1': {'seed': 1},
    'seed_2': {'seed': 2},
    'paper_augmentation': {'train.augment.rotation_std': 30.0, 'train.augment.scale_std': 0.25},
    'people_8': {'data.train_people': 8},
    'people_32': {'data.train_people': 32},
    'people_64': {'data.train_people': 64},
    'batch_32': {'train.batch': 32, 'train.steps': 600},
    'keypoints_14': {'model.keypoints': 14},
    'pixels_only': {'perceptual.kind': 'none'},
    'reconstruction_x10': {'train.reconstruction_weight': 1e-2},
    'wide_images': {'model.image_width': 16},
    'shared_keypoint': {'model.variant': 'shared_keypoint'},
    'shared_rotation': {'model.variant': 'shared_rotation'},
}

CONFIG = pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'joint.py'


def run(name: str, changes: dict, out: pathlib.Path) -> dict:
    """The report of one row, from its folder or else from a run."""
    workdir = out / name
    if not (workdir / 'report.json').is_file():
        overrides = [f'--config.{key}={value}' for key, value in changes.items()]
        subprocess.run(
            [
                sys.executable,
                '-m',
                'ttp_jax.main',
                f'--config={CONFIG}',
                f'--workdir={workdir}',
                *overrides,
            ],
            check=True,
        )
    return json.loads((workdir / 'report.json').read_text())


def main() -> None:
    """Prints the table, a row after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/ingredients'))
    parser.add_argument('--rows', type=lambda names: names.split(','), default=list(ROWS))
    arguments = parser.parse_args()
    print(f'{"row":<20} {"before":>7} {"online":>7} {"offline":>8}  better/worse  seconds')
    for name in arguments.rows:
        report = run(name, ROWS[name], arguments.out)
        scores, offline = report['mpck'], report['compared']['offline']
        print(
            f'{name:<20} {scores["before"]:7.1f} {scores["online"]:7.1f} {scores["offline"]:8.1f}'
            f'  {offline["improved"]:6}/{offline["hurt"]:<5}'
            f'  {sum(report["seconds"].values()):7.0f}',
            flush=True,
        )


if __name__ == '__main__':
    main()
