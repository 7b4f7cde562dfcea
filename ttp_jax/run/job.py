"""The whole job: every phase in order, then the report."""

import json
import pathlib
import subprocess
import sys

from ml_collections import ConfigDict

from ttp_jax.results import report
from ttp_jax.run.adaptation import before_phase, earlier_results, in_order, personalize_phase, saved
from ttp_jax.run.build import Run
from ttp_jax.run.gallery import draw_pictures
from ttp_jax.run.resume import check_workdir
from ttp_jax.run.training import train_phase


def execute(config: ConfigDict, workdir: pathlib.Path) -> dict:
    """The whole job; returns the report."""
    check_workdir(workdir, config)
    run = Run(config, workdir)
    (workdir / 'config.json').write_text(json.dumps(json.loads(config.to_json()), indent=2) + '\n')
    with run.phase('train'):
        train_phase(run)
    with run.phase('before'):
        before = in_order(saved(run, 'before', before_phase(run)))
    adapted, made, keep = {}, {}, range(min(config.pictures, len(run.people)))
    for schedule in config.personalize.schedules:
        with run.phase(schedule):
            done = earlier_results(run, schedule, but=keep)
            results = personalize_phase(run, schedule, keep=keep, done=done)
            adapted[schedule] = in_order([*done.items(), *saved(run, schedule, results)])
        made[schedule] = sum(len(clip.frames) for i, clip in enumerate(run.people) if i not in done)
    with run.phase('report'):
        joints = {
            name: [a.joints for a in results]
            for name, results in {'before': before, **adapted}.items()
        }
        result = report.summarise(run.people, joints, skeleton=run.data.skeleton)
        pictures = draw_pictures(run, result, joints, adapted)
        run.checkpoints.wait()
    result |= {
        'seconds': run.seconds,
        'made': made,
        'seed': config.seed,
        'git': git_commit(),
        'command': ' '.join(['python -m ttp_jax.main', *sys.argv[1:]]),
    }
    report.write_report(workdir, result, pictures=pictures)
    return result


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
