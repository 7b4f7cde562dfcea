"""The phases `before`, `online` and `offline`: everyone's predictions, kept one by one."""

from collections.abc import Collection, Iterator, Mapping

from ttp_jax.data import clips
from ttp_jax.files import digest
from ttp_jax.personalize import many_people, partition, verdict
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.results import views
from ttp_jax.run import marks, progress, resume
from ttp_jax.run.build import Run
from ttp_jax.run.store import Store

Results = Iterator[tuple[int, Adapted]]  # of people by index, as soon as each is made


def before_phase(run: Run) -> list[Adapted]:
    """Everyone's predictions with the shared weights, in the order of people."""
    store = store_of(run, 'before')
    done = store.load()
    for index, result in predict(run, done=done):
        clip = run.people[index]
        if (reason := verdict.finite(result, result).reason) != '':
            raise ValueError(f'clip {clip.id}: before personalization, {reason}')
        if index in store.drawn:
            store.save_view(index, view(run, index, run.state.params))
        store.save(index, result)
        done[index] = result
    return in_order(done)


def adapted_phase(
    run: Run, schedule: str, before: list[Adapted], *, judge: verdict.Judge = verdict.finite
) -> tuple[list[Adapted], int]:
    """(everyone's results under one schedule, how many frames they were made of just now).

    Args:
      before: everyone's predictions with the shared weights, which count where `judge` says so.
    """
    store, frozen = store_of(run, schedule), run.shared.frozen
    done, made = store.load(), 0
    keep = {index: pictured_frame(run.people[index]) for index in store.drawn}
    for index, result in personalize(run, schedule, keep=keep, done=done):
        result = verdict.settled(before[index], result, judge=judge)
        if result.trainable is not None:
            params = partition.merge(result.trainable, frozen)
            store.save_view(index, view(run, index, params))
        store.save(index, result)
        done[index] = result._replace(trainable=None)
        made += len(run.people[index].frames)
    return in_order(done), made


def predict(run: Run, *, done: Collection[int] = ()) -> Results:
    """(index, predictions) of everyone but `done` with the shared weights."""
    return many_people.predict_people(
        run.people,
        run.placement.chunks(done),
        runner=run.runner('online'),
        params=run.state.params,
        batch_stats=run.state.batch_stats,
    )


def personalize(
    run: Run, schedule: str, *, keep: Mapping[int, int] | None = None, done: Collection[int] = ()
) -> Results:
    """(index, result) of everyone but `done`, adapted under one schedule.

    Args:
      keep: by index, the frame at whose prediction somebody's weights are wanted.
    """
    frames = [len(clip.frames) for clip in run.people]
    with progress.bar(
        schedule, total=sum(frames), initial=sum(frames[i] for i in done), unit='frame'
    ) as bar:

        def on_segment(loss: float, frames: int) -> None:
            bar.set_postfix(loss=f'{loss:.3f}', refresh=False)
            bar.update(frames)

        yield from many_people.personalize_people(
            run.people,
            run.placement.chunks(done),
            runner=run.runner(schedule),
            shared=run.shared,
            seed=run.config.seed,
            keep=keep,
            on_segment=on_segment,
        )


def store_of(run: Run, phase: str) -> Store:
    """Where the results of a phase are, with the marks that they have now."""
    of_run = marks.together(
        phase,
        marks.of_code(),
        marks.of_settings(resume.settings_of(run.config, phase)),
        digest.of_tree((run.state.params, run.state.batch_stats, run.state.loss_means)),
    )
    return Store(
        run.workdir,
        phase,
        [clip.id for clip in run.people],
        [marks.together(of_run, of_clip) for of_clip in run.clip_marks],
        run.data.skeleton.joints,
        range(min(run.config.pictures, len(run.people))),
    )


def pictured_frame(clip: clips.Clip, segment: int = many_people.SEGMENT) -> int:
    """The frame that stands for a clip in pictures: the last of the segment that holds the middle.

    Between segments the weights of that moment are there to be looked through.
    """
    count = len(clip.frames)
    return min(count, (count // 2 // segment + 1) * segment) - 1


def view(run: Run, index: int, params) -> views.View:
    """What the network of these parameters sees in a person's pictured frame."""
    clip = run.people[index]
    return views.view(
        params,
        run.state.batch_stats,
        clip,
        target=pictured_frame(clip),
        source=0,
        model=run.model,
        spec=run.spec,
    )


def in_order(results: Mapping[int, Adapted]) -> list[Adapted]:
    """Results by index, without their indices."""
    return [results[index] for index in sorted(results)]
