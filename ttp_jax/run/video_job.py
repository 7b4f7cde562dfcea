"""The job of somebody who has a video and no labels: predict, personalize, write everything.

The networks, how crops are made and how people are adapted come from the checkpoint's own config;
the user says what to read and what to write.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ttp_jax.data import live
from ttp_jax.files import checkpoint, whole_file
from ttp_jax.personalize import capacity
from ttp_jax.results.exports import smoothing
from ttp_jax.run import check_config, defaults, live_job, lock
from ttp_jax.run.adaptation import adapted_phase, before_phase
from ttp_jax.run.build import Run
from ttp_jax.run.resume import check_workdir
from ttp_jax.run.video_results import filmed, summary, write_video

# GiB of decoded frames that are kept in memory; of a longer film they are read while they are used.
RESIDENT = 1.0


def execute(config: ConfigDict, workdir: pathlib.Path) -> str:
    """The whole job, maybe with a preview before it; returns what to tell the user."""
    check(config)
    if live.is_live(config.input):
        return live_job.execute(config, workdir)
    theirs = checkpoint.config_beside(config.checkpoint)
    told = []
    if config.preview:
        shorter = min(config.preview, config.seconds or config.preview)
        settings = run_config(config, theirs, workdir / 'preview', seconds=shorter)
        told.append(personalize_videos(config, settings, workdir / 'preview'))
        print(told[-1], flush=True)
    return personalize_videos(
        config, run_config(config, theirs, workdir, seconds=config.seconds), workdir
    )


def check(config: ConfigDict) -> None:
    """Raises ValueError for what is missing or unknown, before anything is read."""
    if not config.input:
        raise ValueError('config.input is not set, expected a video: --config.input=clip.mp4')
    if not config.checkpoint:
        raise ValueError(
            'config.checkpoint is not set, expected the model to start from: a workdir, or a file '
            'of python -m ttp_jax.files.pack'
        )
    if config.smoothing not in ('', *smoothing.KINDS):
        raise ValueError(
            f'config.smoothing is {config.smoothing!r}, expected one of '
            f'{", ".join(map(repr, smoothing.KINDS))}'
        )
    for key, least in (('preview', 0), ('seconds', 0), ('longest', 2), ('detail', 0.5)):
        if config[key] < least:
            raise ValueError(f'config.{key} is {config[key]}, expected at least {least}')


def run_config(
    config: ConfigDict, theirs: Mapping[str, Any], workdir: pathlib.Path, *, seconds: float = 0.0
) -> ConfigDict:
    """The config of a run that trains nothing and personalizes to the people of the videos."""
    whole = defaults.adapted_by(defaults.as_trained(theirs), config.objective)
    whole.update(
        {'seed': config.seed, 'checkpoint': config.checkpoint, 'pictures': config.pictures}
    )
    whole.train.steps = 0
    whole.data.resident_gib = RESIDENT
    whole.personalize.update(
        schedules=tuple(config.schedules), flip_test=config.flip_test, follow=config.follow
    )
    whole.data.update(
        {
            'name': 'video',
            'input': config.input,
            'boxes': config.boxes,
            'seconds': float(seconds),
            'cut_outs': str(workdir / 'cut_outs'),
            'frames': config.longest,
            'size': round(config.detail * whole.crop.size),
            'train_people': 0,
            'test_people': 0,
        }
    )
    return whole


def personalize_videos(config: ConfigDict, settings: ConfigDict, workdir: pathlib.Path) -> str:
    """Every phase, then everything that is written, video by video; returns what to tell."""
    check_config.check(settings, devices=len(capacity.training_devices()))
    with lock.held(workdir):
        return _personalize_videos(config, settings, workdir)


def _personalize_videos(config: ConfigDict, settings: ConfigDict, workdir: pathlib.Path) -> str:
    check_workdir(workdir, settings)
    run = Run(settings, workdir)
    with whole_file.replacing(workdir / 'config.json') as path:
        path.write_text(json.dumps(json.loads(settings.to_json()), indent=2) + '\n')
    with run.phase('before'):
        results = {'before': before_phase(run)}
    for schedule in settings.personalize.schedules:
        with run.phase(schedule):
            results[schedule], _ = adapted_phase(run, schedule, results['before'])
    videos = {clip.video.name: clip.video for clip in filmed(run)}
    for video in videos.values():
        folder = workdir if len(videos) == 1 else workdir / video.name
        write_video(run, video, results, folder, smooth=config.smoothing)
    run.checkpoints.close()
    run.ledger.close()
    return summary(run, results, workdir)
