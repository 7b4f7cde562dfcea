"""The whole job: every phase in order, then the report."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from ttp_jax.files import whole_file
from ttp_jax.personalize import capacity
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.personalize.verdict import FAILED
from ttp_jax.results import report
from ttp_jax.run import check_config, lock
from ttp_jax.run.adaptation import adapted_phase, before_phase
from ttp_jax.run.build import Run
from ttp_jax.run.gallery import draw_pictures
from ttp_jax.run.resume import check_workdir
from ttp_jax.run.training import train_phase


def execute(config: ConfigDict, workdir: pathlib.Path) -> dict:
    """The whole job; returns the report.

    Raises ValueError for what it cannot begin with; with `config.strict` also where somebody has
    failed, at the very end.
    """
    config = check_config.with_own_labels(config, workdir)
    check_config.check(config, devices=len(capacity.training_devices()))
    with lock.held(workdir, host=jax.process_index(), hosts=jax.process_count()):
        return _execute(config, workdir)


def _execute(config: ConfigDict, workdir: pathlib.Path) -> dict:
    check_workdir(workdir, config)
    run = Run(config, workdir)
    with whole_file.replacing(workdir / 'config.json') as path:
        path.write_text(json.dumps(json.loads(config.to_json()), indent=2) + '\n')
    with run.phase('train'):
        train_phase(run)
    with run.phase('before'):
        results, made = {'before': before_phase(run)}, {}
    for schedule in config.personalize.schedules:
        with run.phase(schedule):
            results[schedule], made[schedule] = adapted_phase(run, schedule, results['before'])
    with run.phase('report'):
        result = summarise(run, results)
        pictures = draw_pictures(run, result, results)
        run.checkpoints.wait()
    result |= origin(run) | {'made': made}
    report.write_report(workdir, result, pictures=pictures)
    run.ledger.close()
    if config.strict:
        check_nobody_failed(result, workdir)
    return result


def check_nobody_failed(result: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """Raises ValueError where a report has somebody who failed."""
    if failed := result['failed']:
        name, reason = next(iter(failed.items()))
        raise ValueError(
            f'{len(failed)} of {len(result["people"])} people failed, such as {name}: {reason}; '
            f'{workdir / "report.md"} has everyone'
        )


def summarise(run: Run, results: dict[str, list[Adapted]]) -> dict:
    """The report's numbers, and by phase whose predictions did not come to count, and why."""
    joints = {
        phase: [adapted.joints if adapted.predicted else None for adapted in people]
        for phase, people in results.items()
    }
    statuses = {
        phase: {
            run.people[index].id: f'{adapted.status}: {adapted.reason}'
            for index, adapted in enumerate(people)
            if adapted.reason
        }
        for phase, people in results.items()
        if phase != 'before'
    }
    summary = report.summarise(run.people, joints, skeleton=run.data.skeleton)
    nothing = dict.fromkeys(results)  # somebody left out has a line, without any score
    summary['people'] += [{'id': name} | nothing for name in run.refused]
    told: dict[str, Any] = {'not_personalized': statuses, 'failed': failures(run, results)}
    if run.rules:
        told['estimated_gain'] = estimated_gains(run, results)
    return summary | told


def estimated_gains(run: Run, results: dict[str, list[Adapted]]) -> dict[str, Any]:
    """What the guard expects of each phase: `people` {id: points}, and `error`, how far it errs."""
    return {
        phase: {
            'people': {clip.id: found.gain for clip, found in zip(run.people, people, strict=True)},
            'error': run.gain_error(phase),
        }
        for phase, people in results.items()
        if phase in run.rules
    }


def failures(run: Run, results: dict[str, list[Adapted]]) -> dict[str, str]:
    """Why somebody failed, by id: those left out, and those who failed in any phase."""
    found = dict(run.refused)
    for people in results.values():
        for clip, adapted in zip(run.people, people, strict=True):
            if adapted.status == FAILED:
                found.setdefault(clip.id, adapted.reason)
    return found


def origin(run: Run) -> dict:
    """Where a report comes from: what to run to have it again."""
    return {
        'seconds': run.seconds,
        'seed': run.config.seed,
        'git': git_commit(),
        'command': ' '.join(['python -m ttp_jax.main', *sys.argv[1:]]),
        'placement': run.placement.record(),
    }


def git_commit() -> str | None:
    """The commit of this code, `+` where it was changed since; None outside a checkout."""

    def git(*words):
        return subprocess.run(
            ['git', *words],
            cwd=pathlib.Path(__file__).parent,
            text=True,
            capture_output=True,
            check=True,
        ).stdout.strip()

    try:
        return git('rev-parse', 'HEAD') + ('+' if git('status', '--porcelain', '-uno') else '')
    except (OSError, subprocess.CalledProcessError):
        return None
