"""RESULTS.md, made of records: no number in its tables and figures is typed by hand.

Contract: sections are functions of groups of records that return markdown, '' where there is
nothing to say. Numbers of others come from `published.json`, words of ours from `learned.md`, both
beside the records, if they are there.
"""

import json
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from experiments.tables import figures, groups, statistics, strangers
from experiments.tables.groups import ADAPTED, Group
from experiments.tables.records import FILES, Record
from experiments.tables.rows import DATA, SYSTEMS, Row
from experiments.tables.statistics import Estimate

HEAD = """# Results

Made by `python -m experiments.tables --write` from `experiments/results/*.json`, where every record
has its command, commit and seconds. mPCK@0.2 in percent, over the frames of all test people: mean ±
standard deviation over seeds. Gains are points per person, mean over people and seeds, with a 95 %
interval by the bootstrap over people nested in seeds (recorded people, who are the same for every
seed, are drawn once for all, and clips of one recording together). A row of one seed has an
interval over its people alone: other networks may lie outside. Better / worse counts people of all
seeds."""
TITLES = {'main': 'Main table', 'neighbours': 'Neighbours', 'ablations': 'Ablations'}
FEATURES = {
    'before': 'score before, %',
    'gap': "loss before any step, in training people's",
    'confidence': "mean of heatmaps' maxima before",
    'fall': "share of the first step's loss gone at the last",
}


def write(
    path: pathlib.Path, records: Sequence[Record], *, missing: Sequence[Row], folder: pathlib.Path
) -> None:
    """Writes the document, and figures into `folder`/figures.

    Args:
      path: of the document.
      records: of all sizes.
      missing: rows that have none yet, which are counted at the end.
      folder: where records are kept.
    """
    found = groups.groups(records)
    parts = [HEAD, _learned(folder)]
    for size in dict.fromkeys(group.size for group in found):
        for data in DATA:
            here = [group for group in found if (group.size, group.data) == (size, data)]
            if here:
                parts.append(f'# {DATA[data][0].upper()}{DATA[data][1:]}, {size} size')
                parts += [_table(table, here) for table in FILES]
                parts += [_claims(here), _training_people(here), _who_is_hurt(here)]
                names = figures.draw_all(folder / 'figures', f'{size}_{data}', here)
                names += figures.kept_pictures(folder / 'figures', f'{size}_{data}')
                parts.append(_pictures(path, folder / 'figures', names))
        among = strangers.chosen([group for group in found if group.size == size])
        names = figures.draw_of_networks(folder / 'figures', size, among)
        parts += [_strangers(among, size), _pictures(path, folder / 'figures', names)]
    parts += [_published(folder), _seconds(records), _missing(missing)]
    path.write_text('\n\n'.join(part for part in parts if part) + '\n')


def _table(table: str, here: Sequence[Group]) -> str:
    """One table: a row for each system."""
    found = [group for group in here if group.table == table]
    if not found:
        return ''
    titles = ['', 'seeds', 'before', *ADAPTED, *(f'gain {mode}' for mode in ADAPTED)]
    titles += [f'better / worse {mode}' for mode in ADAPTED]
    parts = [f'## {TITLES[table]}', markdown(titles, list(map(_line, found))), _trainings(found)]
    return '\n\n'.join(part for part in parts if part)


def _trainings(found: Sequence[Group]) -> str:
    """A warning where rows that should share one network are of several trainings of it."""
    again = groups.trained_again(found)
    if not again:
        return ''
    counts = ', '.join(f'{count} times that of seed {seed}' for seed, count in again.items())
    return (
        'Rows whose "before" differs may be of one network, trained again on another machine or '
        f'by another commit: {counts}. Compare their gains, not their scores.'
    )


def _line(group: Group) -> list[str]:
    gains = [groups.gain(group, mode) for mode in ADAPTED]
    seeds = max(len(records) for records in group.modes.values())
    scores = [_spread(group.scores(mode)) for mode in ('before', *ADAPTED)]
    counts = ['–' if g is None else f'{g.better} / {g.worse}' for g in gains]
    return [group.system, str(seeds), *scores, *map(interval, gains), *counts]


