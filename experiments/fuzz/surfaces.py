"""What is spoiled, and what a job makes of it: one function for each kind of input.

Contract: a surface is a function of (folder to work in, healthy templates, random numbers). It
spoils something, does what a user would do, checks that nobody else lost anything, and returns how
it was spoiled and what came of it; errors pass through it. `Wrong` is what must never happen.
"""

import contextlib
import io
import math
import pathlib
import random
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_args

import numpy as np
from ml_collections import ConfigDict

from experiments.fuzz import stand_ins, templates
from experiments.fuzz.spoil import ABSURD, copied, spoil
from ttp_jax.data import clips, penn_action, sets
from ttp_jax.files import personal
from ttp_jax.personalize import guard
from ttp_jax.results import rows
from ttp_jax.run import check_config, isolation, job
from ttp_jax.run.keys import KEYS


class Wrong(AssertionError):
    """A job that ended as if all was well, and something was not."""


Surface = Callable[[pathlib.Path, pathlib.Path, random.Random], str]


def make_templates(root: pathlib.Path) -> None:
    """Everything healthy, once."""
    templates.penn_action(root / 'penn_action')
    templates.bbc_pose(root / 'bbc_pose')
    templates.human36m(root / 'human36m')
    for codec in get_args(templates.Codec):
        templates.video(root / 'videos' / f'{codec}.{"avi" if codec == "mjpeg" else "mp4"}', codec)
    templates.boxes(root / 'boxes')
    run_job(stand_ins.config_of('penn_action', root=str(root / 'penn_action')), root / 'finished')
    _save_weights(root / 'weights' / 'person.npz')
    rules = pathlib.Path(guard.__file__).parent / 'rules' / 'drawn.json'
    copied(rules, root / 'rules' / 'rule.json')


def folder(name: str) -> Surface:
    """A data set's folder: up to three of its files."""

    def surface(where: pathlib.Path, healthy: pathlib.Path, rng: random.Random) -> str:
        root = copied(healthy / name, where / name)
        ids = [clip.id for clip in _test_clips(name, root)]
        paths = sorted(path for path in root.rglob('*') if path.is_file())
        shared = [path for path in paths if not owners(name, path, ids)]
        chosen = rng.sample(paths, rng.choice((1, 1, 2, 3)))
        if shared and rng.random() < 0.3:  # the one file with everybody's labels
            chosen = [rng.choice(shared)]
        told = [f'{path.relative_to(root)} {spoil(path, rng)}' for path in chosen]
        touched = [owners(name, path, ids) for path in chosen]
        others = {*ids} - set().union(*touched) if all(touched) else set()
        try:
            report = run_job(stand_ins.config_of(name, root=str(root)), where / 'run')
        except ValueError:
            if others:
                raise Wrong(f'{"; ".join(told)}: stopped the others too') from None
            raise
        unlabelled = set().union(*(owners(name, p, ids) for p in chosen if p.suffix == '.mat'))
        check_results(report, where / 'run', everyone={*ids} - unlabelled, healthy=others)
        return f'{"; ".join(told)}: {len(report["failed"])} failed'

    return surface


def owners(name: str, path: pathlib.Path, ids: Collection[str]) -> set[str]:
    """Whom a file of a data set's folder belongs to; nobody of what all share."""
    stem = path.stem if path.suffix == '.mat' else path.parent.name
    if name == 'human36m' and path.suffix == '.jpg':
        stem = f'S{int(stem[2:4])}'
    return {stem} & {*ids}


def _test_clips(name: str, root: pathlib.Path) -> list[clips.Clip]:
    return list(sets.load(name, training=False, root=str(root)).test)


