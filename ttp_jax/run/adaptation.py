"""The phases `before`, `online` and `offline`: everyone's predictions, kept as soon as they are made."""

from collections.abc import Collection, Iterable, Iterator

from ttp_jax.files import predictions
from ttp_jax.personalize import many_people
from ttp_jax.run import progress
from ttp_jax.run.build import Run, people_together, runner, split

Results = Iterator[tuple[int, many_people.Adapted]]  # of people by index, as soon as each is made


def before_phase(run: Run) -> Results:
    """(index, predictions) of everyone with the shared weights."""
    count, devices = people_together(run)
    return many_people.predict_people(
        run.people,
        runner=runner(run, 'online', count, devices),
        params=run.state.params,
        batch_stats=run.state.batch_stats,
        people_per_chunk=count,
    )


def personalize_phase(
    run: Run, schedule: str, *, keep: Collection[int] = (), done: Collection[int] = ()
) -> Results:
    """(index, result) of everyone but `done`, adapted under one schedule; `keep` with their weights."""
    left = [i for i in range(len(run.people)) if i not in done]
    count, devices = people_together(run)
    trainable, frozen = split(run)
    frames = [len(clip.frames) for clip in run.people]
    with progress.bar(
        schedule, total=sum(frames), initial=sum(frames[i] for i in done), unit='frame'
    ) as bar:

        def on_segment(loss, frames):
            bar.set_postfix(loss=f'{float(loss):.3f}', refresh=False)
            bar.update(frames)

        for index, adapted in many_people.personalize_people(
            [run.people[i] for i in left],
            runner=runner(run, schedule, count, devices),
            trainable=trainable,
            frozen=frozen,
            batch_stats=run.state.batch_stats,
            loss_means=run.state.loss_means,
            seed=run.config.seed,
            people_per_chunk=count,
            keep=[left.index(i) for i in keep],
            on_segment=on_segment,
        ):
            yield left[index], adapted


def saved(run: Run, phase: str, results: Results) -> Results:
    """The same results, each in its file as soon as it is made."""
    for index, adapted in results:
        predictions.save(
            run.workdir / 'predictions' / phase,
            run.people[index],
            adapted,
            names=run.data.skeleton.joints,
        )
        yield index, adapted


def in_order(results: Iterable[tuple[int, many_people.Adapted]]) -> list[many_people.Adapted]:
    """Results without their indices, by index."""
    return [adapted for _, adapted in sorted(results, key=lambda result: result[0])]


def earlier_results(
    run: Run, phase: str, *, but: Collection[int]
) -> dict[int, many_people.Adapted]:
    """What a run of this workdir that was stopped has left; not of those whose weights are wanted."""
    found = predictions.load(run.workdir / 'predictions' / phase, run.people)
    return {index: adapted for index, adapted in found.items() if index not in but}