def _claims(here: Sequence[Group]) -> str:
    """What the paper claims of its rows, for the same people of the same seeds."""
    system = {key: groups.find(here, 'main', name) for key, name in SYSTEMS.items()}
    lines = []
    ours, baseline = system['transformer'], system['baseline']
    if ours and baseline:
        lines.append(['ours − baseline, before', interval(groups.better_before(ours, baseline))])
    for a, b in (('transformer', 'shared_keypoint'), ('shared_keypoint', 'shared_rotation')):
        first, second = system[a], system[b]
        for mode in ADAPTED if first and second else ():
            assert first and second
            words = f'gain of {first.system} − of {second.system}, {mode}'
            lines.append([words, interval(groups.more_gain(first, second, mode))])
    return f'## Claims\n\n{markdown(["", "points"], lines)}' if lines else ''


def _training_people(here: Sequence[Group]) -> str:
    """How the gain changes with the number of training people."""
    trained = figures.by_training_people(here)
    gently = figures.by_training_people(here, gently=True)
    lines = [
        [
            str(count),
            _spread(group.scores('before')),
            *(interval(groups.gain(group, mode)) for mode in ADAPTED),
            interval(groups.gain(gently[count], 'offline') if count in gently else None),
        ]
        for count, group in trained.items()
    ]
    titles = ['training people', 'before', *(f'gain {mode}' for mode in ADAPTED)]
    titles.append('gain offline, gentle steps')
    return f'## Training people\n\n{markdown(titles, lines)}' if len(lines) > 1 else ''


def _who_is_hurt(here: Sequence[Group]) -> str:
    """What people who lose have in common, beside those who gain."""
    ours = groups.find(here, 'main', 'ours')
    parts = []
    for mode in ADAPTED if ours else ():
        assert ours
        people = groups.people_of(ours, mode)
        if not people:
            continue
        lines = [
            [words, *_means(people, feature), _correlation(people, feature)]
            for feature, words in FEATURES.items()
        ]
        titles = [f'{mode}: mean of', 'those hurt', 'those helped', 'rank correlation with gain']
        parts.append(markdown(titles, lines))
    return '\n\n'.join(['## Who is hurt', *parts]) if parts else ''


def _strangers(among: Sequence[Group], size: str) -> str:
    """Which networks gain, and what is left if only strangers are adapted."""
    if not among:
        return ''
    networks = strangers.networks(among)
    titles = ['', 'data set', 'before', "loss in training people's", 'gain offline']
    titles += ['strangers', 'gain offline, strangers alone', 'better / worse']
    lines = [_stranger_line(group) for group in among]
    return (
        f'# Which networks gain, {size} size\n\nA network can tell without labels how much worse '
        'than training people it rebuilds somebody: by the loss before any step. Rank correlation '
        f'with the mean gain offline:\n\n{_correlations(networks)}\n\nStrangers are those whose '
        "loss is no less than training people's; the others keep the shared predictions with "
        f'`--config.personalize.least_gap=1`.\n\n{markdown(titles, lines)}'
    )


def _correlations(networks: Sequence[strangers.Network]) -> str:
    """The rank correlations of networks' gains: of all, and of each data set's."""
    kinds = {'all': networks}
    kinds |= {DATA[data]: [n for n in networks if n.data == data] for data in DATA}
    lines = []
    for name, some in kinds.items():
        gains = [network.gain for network in some]
        found = [
            statistics.rank_correlation(values, gains)
            for values in ([network.gap for network in some], [n.before for n in some])
        ]
        lines.append([name, str(len(some)), *map(_signed, found)])
    return markdown(['networks', 'how many', 'loss of strangers', 'score before'], lines)


def _stranger_line(group: Group) -> list[str]:
    gap = [network.gap for network in strangers.networks([group])]
    alone = strangers.gain_of_strangers(group, 'offline')
    assert alone
    found, everyone = strangers.count(group, 'offline')
    return [
        group.system,
        DATA[group.data],
        _spread(group.scores('before')),
        f'{np.mean(gap):.2f}',
        interval(groups.gain(group, 'offline')),
        f'{found} of {everyone}',
        interval(alone),
        f'{alone.better} / {alone.worse}',
    ]


