"""When to stop: scores and held-out reconstruction at every moment of a person's adaptation.

    python -m experiments.along_the_way WORKDIR [--people=12] [--steps='epochs=8,warmup=64']

WORKDIR is a finished run. Every fourth frame of each test person is kept from the offline schedule,
which learns from the others; what has been learned is looked at many times along the way. Printed
for each moment, and written to WORKDIR/along_the_way.json: mPCK of all frames, and the error of
rebuilding the kept frames, as a share of that of before. Then what would come of different ways to
end: at the last moment, where a person's kept frames are rebuilt best, with the mean of moments'
weights, part of the way from the shared weights, and, as nobody could, at each person's best.
`--steps` changes keys of `config.personalize.offline`.
"""

import argparse
import ast
import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.adaptation import finished_run
from ttp_jax import geometry
from ttp_jax.data import clips, pairs
from ttp_jax.personalize import chunks, inner_loop, many_people, partition
from ttp_jax.results import metrics
from ttp_jax.run import build

KEEP = 4  # every so many-th frame is not learned from
SEGMENT = 3  # frames between two looks
BACK = (0.25, 0.5, 0.75)  # shares of the way from the shared weights to the last


class Path(NamedTuple):
    """One person's way: right joints in percent and kept frames' error, `[1 + moments]` each.

    ends: percent by name of another way to end.
    """

    scores: np.ndarray
    errors: np.ndarray
    ends: dict[str, float]


def kept(length: int) -> np.ndarray:
    """Which of a clip's frames are kept from learning `[length]`."""
    return np.arange(length) % KEEP == KEEP - 1


