"""Makes every row of the tables that is missing, and writes RESULTS.md of all that are there.

    python -m experiments.tables --list --small       # what is missing, and how long it will take
    python -m experiments.tables --small              # two cores; stopped, it goes on
    python -m experiments.tables --only='main/*/drawn/*' --motion=LABELS --real=FOLDER
    python -m experiments.tables --write              # RESULTS.md alone, from what is there

Rows are called table/system/data/seed, and chosen by patterns with `*`, several with a `;` between
them. Records are kept in experiments/results, after every row; runs and trained networks in
runs/tables. Without --small, rows are sized for a GPU. Several may run side by side, such as one
for each core (`taskset -c 0 ...`), on rows that share no network: of other seeds or data sets.
"""

import argparse
import fnmatch
import functools
import pathlib
from collections.abc import Sequence

from experiments.tables import document, estimate, figures, measure, queue, records, rows, tasks
from experiments.tables.queue import DONE
from experiments.tables.rows import Row

HERE = pathlib.Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 1 if a row failed."""
    options = _parser().parse_args(argv)
    size = 'small' if options.small else 'full'
    inputs = tasks.Inputs(options.motion, options.real, options.squeezenet)
    plan = queue.plan_of(size=size, inputs=inputs, folder=options.runs)
    there = records.load(options.results)
    chosen = chosen_rows(rows.all_rows(), options.only)
    missing = records.missing(chosen, there, size=size)
    if options.list:
        print_missing(missing, there, plan=plan, size=size)
        return 0
    failed = 0
    if not options.write:
        failed = make(missing, plan=plan, size=size, folder=options.results)
        there = records.load(options.results)
    left = records.missing(rows.all_rows(), there, size=size)
    document.write(options.document, there, missing=left, folder=options.results)
    print(f'{options.document}: {len(there)} records, {len(left)} rows missing')
    return int(failed > 0)


def chosen_rows(found: Sequence[Row], patterns: str) -> list[Row]:
    """The rows that match one of the patterns. Raises SystemExit for one that matches none."""
    chosen: set[Row] = set()
    for pattern in patterns.split(';'):
        matching = {row for row in found if fnmatch.fnmatchcase(row.title, pattern)}
        if not matching:
            raise SystemExit(f'error: --only: no row matches {pattern!r}; such as {found[0].title}')
        chosen |= matching
    return [row for row in found if row in chosen]


def make(missing: Sequence[Row], *, plan: queue.Plan, size: str, folder: pathlib.Path) -> int:
    """Works the missing rows off, keeping records after each; how many failed."""
    failed = 0
    measured = functools.partial(measure.measure, size=size)
    for outcome in queue.work(missing, plan=plan, run=_told, measure=measured):
        print(f'{outcome.status:<7}{outcome.row.title}  {outcome.reason}'.rstrip(), flush=True)
        if outcome.status == DONE:
            # Read anew, since another queue may have added its own meanwhile.
            records.save(folder, [*records.load(folder), *outcome.records])
            if tasks.is_pictured(outcome.row):
                name = f'{size}_{outcome.row.network.data}'
                figures.keep_pictures(plan.row_task(outcome.row).workdir, folder / 'figures', name)
        failed += outcome.status == queue.FAILED
    return failed


def _told(task: tasks.Task) -> None:
    """Runs a task as `queue.run_program`, and says so first."""
    print(f'running {task.workdir}', flush=True)
    queue.run_program(task)


def print_missing(
    missing: Sequence[Row], there: Sequence[records.Record], *, plan: queue.Plan, size: str
) -> None:
    """What is missing, what it needs, and an estimate from finished rows."""
    can_run = [row for row in missing if not plan.needs(row)]
    for row in missing:
        needed = plan.needs(row)
        print(f'{row.title}{"  needs " + needed if needed else ""}')
    cost = estimate.cost(can_run, there, network_tasks=plan.network_tasks, size=size)
    hours = f'about {cost.seconds / 3600:.1f} hours' if cost.seconds else 'nothing to estimate from'
    unknown = f', and {cost.unknown} runs like none so far' if cost.unknown else ''
    print(
        f'{len(missing)} rows missing at {size} size, {len(can_run)} can be run: {hours}{unknown}'
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m experiments.tables',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--small', action='store_true', help='sized for two cores')
    add('--only', default='*', help='patterns of rows')
    add('--list', action='store_true', help='print what is missing, run nothing')
    add('--write', action='store_true', help='write the document, run nothing')
    add('--motion', default='', help="folder of Penn Action's labels")
    add('--real', default='', help="folder of real clips in Penn Action's layout")
    add('--squeezenet', default='', help="file of SqueezeNet's ImageNet weights")
    add('--runs', type=pathlib.Path, default=pathlib.Path('runs/tables'))
    add('--results', type=pathlib.Path, default=HERE / 'results')
    add('--document', type=pathlib.Path, default=HERE.parent / 'RESULTS.md')
    return parser


if __name__ == '__main__':
    raise SystemExit(main())