def _means(people: Sequence[dict[str, float]], feature: str) -> list[str]:
    """A feature's mean over those hurt, and over those helped."""
    sides = [
        [person[feature] for person in people if sign * person['gain'] > 0] for sign in (-1, 1)
    ]
    return [f'{np.mean(side):.2f} ({len(side)})' if side else '–' for side in sides]


def _correlation(people: Sequence[dict[str, float]], feature: str) -> str:
    found = statistics.rank_correlation(
        [person[feature] for person in people], [person['gain'] for person in people]
    )
    return _signed(found)


def _signed(value: float | None) -> str:
    return '–' if value is None else f'{value:+.2f}'


def _pictures(path: pathlib.Path, folder: pathlib.Path, names: Iterable[str]) -> str:
    base = folder.relative_to(path.parent) if folder.is_relative_to(path.parent) else folder
    return '\n\n'.join(f'![{pathlib.Path(n).stem.replace("_", " ")}]({base / n})' for n in names)


def _published(folder: pathlib.Path) -> str:
    """Others' numbers, with the command that would make ours, for whoever has the data."""
    file = folder / 'published.json'
    if not file.is_file():
        return ''
    published = json.loads(file.read_text())
    lines = [
        [row['data'], row['system'], *(_number(row.get(m)) for m in ('before', *ADAPTED))]
        for row in published['rows']
    ]
    titles = ['data set', 'system', 'before', *ADAPTED]
    commands = '\n'.join(row['command'] for row in published['commands'])
    return (
        f'# Published\n\n{published["source"]}\n\n{markdown(titles, lines)}\n\n'
        f'With the data, these make the rows of ours:\n\n```\n{commands}\n```'
    )


def _learned(folder: pathlib.Path) -> str:
    file = folder / 'learned.md'
    return file.read_text().strip() if file.is_file() else ''


def _seconds(records: Sequence[Record]) -> str:
    """How long runs took, and of which commits they are."""
    runs = {json.dumps([r['command'], r['commit']]): r for r in records}
    networks = {
        json.dumps([r['network']['command'], r['network']['commit']]): r['network'] for r in records
    }
    total = sum(sum(r['seconds'].values()) for r in (*runs.values(), *networks.values()))
    if not records:
        return ''
    commits = sorted({_short(r['commit']) for r in (*runs.values(), *networks.values())})
    return (
        f'# Runs\n\n{len(networks)} networks trained, {len(runs)} rows made of them, '
        f'{total / 3600:.1f} hours in all, of commits {", ".join(commits)} '
        '(+: changed since).'
    )


def _short(commit: str | None) -> str:
    """The first digits of a commit, with the + of one that was changed since."""
    return f'{commit[:10]}{"+" * commit.endswith("+")}' if commit else 'unknown'


def _missing(rows: Sequence[Row]) -> str:
    """Which rows have not been made yet."""
    counted: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row.table, row.network.data)
        counted[key] = counted.get(key, 0) + 1
    if not counted:
        return ''
    lines = [[table, DATA[data], str(count)] for (table, data), count in counted.items()]
    return f'# Still missing\n\n{markdown(["table", "data set", "rows"], lines)}'


def interval(found: Estimate | None) -> str:
    """A mean gain with its interval: '+2.3 [+1.0, +3.6]'."""
    return '–' if found is None else f'{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}]'


def _spread(scores: Sequence[float]) -> str:
    if not scores:
        return '–'
    mean, deviation = statistics.mean_and_deviation(scores)
    return f'{mean:.1f}' if deviation is None else f'{mean:.1f} ± {deviation:.1f}'


def _number(value: float | None) -> str:
    return '–' if value is None else f'{value:g}'


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in markdown: first column left, others right."""
    rule = ['---', *('---:' for _ in titles[1:])]
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in (titles, rule, *rows))