def run_job(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
    """The whole job, with networks that see nothing."""
    with stand_ins.cheap(config.data.name), contextlib.redirect_stderr(io.StringIO()):
        return job.execute(config, workdir)


def check_results(
    report: Mapping[str, Any],
    workdir: pathlib.Path,
    *,
    everyone: Collection[str],
    healthy: Collection[str],
) -> None:
    """Raises Wrong unless everyone has a line, and those who are well are personalized."""
    found = {row['id']: row for row in rows.read(workdir / 'results.jsonl')}
    if missing := {*everyone} - found.keys() - {person['id'] for person in report['people']}:
        raise Wrong(f'{sorted(missing)} are in no results')
    for name, row in found.items():
        if row['status'] == 'failed' and ('\n' in row['reason'] or not row['reason']):
            raise Wrong(f'{name} failed because {row["reason"]!r}, expected one line')
        if row['status'] != 'failed' and name not in report['failed']:
            with np.load(workdir / row['predictions']) as file:
                if not np.isfinite(file['joints']).all():
                    raise Wrong(f'{name} is {row["status"]}, with joints that are not finite')
    for name in healthy:
        if found.get(name, {}).get('status') != 'personalized':
            raise Wrong(f'{name} was well and is {found.get(name)}')


def labels(where: pathlib.Path, healthy: pathlib.Path, rng: random.Random) -> str:
    """One label file, read by itself."""
    path = copied(healthy / 'penn_action' / 'labels' / '0001.mat', where / '0001.mat')
    told = spoil(path, rng)
    label = penn_action.read_labels(path)
    if not (np.isfinite(label.joints).all() and np.isfinite(label.boxes).all()):
        raise Wrong(f'0001.mat {told}: read as {label}')
    return f'0001.mat {told}: {len(label.joints)} frames'


def config(where: pathlib.Path, healthy: pathlib.Path, rng: random.Random) -> str:
    """Up to three keys of a config, each with a value of some kind."""
    found = stand_ins.config_of('penn_action', root=str(healthy / 'penn_action'))
    told = []
    for key in rng.sample(sorted(KEYS), rng.choice((1, 1, 2, 3))):
        value = _absurd(rng)
        told.append(f'{key}={value!r}'[:80])
        try:
            found.update_from_flattened_dict({key: value})
        except TypeError:  # which flags tell in one line, before there is a config
            return f'{"; ".join(told)}: of another type'
    check_config.check(found)
    math.isfinite(sum(map(float, found.train.drops)))  # what has passed can be used
    return f'{"; ".join(told)}: allowed'


def _absurd(rng: random.Random) -> Any:
    number = rng.choice([0, -1, 1, 3, 2**31, 2**63, 10**30, 1e-320, 0.5, 1e308, -1e308])
    other = rng.choice(
        [math.nan, math.inf, True, None, '', '0', 'nowhere', 'a\nb', '\x00', '((', ()]
    )
    kind = rng.randrange(4)
    if kind == 0:
        return tuple(rng.choice([number, other]) for _ in range(rng.randrange(4)))
    return number if kind == 1 else other if kind == 2 else rng.choice(ABSURD)


def video(where: pathlib.Path, healthy: pathlib.Path, rng: random.Random) -> str:
    """A video file, with whole boxes or none."""
    path = copied(rng.choice(sorted((healthy / 'videos').iterdir())), where / 'clip.mp4')
    told, boxes = spoil(path, rng), rng.choice(['', *_boxes(healthy)])
    return f'clip.mp4 {told}: {_film(path, boxes, where)}'


def boxes(where: pathlib.Path, healthy: pathlib.Path, rng: random.Random) -> str:
    """A file of boxes around people in a video."""
    source = pathlib.Path(rng.choice(_boxes(healthy)))
    path = copied(source, where / source.name)
    told = '; '.join(spoil(path, rng) for _ in range(rng.choice((1, 1, 2))) if path.is_file())
    return f'{path.name} {told}: {_film(healthy / "videos" / "mpeg4.mp4", str(path), where)}'


def _boxes(healthy: pathlib.Path) -> list[str]:
    return [str(path) for path in sorted((healthy / 'boxes').iterdir())]


def _film(path: pathlib.Path, boxes: str, where: pathlib.Path) -> str:
    how: dict[str, Any] = dict(
        input=str(path), boxes=boxes, cut_outs=str(where / 'cut'), frames=600, size=48
    )
    found = sets.load('video', training=False, **how).test
    people, refused = isolation.usable(found, gib=1, strict=False)
    for clip in people:
        if not np.isfinite(clip.boxes).all() or len(clip.boxes) != len(clip.frames):
            raise Wrong(f'{path.name}, {boxes}: boxes {clip.boxes}')
    return f'{len(people)} people, {len(refused)} failed'


def workdir(where: pathlib.Path, healthy: pathlib.Path, rng: random.Random) -> str:
    """A finished run's folder, where the job is begun again."""
    run = copied(healthy / 'finished', where / 'run')
    paths = [p for p in sorted(run.rglob('*')) if p.is_file() and 'tensorboard' not in p.parts]
    path = rng.choice(paths)
    others = {p: p.read_bytes() for p in paths if p.suffix == '.npz' and p != path}
    told = f'{path.relative_to(run)} {spoil(path, rng)}'
    try:
        root = str(healthy / 'penn_action')
        report = run_job(stand_ins.config_of('penn_action', root=root), run)
        check_results(report, run, everyone=[], healthy=['0001', '0002', '0003', '0004'])
    finally:
        changed = [
            p.name for p, data in others.items() if not p.is_file() or p.read_bytes() != data
        ]
        if changed:
            raise Wrong(f'{told}: {changed} were finished, and are other now')
    return f'{told}: a result'


def _bytes(path: pathlib.Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def weights(where: pathlib.Path, healthy: pathlib.Path, rng: random.Random) -> str:
    """A person's saved weights."""
    path = copied(healthy / 'weights' / 'person.npz', where / 'person.npz')
    told = spoil(path, rng)
    found = personal.load(path, _base(), digest='base')
    if any(np.shape(found[name]) != leaf.shape for name, leaf in _base().items()):
        raise Wrong(f'person.npz {told}: leaves of other shapes')
    return f'person.npz {told}: loaded'


def _base() -> dict[str, np.ndarray]:
    return {'encoder/conv/kernel': np.zeros((3, 3, 32, 32), np.float32)}


def _save_weights(path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    trained = {name: rng.normal(size=leaf.shape) for name, leaf in _base().items()}
    personal.save(path, trained, _base(), digest='base', form=personal.Form(rank=4))


def rule(where: pathlib.Path, healthy: pathlib.Path, rng: random.Random) -> str:
    """A guard's rules."""
    path = copied(healthy / 'rules' / 'rule.json', where / 'rule.json')
    told = spoil(path, rng)
    for each in guard.read(path).values():
        found = guard.estimate(np.zeros(len(guard.NAMES)), each)
        if not all(map(math.isfinite, found)):
            raise Wrong(f'rule.json {told}: estimates {found}')
    return f'rule.json {told}: read'


SURFACES: dict[str, tuple[Surface, int]] = {  # and how often each is taken
    'penn_action': (folder('penn_action'), 5),
    'bbc_pose': (folder('bbc_pose'), 2),
    'human36m': (folder('human36m'), 2),
    'labels': (labels, 2),
    'config': (config, 3),
    'video': (video, 2),
    'boxes': (boxes, 3),
    'workdir': (workdir, 2),
    'weights': (weights, 1),
    'rule': (rule, 1),
}
