"""A queue of rows: what is missing is run, one after another; what fails is told and passed over.

Contract: `work` yields an `Outcome` per row as soon as it is known. It knows neither what a task
computes nor how: `run` runs one, `measure` makes records of a row's workdir. Stopped at any moment,
it goes on with what is not done: tasks with a report are not run again, others resume themselves.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from experiments import programs
from experiments.programs import ProgramFailedError
from experiments.tables import tasks
from experiments.tables.records import Record
from experiments.tables.rows import Network, Row
from experiments.tables.tasks import Task

DONE, FAILED, NEEDS = 'done', 'failed', 'needs'


class Plan(NamedTuple):
    """How rows become tasks."""

    network_tasks: Callable[[Network], list[Task]]
    row_task: Callable[[Row], Task]
    needs: Callable[[Row], str]


class Outcome(NamedTuple):
    """What became of a row: its new records, or why there are none."""

    row: Row
    status: str
    reason: str = ''
    records: tuple[Record, ...] = ()


def work(
    rows: Sequence[Row],
    *,
    plan: Plan,
    run: Callable[[Task], None],
    measure: Callable[[Row, Task, Task], Sequence[Record]],
) -> Iterator[Outcome]:
    """Runs what every row needs, and measures it.

    Args:
      rows: those that are missing, in order.
      plan: how rows become tasks.
      run: runs one task; raises ProgramFailedError.
      measure: (row, its task, its network's task) to records; raises ValueError.
    """
    failed: dict[Task, str] = {}
    for row in rows:
        if needed := plan.needs(row):
            yield Outcome(row, NEEDS, needed)
            continue
        task, network = plan.row_task(row), plan.network_tasks(row.network)
        reason = _first_failure([*network, task], run=run, failed=failed)
        if reason:
            yield Outcome(row, FAILED, reason)
            continue
        try:
            yield Outcome(row, DONE, records=tuple(measure(row, task, network[-1])))
        except (OSError, ValueError) as error:
            yield Outcome(row, FAILED, f'{task.workdir}: {error}')


def _first_failure(
    wanted: Sequence[Task], *, run: Callable[[Task], None], failed: dict[Task, str]
) -> str:
    """Runs tasks that are not done until one fails; why it did, or ''.

    failed: those of before, which are not tried again for the next row; added to.
    """
    for task in wanted:
        if not task.done and task not in failed:
            try:
                run(task)
            except ProgramFailedError as error:
                failed[task] = str(error)
        if task in failed:
            return failed[task]
    return ''


def run_program(task: Task) -> None:
    """Runs a task, its output in a log beside the workdir. Raises ProgramFailedError."""
    log = task.workdir.with_name(f'{task.workdir.name}.log')
    programs.run(task.command, makes=task.report, log=log)


def plan_of(**options) -> Plan:
    """The plan of `tasks`; options: size, inputs and folder."""
    return Plan(
        lambda network: tasks.network_tasks(network, **options),
        lambda row: tasks.row_task(row, **options),
        lambda row: tasks.needs(row, options['inputs']),
    )
