"""What a run tells at its end: the report, its pictures, and where it comes from.

Contract: `results` is everyone's by phase, 'before' first. They are of a run that made them, or of
what several hosts have left in a workdir: the report is the same.
"""

import pathlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ttp_jax.personalize.many_people import Adapted
from ttp_jax.personalize.verdict import FAILED
from ttp_jax.results import report
from ttp_jax.run import gallery
from ttp_jax.run.subject import Subject

Results = Mapping[str, Sequence[Adapted]]


def write(run: Subject, results: Results, told: dict[str, Any]) -> dict:
    """Writes the report with its pictures, and returns it; told: what else to put into it.

    With `config.strict` raises ValueError where somebody has failed, once all is written.
    """
    result = summarise(run, results)
    pictures = gallery.draw_pictures(run, result, results)
    result |= origin(run) | told
    report.write_report(run.workdir, result, pictures=pictures)
    if run.config.strict:
        check_nobody_failed(result, run.workdir)
    return result


def check_nobody_failed(result: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """Raises ValueError where a report has somebody who failed."""
    if failed := result['failed']:
        name, reason = next(iter(failed.items()))
        raise ValueError(
            f'{len(failed)} of {len(result["people"])} people failed, such as {name}: {reason}; '
            f'{workdir / "report.md"} has everyone'
        )


def summarise(run: Subject, results: Results) -> dict:
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


def estimated_gains(run: Subject, results: Results) -> dict[str, Any]:
    """What the guard expects of each phase: `people` {id: points}, and `error`, how far it errs."""
    return {
        phase: {
            'people': {clip.id: found.gain for clip, found in zip(run.people, people, strict=True)},
            'error': run.rules[phase].gain_error,
        }
        for phase, people in results.items()
        if phase in run.rules
    }


def failures(run: Subject, results: Results) -> dict[str, str]:
    """Why somebody failed, by id: those left out, and those who failed in any phase."""
    found = dict(run.refused)
    for people in results.values():
        for clip, adapted in zip(run.people, people, strict=True):
            if adapted.status == FAILED:
                found.setdefault(clip.id, adapted.reason)
    return found


def origin(run: Subject) -> dict:
    """Where a report comes from: what to run to have it again."""
    return {
        'seconds': run.seconds,
        'seed': run.config.seed,
        'git': git_commit(),
        'command': ' '.join(['python -m ttp_jax.main', *sys.argv[1:]]),
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
