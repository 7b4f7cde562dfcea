"""The whole job: every phase in order, then the report."""

import json
import pathlib

from ml_collections import ConfigDict

from ttp_jax.files import whole_file
from ttp_jax.personalize import capacity
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.run import check_config, lock, summary
from ttp_jax.run.adaptation import adapted_phase, before_phase
from ttp_jax.run.build import Run
from ttp_jax.run.resume import check_workdir
from ttp_jax.run.training import train_phase


def execute(config: ConfigDict, workdir: pathlib.Path) -> dict:
    """The whole job, by one process; returns the report.

    Raises ValueError for what it cannot begin with; with `config.strict` also where somebody has
    failed, at the very end.
    """
    config = check_config.with_own_labels(config, workdir)
    check_config.check(config, devices=len(capacity.training_devices()))
    with lock.held(workdir):
        run = begin(config, workdir)
        with run.phase('train'):
            train_phase(run)
        results, made = for_everyone(run)
        run.ledger.close()
        return summary.write(run, results, {'made': made, 'placement': run.placement.record()})


def begin(config: ConfigDict, workdir: pathlib.Path, **how) -> Run:
    """The run in its workdir, whose config is written down; how: as `Run` takes it."""
    check_workdir(workdir, config)
    run = Run(config, workdir, **how)
    with whole_file.replacing(workdir / 'config.json') as path:
        path.write_text(json.dumps(json.loads(config.to_json()), indent=2) + '\n')
    return run


def for_everyone(run: Run) -> tuple[dict[str, list[Adapted]], dict[str, int]]:
    """(the results of all of the run's people by phase, how many frames were just made in each)."""
    with run.phase('before'):
        results, made = {'before': before_phase(run)}, {}
    for schedule in run.config.personalize.schedules:
        with run.phase(schedule):
            results[schedule], made[schedule] = adapted_phase(run, schedule, results['before'])
    return results, made
