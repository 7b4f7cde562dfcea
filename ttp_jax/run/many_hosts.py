"""The whole job by several hosts: people shared out, nobody waiting for anybody.

Contract: hosts meet in the workdir alone. Each works for its own share, then for those that nobody
works for (`shares`), and whoever finds everyone done writes the report (`collect`). A host that
dies stops no other one; the same command, on any machine, goes on with what it has left.
"""

import contextlib
import pathlib
import time
from collections.abc import Mapping, Sequence

import jax
from ml_collections import ConfigDict

from ttp_jax.files import checkpoint
from ttp_jax.run import check_config, collect, job, lock, shares
from ttp_jax.run.build import Run
from ttp_jax.run.hosts import Hosts, connected
from ttp_jax.run.training import train_phase


def execute(config: ConfigDict, workdir: pathlib.Path, hosts: Hosts) -> dict | None:
    """This host's part, and the report if everyone is done by now; else None.

    Raises ValueError for what it cannot begin with, such as another job of the same host in the
    same workdir; with `config.strict` also where somebody of its people has failed.
    """
    check_config.check(config, devices=hosts.count)
    with contextlib.ExitStack() as held:
        held.enter_context(lock.held(workdir, shared=True))
        own = hold_own(held, workdir, hosts)
        untrained = (checkpoint.newest_step(workdir / 'checkpoints') or 0) < config.train.steps
        run = (
            trained(config, workdir, hosts)
            if untrained
            else job.begin(config, workdir, hosts=hosts)
        )
        people = shares.shared_out(run.data.test, hosts.count)
        marks = {phase: run.mark(phase) for phase in phases(config)}
        if own:
            work(run, people[hosts.index], hosts.index, marks)
        for share in [*range(hosts.index + 1, hosts.count), *range(hosts.index)]:
            take_up(run, people[share], share, marks)
        found = collect.finished(config, workdir, run.data, marks)
        return collect.report(found) if isinstance(found, collect.Finished) else None


def trained(config: ConfigDict, workdir: pathlib.Path, hosts: Hosts) -> Run:
    """The run after joint training, which takes all hosts; they are on their own again then."""
    with connected(hosts):
        run = job.begin(config, workdir, hosts=hosts)
        with run.phase('train'):
            train_phase(run)
        run.state = jax.device_get(run.state)  # it was on the devices of all
        run.checkpoints.close()
    return run


def phases(config: ConfigDict) -> list[str]:
    """All phases that make predictions, in order."""
    return ['before', *config.personalize.schedules]


def hold_own(held: contextlib.ExitStack, workdir: pathlib.Path, hosts: Hosts) -> bool:
    """Takes the lock of the host's own share; False where another host works for it already.

    Raises lock.Taken where a job of the same host holds it.
    """
    try:
        held.enter_context(lock.held(shares.folder(workdir, hosts.index)))
    except lock.Taken as taken:
        if shares.IN_PLACE in taken.holder:
            return False
        raise
    return True


def take_up(run: Run, people: Sequence[int], share: int, marks: Mapping[str, str]) -> None:
    """Works for a share that is not done, if nobody else does; marks: the run's, by phase."""
    folder = shares.folder(run.workdir, share)
    note = f', {shares.IN_PLACE} host {share}'
    with contextlib.suppress(lock.Taken), lock.held(folder, note=note):
        if not is_done(run, people, folder, marks):
            work(run, people, share, marks)


def is_done(
    run: Run, people: Sequence[int], folder: pathlib.Path, marks: Mapping[str, str]
) -> bool:
    """Whether a share is done by its own word: of these people, in every phase, by this run."""
    done = shares.read(folder)
    expected = shares.digest_of([run.data.test[index] for index in people])
    return done is not None and (done.people, done.marks) == (expected, marks)


def work(run: Run, people: Sequence[int], share: int, marks: Mapping[str, str]) -> None:
    """Works for a share whose lock is held, and says that it is done."""
    if not people:
        return
    folder = shares.folder(run.workdir, share)
    part = run.of_share(people, folder)
    _, made = job.for_everyone(part) if part.people else ([], {})
    part.ledger.close()
    if is_done(run, people, folder, marks) and not any(made.values()):
        return  # by an earlier start, which took the time
    done = shares.Done(
        shares.digest_of([run.data.test[index] for index in people]),
        marks,
        part.refused,
        part.seconds,
        made,
        part.placement.record() if part.people else {},
        time.time(),
    )
    shares.write(folder, done)