def moments(run: build.Run, clip: clips.Clip, *, runner: many_people.Runner) -> list:
    """The person's weights after each segment of the frames that are learned from."""
    learned = np.flatnonzero(~kept(len(clip.frames)))
    frames = clips.stack_clip(clip)[learned]
    seen = dataclasses.replace(clip, frames=frames, boxes=clip.boxes[learned], labels=None)
    length = -(-len(learned) // SEGMENT) * SEGMENT
    batch = chunks.stack_people([seen], frames=length, size=frames.shape[1:3])
    found: list[partition.Flat] = []

    def watch(progress, segment):
        del segment
        found.append({k: np.array(leaf[0]) for k, leaf in progress.state.trainable.items()})

    inner_loop.personalize_person(
        runner.everywhere(run.shared),
        runner.spread(batch),
        runner.spread(many_people.person_keys([clip], run.config.seed)),
        loop=runner.loop,
        segments=chunks.segments(len(learned), SEGMENT),
        watch=watch,
    )
    return found


def looking(run: build.Run) -> Callable:
    """Compiled `(trainable, person, kept, sources) -> (joints [T, J, 2], error [])`."""
    shared, objective = run.shared, run.adapts_by
    assert objective is not None
    crop = functools.partial(pairs.crop_pair, augmentation=geometry.Augmentation(), spec=run.spec)
    predict = functools.partial(
        inner_loop.predict_frames, batch_stats=shared.batch_stats, model=run.model, spec=run.spec
    )
    rebuild = functools.partial(
        inner_loop.self_supervised_loss,
        model=run.model,
        perceptual=run.perceptual,
        objective=objective,
        mirror=run.data.skeleton.mirror,
    )

    @jax.jit
    def look(trainable, person: inner_loop.Person, target: jax.Array, source: jax.Array):
        joints = predict(
            partition.merge(trainable, shared.frozen),
            person=person,
            frames=jnp.arange(person.frames.shape[0]),
        ).joints
        images = jax.vmap(
            lambda t, s: crop(
                person.frames[t], person.frames[s], person.boxes[t], valid=person.size
            )[:2]
        )(target, source)
        return joints, rebuild(
            trainable,
            shared.frozen,
            shared.batch_stats,
            shared.loss_means,
            inner_loop.Crops(*images),
            jax.random.key(0),
        )[0]

    return look


def path_of(run: build.Run, clip: clips.Clip, *, runner, look: Callable) -> Path:
    """How one person fares, moment by moment and by how it ends."""
    count, held = len(clip.frames), np.flatnonzero(kept(len(clip.frames)))
    frames = clips.stack_clip(clip)
    person = inner_loop.Person(frames, frames.shape[1:3], clip.boxes, count)
    labels = clip.labels
    assert labels is not None

    def seen(trainable) -> tuple[float, float]:
        joints, error = look(trainable, person, held, (held + 1 + count // 2) % count)
        score = metrics.people_pck(
            [np.asarray(joints)], [labels.joints], [labels.visibility], skeleton=run.data.skeleton
        )
        return float(score[0]), float(error)

    shared = {path: np.asarray(leaf) for path, leaf in run.shared.trainable.items()}
    ways = moments(run, clip, runner=runner)
    scores, errors = np.transpose([seen(weights) for weights in (shared, *ways)])
    ends = {f'{share:g} of the way': between(shared, ways[-1], share) for share in BACK}
    ends |= {
        'mean of moments': mean_of(ways),
        'mean of the later half': mean_of(ways[len(ways) // 2 :]),
    }
    return Path(scores, errors, {name: seen(weights)[0] for name, weights in ends.items()})


def between(a: partition.Flat, b: partition.Flat, share: float) -> partition.Flat:
    """Weights a share of the way from a to b."""
    return {path: a[path] + np.float32(share) * (b[path] - a[path]) for path in a}


def mean_of(weights: Sequence[partition.Flat]) -> partition.Flat:
    """Their mean, leaf by leaf."""
    return {path: np.mean([each[path] for each in weights], axis=0) for path in weights[0]}


def endings(paths: Sequence[Path]) -> dict[str, list[float]]:
    """What each way to end makes of each person, percent."""
    found = {
        'before': [path.scores[0] for path in paths],
        'at the last moment': [path.scores[-1] for path in paths],
        'where kept frames are rebuilt best': [
            path.scores[np.nanargmin(path.errors)] for path in paths
        ],
        "at each person's best": [path.scores.max() for path in paths],
    }
    return found | {name: [path.ends[name] for path in paths] for name in paths[0].ends}


def table(paths: Sequence[Path]) -> str:
    """Moments first, ways to end below."""
    lines = [f'{"moment":>36} {"mPCK":>6} {"error":>6}']
    for moment in range(len(paths[0].scores)):
        score = np.mean([path.scores[moment] for path in paths])
        error = np.mean([path.errors[moment] / path.errors[0] for path in paths])
        lines.append(f'{moment:>36} {score:6.2f} {error:6.3f}')
    found = endings(paths)
    before = np.array(found['before'])
    for name, scores in found.items():
        gains = np.array(scores) - before
        better, worse = (gains > 0).sum(), (gains < 0).sum()
        lines.append(
            f'{name:>36} {np.mean(scores):6.2f} {gains.mean():+6.2f}  better {better:3}'
            f'  worse {worse:3}'
        )
    return '\n'.join(lines)


def changes(text: str) -> dict[str, Any]:
    """'epochs=8,warmup=64' as keys and values. Raises ValueError for what is none."""
    found = {}
    for part in filter(None, text.split(',')):
        key, equals, value = part.partition('=')
        if not equals:
            raise ValueError(f'--steps: {part!r}, expected key=value')
        found[key.strip()] = ast.literal_eval(value)
    return found


def study() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('workdir', type=pathlib.Path)
    parser.add_argument('--people', type=int, default=12)
    parser.add_argument('--steps', type=changes, default={})
    arguments = parser.parse_args()
    run = finished_run(arguments.workdir, people=arguments.people)
    run.config.personalize.offline.update(arguments.steps)
    runner = many_people.make_runner(
        run.method('offline'), devices=jax.local_devices()[:1], segment=SEGMENT
    )
    look = looking(run)
    paths = [path_of(run, clip, runner=runner, look=look) for clip in run.people]
    print(table(paths), flush=True)
    record = {
        'steps': arguments.steps,
        'people': {
            clip.id: {'scores': path.scores.tolist(), 'errors': path.errors.tolist()} | path.ends
            for clip, path in zip(run.people, paths, strict=True)
        },
    }
    (arguments.workdir / 'along_the_way.json').write_text(json.dumps(record, indent=1) + '\n')


if __name__ == '__main__':
    study()
