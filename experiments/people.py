"""The network of people and its table, from an empty folder: a queue that one command works off.

    python -m experiments.people FOLDER --real=ROOT --teacher=TEACHER_ROOT --photographs=LSPET \
        --motion=PENN_ACTION/labels --features=FOLDED.npz --finder=finder/bin/python

ROOT holds clips that people labelled, TEACHER_ROOT clips that mediapipe labelled, both laid out as
ttp_jax/data/mixed.py says; LSPET is what experiments/stills.py reads, FOLDED.npz what
experiments/unfold_encoder.py reads, and finder an environment with mediapipe, as
experiments/relabel.py needs it. The FOLDER gets `people.safetensors` and `table.txt`.

Every stage leaves one thing behind; what is there is not made again, and a training run that was
stopped goes on where it was: start the same command anew. `--list` says what is left and about how
long it takes, `--until=STAGE` stops there. To begin anew take another FOLDER.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments import programs
from experiments.tables import statistics

SEEDS = (0, 1, 2)  # of adaptation
PHASES = ('online', 'offline')
STEP = 0.9  # seconds of one core for a step of 16, of cores that multiply 100 GFLOP/s


class Stage(NamedTuple):
    """What makes a file or folder that is missing; the program's arguments, without Python."""

    name: str
    makes: pathlib.Path
    arguments: Sequence[str]
    minutes: float
    finder: bool = False  # whether mediapipe's Python runs it


class Leg(NamedTuple):
    """A training run: its start (a stage's name), seed, steps and what else is its own."""

    name: str
    start: str
    seed: int
    steps: int
    folders: Sequence[str]
    options: Sequence[str]


def _mixed(rate: float, *, warmup: int = 100, colour_std: float = 0.3) -> tuple[str, ...]:
    """With photographs, whose pairs of frames rebuild little: a step is cheaper, colours vary."""
    return (
        '--config.train.rebuilt_every=4',
        f'--config.train.colour_std={colour_std}',
        f'--config.train.learning_rate={rate}',
        f'--config.train.warmup={warmup}',
    )


MIXED = _mixed(4.5e-4)
COVERED = '--config.train.covered=0.4'
HIDDEN = (*MIXED, COVERED)
# The last leg sees people nearly as they will come.
AS_THEY_COME = (
    *_mixed(1e-4, warmup=50, colour_std=0.1),
    '--config.train.augment.scale_std=0.1',
    '--config.train.augment.rotation_std=10.0',
    '--config.data.drawn_people=48',
)
ALL, MEANT = ('real', 'teacher', 'photographs'), ('real', 'teacher_meant', 'photographs_meant')
LEGS = (
    Leg('a', 'encoder', 0, 9000, ('real', 'teacher'), ()),
    Leg('b', 'a', 2, 6700, ALL, MIXED),
    Leg('c', 'ab', 21, 3400, MEANT, MIXED),
    Leg('d', 'ab', 33, 3400, MEANT, HIDDEN),
    Leg('e', 'abcd', 41, 3200, MEANT, HIDDEN),
    Leg('f', 'abcd', 53, 3200, MEANT, HIDDEN),
    Leg('g', 'abcdef', 67, 2800, MEANT, HIDDEN),
    Leg('h', 'abcdefg', 71, 1400, MEANT, (*_mixed(2e-4), COVERED)),
    Leg('i', 'abcdefg', 73, 1000, MEANT, (*_mixed(3e-4), COVERED)),
    Leg('j', 'abcdefghi', 81, 600, MEANT, AS_THEY_COME),
)
PARTS = ('ab', 'c', 'd', 'e', 'f', 'g', 'h', 'i')
MEANS = {
    'ab': ('a', 'b'),
    'abcd': PARTS[:3],
    'abcdef': PARTS[:5],
    'abcdefg': PARTS[:6],
    'abcdefghi': PARTS,
    'people': ('abcdefghi', 'j'),
}


