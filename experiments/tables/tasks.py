"""Rows as commands: what is run for a row, at which size, in which folder, and what it needs.

Contract: a `Task` is one run of a program in a workdir of its own; it is done when there is a
`report.json`. A row needs its network's tasks first. Paths of data come from the command line alone
and are in no workdir's name.
"""

import pathlib
import re
import sys
from typing import Any, NamedTuple

from experiments.tables.rows import Changes, Network, Row


class Inputs(NamedTuple):
    """Where data lies that not everybody has; '' for what is not there."""

    motion: str = ''
    real: str = ''
    squeezenet: str = ''


class Size(NamedTuple):
    """How large rows are."""

    drawn: str
    recorded: str
    clips: Changes  # of recorded data: how much, and the model, so that one of drawn people fits


class Task(NamedTuple):
    """One run: its command without the workdir, and the workdir."""

    words: tuple[str, ...]
    workdir: pathlib.Path

    @property
    def report(self) -> pathlib.Path:
        """What it leaves."""
        return self.workdir / 'report.json'

    @property
    def done(self) -> bool:
        """Whether it has been run to its end."""
        return self.report.is_file()

    @property
    def command(self) -> list[str]:
        """What is executed."""
        return [sys.executable, *self.words, f'--workdir={self.workdir}']


SIZES = {
    'small': Size('configs/joint.py', 'configs/joint.py:penn_action', (('data.test_people', 24),)),
    'full': Size(
        'configs/joint.py:drawn_large',
        'configs/joint.py:penn_action',
        (('model.width', 32), ('model.features', 128), ('model.image_width', 16)),
    ),
}
# Rows that are no run of the job, but a program's that takes a network's workdir.
PROGRAMS = {'regression': 'experiments.keypoint_regression', 'carried on': 'experiments.carried_on'}
ONLY_TRAINED: Changes = (('personalize.schedules', ()), ('pictures', 0))
PICTURED = 3  # people of the row whose pictures are shown


def network_tasks(
    network: Network, *, size: str, inputs: Inputs, folder: pathlib.Path
) -> list[Task]:
    """What trains a network: its parent's tasks first, its own last."""
    before = []
    if network.parent:
        before = network_tasks(network.parent, size=size, inputs=inputs, folder=folder)
    start: Changes = (('checkpoint', str(before[-1].workdir)),) if before else ()
    words = _program(network, start + ONLY_TRAINED, size=size, inputs=inputs)
    return [*before, Task(words, folder / size / 'networks' / slug(*_name(network)))]


def row_task(row: Row, *, size: str, inputs: Inputs, folder: pathlib.Path) -> Task:
    """What is done with a row's trained network."""
    network = network_tasks(row.network, size=size, inputs=inputs, folder=folder)[-1]
    workdir = folder / size / row.table / slug(row.name, *_name(row.network)[1:3])
    if row.program in PROGRAMS:
        return Task(('-m', PROGRAMS[row.program], str(network.workdir)), workdir)
    schedules = tuple(mode for mode in row.modes if mode != 'before')
    changes: Changes = (
        ('checkpoint', str(network.workdir)),
        ('train.steps', 0),
        ('personalize.schedules', schedules),
        ('pictures', PICTURED if is_pictured(row) else 0),
        *row.changes,
    )
    return Task(_program(row.network, changes, size=size, inputs=inputs), workdir)


def is_pictured(row: Row) -> bool:
    """Whether a row's people are drawn: the first seed's, of the main table's last row."""
    return row.table == 'main' and row.network.system == 'transformer' and not row.network.seed


def needs(row: Row, inputs: Inputs) -> str:
    """What has to be given on the command line for this row; '' if it can be run."""
    missing = {
        "--motion=FOLDER: Penn Action's labels": (
            row.network.data in ('motion', 'real') and not inputs.motion
        ),
        "--real=FOLDER: clips in Penn Action's layout": (
            row.network.data == 'real' and not inputs.real
        ),
        "--squeezenet=FILE: SqueezeNet's ImageNet weights": (
            ('perceptual.kind', 'squeezenet') in row.network.changes and not inputs.squeezenet
        ),
    }
    return ', '.join(text for text, is_missing in missing.items() if is_missing)


def flag(key: str, value: Any) -> str:
    """A config key as a flag of the program."""
    return f'--config.{key}={value}'


def slug(*parts: object) -> str:
    """A folder's name of what it holds."""
    return re.sub(r'[^\w.=-]+', '_', '-'.join(str(part) for part in parts if part != '')).strip('_')


def _program(network: Network, changes: Changes, *, size: str, inputs: Inputs) -> tuple[str, ...]:
    """The program on a network's data and model, with more changes."""
    sizes = SIZES[size]
    recorded = network.data == 'real'
    all_changes: Changes = (
        ('seed', network.seed),
        ('model.variant', network.system),
        *(sizes.clips + (('data.root', inputs.real),) if recorded else ()),
        *((('data.motion', inputs.motion),) if network.data == 'motion' else ()),
        *_with_weights(network.changes, inputs),
        *changes,
    )
    config = sizes.recorded if recorded else sizes.drawn
    flags = (flag(key, value) for key, value in dict(all_changes).items())
    return ('-m', 'ttp_jax.main', f'--config={config}', *flags)


def _with_weights(changes: Changes, inputs: Inputs) -> Changes:
    if ('perceptual.kind', 'squeezenet') not in changes:
        return changes
    return (*changes, ('perceptual.weights', inputs.squeezenet))


def _name(network: Network) -> tuple[object, ...]:
    changes = ','.join(f'{key}={value}' for key, value in network.changes)
    return (network.system, network.data, f'seed{network.seed}', changes)
