"""What else helps on real people? A queue of whole runs of configs/real.py, worked off in order.

    python -m experiments.real_queue runs/queue -- \
        --config.data.roots="('ROOT', 'TEACHER_ROOT')" \
        --config.data.motion=PENN_ACTION/labels --config.train.encoder_weights=runs/encoder.pth

What follows `--` is given to every run. Each has a folder of its own, where it goes on when the
queue is started anew; those that have a report are only printed. All are scored on the validation
part, before and after: the test clips are for the recipe that is chosen here. With
`--only=NAME,NAME` some of the rows. A row of 9,000 steps takes 80 minutes of one core, and
personalization 4 to 8.
"""

import argparse
import json
import pathlib
import sys

from experiments import programs

ROWS = {
    'as it is': [],
    'seed 1': ['--config.seed=1'],
    'seed 2': ['--config.seed=2'],
    'no drawn people': ['--config.data.drawn_people=0'],
    'twice the drawn people': ['--config.data.drawn_people=384'],
    'colours as they are': ['--config.train.colour_std=0.0'],
    "half the paper's augmentation": [
        '--config.train.augment.scale_std=0.15',
        '--config.train.augment.rotation_std=15.0',
    ],
    'rate 1e-3': ['--config.train.learning_rate=1e-3'],
    'reconstruction weight 1e-2': ['--config.train.reconstruction_weight=1e-2'],
    'images rebuilt at full size': ['--config.model.image_stride=1'],
    '40000 steps': ['--config.train.steps=40000'],
}
SCORED = ['--config.data.evaluate=validation', '--config.pictures=0']


def work(folder: pathlib.Path, name: str, common: list[str]) -> dict:
    """The report of one row, from its folder or from a run, which goes on where it stopped.

    Raises ProgramFailedError.
    """
    workdir = folder / name.replace(' ', '_').replace("'", '')
    report = workdir / 'report.json'
    if not report.is_file():
        main = [sys.executable, '-m', 'ttp_jax.main', '--config=configs/real.py']
        command = [*main, f'--workdir={workdir}', *SCORED, *common, *ROWS[name]]
        programs.run(command, makes=report, log=workdir.with_name(f'{workdir.name}.log'))
    return json.loads(report.read_text())


def line(name: str, report: dict) -> str:
    """A row of the table."""
    phases = ('online', 'offline')
    scores = [report['mpck'].get(phase, float('nan')) for phase in ('before', *phases)]
    counts = [report['compared'].get(phase, {}) for phase in phases]
    return (
        f'{name:<32}'
        + ''.join(f'{score:8.1f}' for score in scores)
        + ''.join(
            f'  {count["improved"]:3}/{count["hurt"]:<3}' if count else '' for count in counts
        )
    )


def command() -> None:
    """The command line."""
    at = sys.argv.index('--') if '--' in sys.argv else len(sys.argv)
    own, common = sys.argv[1:at], sys.argv[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=pathlib.Path)
    parser.add_argument('--only', type=lambda names: names.split(','), default=list(ROWS))
    arguments = parser.parse_args(own)
    print(f'{"":<32}  before  online offline  better/worse online, offline', flush=True)
    for name in arguments.only:
        try:
            print(line(name, work(arguments.folder, name, common)), flush=True)
        except programs.ProgramFailedError as error:
            sys.exit(f'error: {name}: {error}')


if __name__ == '__main__':
    command()