def stages(folder: pathlib.Path, asked: argparse.Namespace) -> list[Stage]:
    """All that has to be there, in an order in which it can be made."""
    of = {
        name: str(folder / name) for name in ('photographs', 'teacher_meant', 'photographs_meant')
    }
    roots = of | {'real': asked.real, 'teacher': asked.teacher}
    unfold = [str(pathlib.Path(__file__).with_name('unfold_encoder.py')), asked.features]
    encoder = folder / 'encoder.pth'
    stills = ['-m', 'experiments.stills', asked.photographs, of['photographs']]
    legs = {leg.name: _leg(leg, folder, roots, asked.motion) for leg in LEGS}
    return [
        Stage('encoder', encoder, [*unfold, asked.real, str(encoder)], 1),
        Stage('photographs', folder / 'photographs/videos.json', stills, 2),
        _found('real', folder, roots, 1, '--every=15'),
        _found('photographs', folder, roots, 20),
        _meant('teacher', folder, roots),
        _meant('photographs', folder, roots, f'--found={folder / "photographs.npz"}'),
        *legs['a'],
        *legs['b'],
        _mean('ab', folder),
        *legs['c'],
        *legs['d'],
        _mean('abcd', folder),
        *legs['e'],
        *legs['f'],
        _mean('abcdef', folder),
        *legs['g'],
        _mean('abcdefg', folder),
        *legs['h'],
        *legs['i'],
        _mean('abcdefghi', folder),
        *legs['j'],
        _mean('people', folder),
        *(_test(folder, asked.real, seed) for seed in SEEDS),
    ]


def _found(
    name: str, folder: pathlib.Path, roots: dict[str, str], minutes: float, *options: str
) -> Stage:
    """What mediapipe sees in a folder's training clips."""
    found = folder / f'{name}.npz'
    look = ['-m', 'experiments.relabel', 'find', roots[name], str(found), *options]
    return Stage(f'mediapipe on {name}', found, look, minutes, finder=True)


def _meant(name: str, folder: pathlib.Path, roots: dict[str, str], *options: str) -> Stage:
    """A folder whose labels mean what those of the people who labelled clips do."""
    new = f'{name}_meant'
    like = ['--like', roots['real'], str(folder / 'real.npz'), *options]
    move = ['-m', 'experiments.relabel', 'move', roots[name], roots[new], *like]
    return Stage(new, folder / new / 'videos.json', move, 1)


def _leg(leg: Leg, folder: pathlib.Path, roots: dict[str, str], motion: str) -> list[Stage]:
    """The training run, and its network as one file."""
    workdir, packed = folder / leg.name, folder / f'{leg.name}.safetensors'
    start = (
        f'--config.train.encoder_weights={folder / "encoder.pth"}'
        if leg.start == 'encoder'
        else f'--config.checkpoint={folder / leg.start}.safetensors'
    )
    arguments = [
        '-m',
        'ttp_jax.main',
        '--config=configs/real.py',
        f'--workdir={workdir}',
        start,
        f'--config.seed={leg.seed}',
        f'--config.data.roots={tuple(roots[name] for name in leg.folders)}',
        f'--config.data.motion={motion}',
        f'--config.train.steps={leg.steps}',
        '--config.train.lowering=blocked',
        '--config.data.evaluate=validation',
        '--config.personalize.schedules=()',
        '--config.pictures=0',
        *leg.options,
    ]
    pack = ['-m', 'ttp_jax.files.pack', str(workdir), str(packed)]
    return [
        Stage(f'training {leg.name}', workdir / 'report.json', arguments, leg.steps * STEP / 60),
        Stage(leg.name, packed, pack, 0.2),
    ]


def _mean(name: str, folder: pathlib.Path) -> Stage:
    packed = [str(folder / f'{part}.safetensors') for part in (name, *MEANS[name])]
    return Stage(name, pathlib.Path(packed[0]), ['-m', 'ttp_jax.files.average', *packed], 0.2)


