"""The pictures of a run: which are made, of whom, and from what.

Contract: pictures show what was scored, stored predictions, and what the network saw when it made
them, stored too. `results` is everyone's by phase, 'before' first.
"""

import json
from collections.abc import Mapping, Sequence

from ttp_jax.personalize.many_people import Adapted
from ttp_jax.results import pictures, views
from ttp_jax.run.adaptation import pictured_frame
from ttp_jax.run.subject import Subject

Results = Mapping[str, Sequence[Adapted]]
Seen = Mapping[str, views.View]  # of one person, by phase


def draw_pictures(run: Subject, summary: Mapping, results: Results) -> list[str]:
    """The contact sheet, the curves and what was seen before and after; returns file names."""
    draw_overview(run, summary, results)
    names, compared = ['people.png', 'losses.png', 'gains.png'], []
    for index, seen in seen_people(run, results).items():
        predicted = predictions(run, index, results)
        names.append(draw_person(run, index, seen, predicted))
        if len(results) > 1:
            compared.append(before_and_after(seen, predicted, summary['people'][index]))
    if compared:
        pictures.hero(run.workdir / 'before_after.png', compared, skeleton=run.data.skeleton)
        names.insert(0, 'before_after.png')
    return names


def draw_overview(run: Subject, summary: Mapping, results: Results) -> None:
    """The pictures of everyone: who they are, how losses fell, who gained."""
    log, (*_, last) = run.workdir / 'metrics.jsonl', results.values()
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    losses = {name: [a.losses for a in each] for name, each in results.items() if name != 'before'}
    seen = [pair for pair in zip(run.people, last, strict=True) if pair[1].predicted]
    pictures.contact_sheet(
        run.workdir / 'people.png',
        [clip for clip, _ in seen],
        skeleton=run.data.skeleton,
        predictions=[adapted.joints for _, adapted in seen],
    )
    pictures.loss_curves(run.workdir / 'losses.png', rows, losses)
    pictures.gain_chart(run.workdir / 'gains.png', summary)


def seen_people(run: Subject, results: Results) -> dict[int, dict[str, views.View]]:
    """By index of those who are drawn, what the network saw of them in each phase."""
    stores = {phase: run.store(phase) for phase in results}
    everyone = {
        index: {
            phase: view
            for phase, store in stores.items()
            if (view := store.view(index)) is not None
        }
        for index in stores['before'].drawn
    }
    return {index: seen for index, seen in everyone.items() if len(seen) == len(results)}


def predictions(run: Subject, index: int, results: Results) -> dict[str, views.Prediction]:
    """What was predicted and scored in a person's pictured frame, by phase."""
    clip = run.people[index]
    frame = pictured_frame(clip)
    return {
        phase: views.prediction(
            clip, frame, people[index].joints[frame], skeleton=run.data.skeleton, spec=run.spec
        )
        for phase, people in results.items()
    }


def draw_person(
    run: Subject, index: int, seen: Seen, predicted: Mapping[str, views.Prediction]
) -> str:
    """The picture of one test person; returns its file's name."""
    clip = run.people[index]
    name = f'person_{clip.id}.png'
    truth = views.truth(clip, pictured_frame(clip), spec=run.spec)
    pictures.person_picture(
        run.workdir / name, clip.id, seen, predicted, truth=truth, skeleton=run.data.skeleton
    )
    return name


def before_and_after(
    seen: Seen, predicted: Mapping[str, views.Prediction], scores: Mapping
) -> pictures.Pair:
    """The same frame before and after the last schedule, with the clip's scores."""
    *_, last = seen
    return pictures.Pair(
        scores['id'],
        seen['before'].target,
        predicted['before'],
        predicted[last],
        scores['before'],
        scores[last],
    )
