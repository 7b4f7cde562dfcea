"""The pictures of a run: which are made, of whom, and from what."""

import json

import numpy as np

from ttp_jax.data import clips
from ttp_jax.personalize import many_people, partition
from ttp_jax.results import report, views
from ttp_jax.run.build import Run, split


def draw_pictures(
    run: Run, summary: dict, adapted: dict[str, list[many_people.Adapted]]
) -> list[str]:
    """The contact sheet, the curves and what was seen before and after; returns file names."""
    rows = [json.loads(line) for line in (run.workdir / 'metrics.jsonl').read_text().splitlines()]
    curves = {name: [a.losses for a in results] for name, results in adapted.items()}
    report.contact_sheet(run.workdir / 'people.png', run.people, skeleton=run.data.skeleton)
    report.loss_curves(run.workdir / 'losses.png', rows, curves)
    report.gain_chart(run.workdir / 'gains.png', summary)
    names, compared = ['people.png', 'losses.png', 'gains.png'], []
    for index in range(min(run.config.pictures, len(run.people))):
        clip, seen = run.people[index], see_person(run, index, adapted)
        truth = views.truth(clip, middle(clip), spec=run.spec)
        names.append(draw_person(run, clip, seen, truth))
        scores = summary['people'][index]
        if adapted and scores['before'] is not None:
            compared.append(before_and_after(clip, seen, truth, scores))
    if compared:
        report.hero(run.workdir / 'before_after.png', compared, skeleton=run.data.skeleton)
        names.insert(0, 'before_after.png')
    return names


def middle(clip: clips.Clip) -> int:
    """The frame that stands for a clip in pictures."""
    return len(clip.frames) // 2


def see_person(
    run: Run, index: int, adapted: dict[str, list[many_people.Adapted]]
) -> dict[str, report.View]:
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


def draw_person(run: Run, clip: clips.Clip, seen: dict[str, report.View], truth: np.ndarray) -> str:
    """The picture of one test person; returns its file's name."""
    name = f'person_{clip.id}.png'
    report.person_picture(
        run.workdir / name,
        clip.id,
        seen,
        truth,
        clip.labels.visibility[middle(clip)],
        skeleton=run.data.skeleton,
    )
    return name


def before_and_after(
    clip: clips.Clip, seen: dict[str, report.View], truth: np.ndarray, scores: dict
) -> report.Pair:
    """The same frame before and after the last schedule, with the clip's scores."""
    last = list(seen)[-1]
    return report.Pair(
        clip.id,
        seen['before'].target,
        seen['before'].joints,
        seen[last].joints,
        scores['before'],
        scores[last],
        truth,
        clip.labels.visibility[middle(clip)],
    )
