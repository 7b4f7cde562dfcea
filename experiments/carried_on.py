"""Carried on from person to person, instead of starting afresh for each.

    python -m experiments.carried_on NETWORK --workdir=WORKDIR

NETWORK is a run's workdir. The first of its test people is adapted to from the network's
weights, everybody after them from what the one before has left; the optimiser starts afresh for
each. WORKDIR gets what a run leaves.
"""

import argparse
import pathlib
import time

import jax

from experiments import leave
from experiments.adaptation import finished_run
from ttp_jax.personalize import inner_loop, many_people
from ttp_jax.personalize.chunks import Chunk
from ttp_jax.run import adaptation, build


def carried(run: build.Run, schedule: str) -> list[many_people.Adapted]:
    """Everyone's results in order, each adapted from the weights of the one before."""
    runner = many_people.make_runner(run.method(schedule), devices=jax.local_devices()[:1])
    shared, results = run.shared, []
    for index in range(len(run.people)):
        result = one_after(run, index, shared, runner=runner)
        assert result.learned is not None
        shared = shared._replace(trainable=result.learned)
        results.append(result)
    return results


def one_after(
    run: build.Run, index: int, shared: inner_loop.Shared, *, runner: many_people.Runner
) -> many_people.Adapted:
    """One person's result from these weights, with the weights that it ends with."""
    clip = run.people[index]
    chunk = Chunk((index,), len(clip.frames), clip.frames[0].shape[:2])
    found = many_people.personalize_people(
        run.people, [chunk], runner=runner, shared=shared, seed=run.config.seed, keep_learned=True
    )
    return next(iter(found))[1]


def study() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('network', type=pathlib.Path)
    parser.add_argument('--workdir', type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    run = finished_run(arguments.network)
    phases, seconds = {'before': adaptation.in_order(dict(adaptation.predict(run)))}, {}
    for schedule in ('online', 'offline'):
        start = time.monotonic()
        phases[schedule] = carried(run, schedule)
        seconds[schedule] = time.monotonic() - start
    leave.write(
        arguments.workdir,
        arguments.network,
        run.people,
        phases,
        skeleton=run.data.skeleton,
        program='experiments.carried_on',
        seed=run.config.seed,
        seconds=seconds,
    )


if __name__ == '__main__':
    study()
