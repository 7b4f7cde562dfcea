"""The phases `before`, `online` and `offline`: everyone's predictions, kept one by one.

Contract: a person is done when their predictions are stored, and their line of `results.jsonl` is
written right after. Somebody for whom there are no predictions, not even the shared network's, has
failed in every phase; that stops nobody else.
"""

import socket
from collections.abc import Collection, Iterator, Mapping

from ttp_jax.data import clips
from ttp_jax.files import digest
from ttp_jax.personalize import many_people, partition, verdict
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.results import rows, views
from ttp_jax.run import interrupt, progress
from ttp_jax.run.build import Run
from ttp_jax.run.store import Store

Results = Iterator[tuple[int, Adapted]]  # of people by index, as soon as each is made


def before_phase(run: Run) -> list[Adapted]:
    """Everyone's predictions with the shared weights, in the order of people."""
    store = run.store('before')
    done = store.load()
    for index, result in predict(run, done=done):
        result = checked(result)
        if result.predicted and index in store.drawn:
            store.save_view(index, view(run, index, run.state.params))
        store.save(index, result)
        done[index] = result
    everyone = in_order(done)
    if run.hosts.count == 1 and not any(result.predicted for result in everyone):
        raise ValueError(
            f'clip {run.people[0].id}, like all others: before personalization, '
            f'{everyone[0].reason}'
        )
    return everyone


def checked(result: Adapted) -> Adapted:
    """A prediction with the shared weights, as failed where it is no good."""
    found = verdict.finite(result, result)
    failed = found.status == verdict.FAILED
    return result._replace(status=verdict.FAILED, reason=found.reason) if failed else result


def adapted_phase(run: Run, schedule: str, before: list[Adapted]) -> tuple[list[Adapted], int]:
    """(everyone's results under one schedule, how many frames they were made of just now).

    Args:
      before: everyone's predictions with the shared weights, which count where the run's judge
        says so.
    """
    store = run.store(schedule)
    done, made, judge = store.load(), 0, run.judge(schedule)
    run.ledger.begin(schedule, known_rows(run, store, before, done))
    base = digest.of_tree((run.state.params, run.state.batch_stats)) if store.weights else ''
    keep = {index: pictured_frame(run.people[index]) for index in store.drawn}
    for index, result in personalize(run, schedule, keep=keep, done=done):
        result = verdict.settled(before[index], result, judge=judge)
        keep_weights(run, store, index, result, base=base)
        store.save(index, result)
        run.ledger.add(row_of(run, store, index, before[index], result))
        done[index] = result._replace(trainable=None, learned=None)
        made += 0 if result.mendable else len(run.people[index].frames)
    return in_order(done), made


def keep_weights(run: Run, store: Store, index: int, result: Adapted, *, base: str) -> None:
    """Stores what a person's weights saw, of those who are drawn, and the weights if wanted.

    base: the digest of the shared network.
    """
    shared = run.shared
    if result.trainable is not None:
        params = partition.merge(result.trainable, shared.frozen)
        store.save_view(index, view(run, index, params))
    if result.learned is not None and result.status == verdict.PERSONALIZED:
        store.save_weights(index, result.learned, shared.trainable, digest=base)


def row_of(run: Run, store: Store, index: int, before: Adapted, after: Adapted) -> rows.Row:
    """A person's line in `results.jsonl`."""
    return rows.row(
        run.people[index],
        store.phase,
        before,
        after,
        skeleton=run.data.skeleton,
        gain_error=run.gain_error(store.phase),
        host=socket.gethostname(),
        predictions=store.path('predictions', index).relative_to(run.workdir).as_posix(),
    )


def known_rows(
    run: Run, store: Store, before: list[Adapted], done: Mapping[int, Adapted]
) -> list[rows.Row]:
    """The lines of those who are done already, and of those whose clips cannot be used."""
    lengths = {clip.id: len(clip.frames) for clip in run.data.test}
    left_out = [
        rows.refused(name, store.phase, reason, frames=lengths[name], host=socket.gethostname())
        for name, reason in run.refused.items()
    ]
    return left_out + [row_of(run, store, i, before[i], after) for i, after in done.items()]


def predict(run: Run, *, done: Collection[int] = ()) -> Results:
    """(index, predictions) of everyone but `done` with the shared weights."""
    found = many_people.predict_people(
        run.people,
        run.placement.chunks(done),
        runner=run.runner('offline'),
        params=run.state.params,
        batch_stats=run.state.batch_stats,
    )
    left = sum(len(clip.frames) for i, clip in enumerate(run.people) if i not in done)
    with progress.bar('before', total=left, unit='frame') as bar:
        for index, result in found:
            bar.update(len(run.people[index].frames))
            yield index, result


def personalize(
    run: Run, schedule: str, *, keep: Mapping[int, int] | None = None, done: Collection[int] = ()
) -> Results:
    """(index, result) of everyone but `done`, adapted under one schedule.

    Args:
      keep: by index, the frame at whose prediction somebody's weights are wanted.
    """
    frames = [len(clip.frames) for clip in run.people]
    total, initial = sum(frames), sum(frames[i] for i in done)
    bar_of = progress.bar(schedule, total=total, initial=initial, unit='frame')
    with interrupt.heeded() as stop, bar_of as bar:

        def on_segment(loss: float, frames: int) -> None:
            bar.set_postfix(loss=f'{loss:.3f}', refresh=False)
            bar.update(frames)
            if stop.asked:
                raise interrupt.Stopped(
                    f'stopped while personalizing {schedule}, as {stop.name} asked; everyone '
                    'who was done is kept, and the same command goes on with the others'
                )

        yield from many_people.personalize_people(
            run.people,
            run.placement.chunks(done),
            runner=run.runner(schedule),
            shared=run.shared,
            seed=run.config.seed,
            keep=keep,
            keep_learned=bool(run.config.personalize.save_weights),
            on_segment=on_segment,
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
