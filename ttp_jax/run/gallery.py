"""The pictures of a run: which are made, of whom, and from what."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from ttp_jax.data import clips
from ttp_jax.personalize import many_people, partition
from ttp_jax.results import pictures, views
from ttp_jax.run.build import Run, split

Joints = Mapping[str, Sequence[np.ndarray]]  # phase to everyone's [T, J, 2], image pixels
Adapted = Mapping[str, Sequence[many_people.Adapted]]  # schedule to everyone's results


def draw_pictures(run: Run, summary: dict, joints: Joints, adapted: Adapted) -> list[str]:
    """The contact sheet, the curves and what was seen before and after; returns file names.

    joints: as they were scored, of every phase.
    """
    draw_overview(run, summary, joints, adapted)
    names, compared = ['people.png', 'losses.png', 'gains.png'], []
    for index in range(min(run.config.pictures, len(run.people))):
        clip, seen = run.people[index], see_person(run, index, adapted)
        predicted = predictions(run, index, joints)
        names.append(draw_person(run, clip, seen, predicted))
        if adapted:
            compared.append(before_and_after(seen, predicted, summary['people'][index]))
    if compared:
        pictures.hero(run.workdir / 'before_after.png', compared, skeleton=run.data.skeleton)
        names.insert(0, 'before_after.png')
    return names


def draw_overview(run: Run, summary: dict, joints: Joints, adapted: Adapted) -> None:
    """The pictures of everyone: who they are, how losses fell, who gained."""
    rows = [json.loads(line) for line in (run.workdir / 'metrics.jsonl').read_text().splitlines()]
    losses = {name: [a.losses for a in results] for name, results in adapted.items()}
    pictures.contact_sheet(
        run.workdir / 'people.png',
        run.people,
        skeleton=run.data.skeleton,
        predictions=list(joints.values())[-1],
    )
    pictures.loss_curves(run.workdir / 'losses.png', rows, losses)
    pictures.gain_chart(run.workdir / 'gains.png', summary)


def middle(clip: clips.Clip) -> int:
    """The frame that stands for a clip in pictures."""
    return len(clip.frames) // 2


def see_person(run: Run, index: int, adapted: Adapted) -> dict[str, views.View]:
    """One test person's middle frame, as seen before and after each schedule."""
    clip, (_, frozen) = run.people[index], split(run)
    params = {'before': run.state.params}
    for name, results in adapted.items():
        params[name] = partition.merge(results[index].trainable, frozen)
    return {
        name: views.view(
            p,
            run.state.batch_stats,
            clip,
            target=middle(clip),
            source=0,
            model=run.model,
            spec=run.spec,
        )
        for name, p in params.items()
    }


def predictions(run: Run, index: int, joints: Joints) -> dict[str, views.Prediction]:
    """What was predicted and scored in one test person's middle frame, by phase."""
    clip = run.people[index]
    frame = middle(clip)
    return {
        phase: views.prediction(
            clip, frame, found[index][frame], skeleton=run.data.skeleton, spec=run.spec
        )
        for phase, found in joints.items()
    }


def draw_person(
    run: Run, clip: clips.Clip, seen: dict[str, views.View], predicted: dict[str, views.Prediction]
) -> str:
    """The picture of one test person; returns its file's name."""
    name = f'person_{clip.id}.png'
    truth = views.truth(clip, middle(clip), spec=run.spec)
    pictures.person_picture(
        run.workdir / name, clip.id, seen, predicted, truth=truth, skeleton=run.data.skeleton
    )
    return name


def before_and_after(
    seen: dict[str, views.View], predicted: dict[str, views.Prediction], scores: dict
) -> pictures.Pair:
    """The same frame before and after the last schedule, with the clip's scores."""
    last = list(seen)[-1]
    return pictures.Pair(
        scores['id'],
        seen['before'].target,
        predicted['before'],
        predicted[last],
        scores['before'],
        scores[last],
    )