def _test(folder: pathlib.Path, real: str, seed: int) -> Stage:
    """The test clips before and after, by configs/real.py's personalization."""
    workdir = folder / f'test_{seed}'
    arguments = [
        '-m',
        'ttp_jax.main',
        '--config=configs/real.py',
        f'--workdir={workdir}',
        f'--config.checkpoint={folder / "people.safetensors"}',
        f'--config.seed={seed}',
        f'--config.data.roots={(real,)}',
        '--config.data.drawn_people=0',
        '--config.train.steps=0',
        '--config.personalize.lowering=blocked',
    ]
    return Stage(f'test clips, seed {seed}', workdir / 'report.json', arguments, 35)


def table(reports: Sequence[dict]) -> str:
    """A line per phase: mPCK by seed, and the gain over all of them with its interval."""
    people = reports[0]['people']
    sources = [person.get('source', person['id']) for person in people]
    lines = [
        f'{len(people)} clips of {len(set(sources))} recordings, {len(reports)} seeds of adaptation'
    ]
    for phase in ('before', *PHASES):
        line = f'{phase:<8}' + ''.join(f'{report["mpck"][phase]:7.1f}' for report in reports)
        if phase != 'before':
            gains = [
                np.array([one.get(phase, np.nan) - one['before'] for one in report['people']])
                for report in reports
            ]
            found = statistics.estimate(gains, crossed=True, sources=sources)
            counts = ', '.join(f'{(own > 0).sum()} / {(own < 0).sum()}' for own in gains)
            line += f'  {found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}] a person'
            line += f'; better / worse: {counts}'
        lines.append(line)
    return '\n'.join(lines)


def make(stage: Stage, finder: str) -> None:
    """Runs a stage's program. Raises ProgramFailedError."""
    print(f'--- {stage.name}', flush=True)
    python = finder if stage.finder else sys.executable
    programs.run([python, *stage.arguments], makes=stage.makes)


def asked_for(argv: Sequence[str]) -> tuple[argparse.Namespace, list[Stage]]:
    """The options, and the stages that they make."""
    parser = argparse.ArgumentParser(prog='python -m experiments.people')
    parser.add_argument('folder', type=pathlib.Path)
    for name in ('real', 'teacher', 'photographs', 'motion', 'features'):
        parser.add_argument(f'--{name}', required=True)
    parser.add_argument('--finder', default='finder/bin/python')
    parser.add_argument('--until', default='')
    parser.add_argument('--list', action='store_true')
    asked = parser.parse_args(argv)
    every = stages(asked.folder, asked)
    names = [stage.name for stage in every]
    if asked.until and asked.until not in names:
        parser.error(f'--until={asked.until}: no such stage; there are {", ".join(names)}')
    return asked, every


def left(every: Sequence[Stage]) -> str:
    """A line per stage that is to be made, and how long all of them take."""
    missing = [stage for stage in every if not stage.makes.exists()]
    lines = [f'{stage.minutes:6.0f} minutes of a core  {stage.name}' for stage in missing]
    hours = sum(stage.minutes for stage in missing) / 60
    return '\n'.join([*lines, f'{hours:6.1f} hours in all'])


def main(argv: Sequence[str]) -> None:
    """The program: works the queue off, and prints the table."""
    asked, every = asked_for(argv)
    if asked.list:
        return print(left(every))
    asked.folder.mkdir(parents=True, exist_ok=True)
    for stage in every:
        try:
            if not stage.makes.exists():
                make(stage, asked.finder)
        except programs.ProgramFailedError as error:
            sys.exit(f'error: {stage.name}: {error}')
        if stage.name == asked.until:
            return
    reports = [asked.folder / f'test_{seed}' / 'report.json' for seed in SEEDS]
    text = table([json.loads(path.read_text()) for path in reports])
    (asked.folder / 'table.txt').write_text(text + '\n')
    print(text)


if __name__ == '__main__':
    main(sys.argv[1:])
