"""The tables: what is declared, the queue that makes it, and the document made of its records."""

import json
import pathlib
import re
import shlex

import cv2
import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from experiments.programs import ProgramFailedError
from experiments.tables import __main__ as program
from experiments.tables import (
    document,
    estimate,
    figures,
    groups,
    measure,
    queue,
    records,
    rows,
    statistics,
    strangers,
    tasks,
)
from experiments.tables.queue import DONE, FAILED, NEEDS
from ttp_jax.data.clips import Clip, Labels
from ttp_jax.data.skeletons import PENN_ACTION
from ttp_jax.objectives import registry
from ttp_jax.run import check_config

INPUTS = tasks.Inputs('LABELS', 'CLIPS', 'SQUEEZENET')
ROWS = rows.all_rows()


def row(system='transformer', seed=0, *, name=None, data='drawn', table='main', **changes):
    network = rows.network(system, data, seed, **changes)
    return rows.Row(table, name or rows.SYSTEMS[system], network)


def plan(folder, inputs=INPUTS):
    return queue.plan_of(size='small', inputs=inputs, folder=folder)


def record(r, mode, people, *, size='small', mpck=50.0, seconds=60.0, train_people=16):
    """A record as a finished run would give."""
    names = {f'p{i}': value for i, value in enumerate(people)}
    run = {'command': f'run {r.title}', 'commit': 'abcdef0123456', 'seconds': {'online': seconds}}
    trained = run | {'command': f'train {r.network}', 'seconds': {'train': 2 * seconds}}
    return {
        **dict(size=size, table=r.table, system=r.name, data=r.network.data, mode=mode),
        **dict(seed=r.network.seed, mpck=mpck, people=names, train_people=train_people),
        'curve': {'0.1': mpck / 2, '0.2': mpck},
        'frames': [mpck, mpck + 1, None],
        'confidence': dict.fromkeys(names, 0.5) | {'p0': 0.1},
        'losses': {name: [4.0, 4.0 - (name != 'p0')] for name in names if mode != 'before'},
        **run,
        'network': trained,
    }


def finish(task):
    """What a run leaves that the queue looks at."""
    task.workdir.mkdir(parents=True)
    (task.workdir / 'report.json').write_text('{}')


# --- what is declared ------------------------------------------------------------------------


def test_rows_are_unique_and_main_rows_have_five_seeds_on_every_data_set():
    assert len({r.title for r in ROWS}) == len(ROWS)
    main = [(r.name, r.network.data, r.network.seed) for r in ROWS if r.table == 'main']
    wanted = {(s, d, seed) for s in rows.SYSTEMS.values() for d in rows.DATA for seed in range(5)}
    assert set(main) == wanted and len(main) == len(wanted)


def test_every_objective_has_a_row():
    chosen = {dict(r.changes).get('personalize.objective') for r in ROWS}
    of_networks = {registry.OF_VARIANT[s].name for s in rows.SYSTEMS if s != 'baseline'}
    assert chosen - {None} | of_networks == set(registry.OBJECTIVES)


def parsed(task):
    """The config that the program would run."""
    holder = flags.FlagValues()
    words = ['program', *task.words[2:]]
    config_flags.DEFINE_config_file('config', flag_values=holder, sys_argv=words)
    holder(words)
    return holder.config


@pytest.mark.parametrize('size', tasks.SIZES)
def test_every_task_is_a_config_that_can_be_run(tmp_path, monkeypatch, size):
    monkeypatch.setattr(check_config.sets, 'check', lambda name, **options: None)  # no such folders
    how = dict(size=size, inputs=INPUTS, folder=tmp_path)
    wanted = {task for r in ROWS for task in tasks.network_tasks(r.network, **how)}
    wanted |= {tasks.row_task(r, **how) for r in ROWS}
    assert len({task.workdir for task in wanted}) == len(wanted)
    for task in wanted:
        if task.words[1] == 'ttp_jax.main' and '--config.seed=0' in task.words:
            check_config.check(parsed(task))


def test_rows_that_differ_in_personalization_alone_share_their_network(tmp_path):
    how = dict(size='small', inputs=INPUTS, folder=tmp_path)
    adapted = [r for r in ROWS if r.name in rows.ADAPTED_OTHERWISE and r.network.seed == 0]
    ours = row()
    assert len(adapted) > 10
    assert {tasks.network_tasks(r.network, **how)[-1] for r in adapted} == {
        tasks.network_tasks(ours.network, **how)[-1]
    }
    assert len({tasks.row_task(r, **how).workdir for r in [*adapted, ours]}) == len(adapted) + 1


def test_real_clips_start_from_the_network_of_people_drawn_with_their_motion(tmp_path):
    how = dict(size='small', inputs=INPUTS, folder=tmp_path)
    (drawn,) = tasks.network_tasks(row(data='motion').network, **how)
    start, own = tasks.network_tasks(row(data='real').network, **how)
    assert start == drawn
    adapted = tasks.row_task(row(data='real'), **how)
    assert parsed(start).data.motion == 'LABELS' and parsed(own).checkpoint == str(start.workdir)
    assert parsed(adapted).checkpoint == str(own.workdir)
    assert (parsed(own).train.steps, parsed(adapted).train.steps) == (1500, 0)
    assert parsed(own).data.root == parsed(adapted).data.root == 'CLIPS'
    assert [r.network.data for r in ROWS][-1] == 'real'


def test_labels_have_no_say_in_the_networks_whose_keypoints_are_imms():
    imm = [r for r in ROWS if r.name.startswith('IMM')]
    assert {r.network.data for r in imm} == set(rows.DATA)
    for r in imm:
        for each in filter(None, (r.network, r.network.parent)):
            assert dict(each.changes)['train.reconstruction_weight'] >= 1e6


def test_a_row_says_which_data_it_needs():
    none = tasks.Inputs()
    assert tasks.needs(row(), none) == ''
    assert tasks.needs(row(data='motion'), none).startswith('--motion=FOLDER')
    assert tasks.needs(row(data='real'), none).split(', ')[1].startswith('--real=FOLDER')
    assert tasks.needs(row(perceptual__kind='squeezenet'), none).startswith('--squeezenet=FILE')
    assert all(tasks.needs(r, INPUTS) == '' for r in ROWS)


def test_rows_are_chosen_by_patterns_and_a_pattern_that_matches_none_is_an_error():
    chosen = program.chosen_rows(ROWS, 'main/ours/drawn/*;main/baseline/drawn/0')
    assert [r.title for r in chosen] == sorted(
        ['main/baseline/drawn/0', *(f'main/ours/drawn/{seed}' for seed in range(5))],
        key=[r.title for r in ROWS].index,
    )
    with pytest.raises(SystemExit, match="no row matches 'theirs/.*'; such as main/baseline"):
        program.chosen_rows(ROWS, 'theirs/*')


# --- the queue -------------------------------------------------------------------------------


def measured(r, task, network):
    return [record(r, mode, [1.0]) for mode in r.modes]


def test_the_queue_runs_what_is_missing_once_and_networks_before_rows(tmp_path):
    other = row(name='batches of 2', table='ablations')
    ran = []

    def run(task):
        ran.append(task)
        finish(task)

    found = list(queue.work([row(), other], plan=plan(tmp_path), run=run, measure=measured))
    assert [outcome.status for outcome in found] == [DONE, DONE]
    assert [task.workdir.parent.name for task in ran] == ['networks', 'main', 'ablations']
    assert [len(outcome.records) for outcome in found] == [3, 3]


def test_a_stopped_queue_goes_on_with_what_is_not_done(tmp_path):
    def stopped(task):
        if task.workdir.parent.name != 'networks':
            raise KeyboardInterrupt
        finish(task)

    with pytest.raises(KeyboardInterrupt):
        list(queue.work([row()], plan=plan(tmp_path), run=stopped, measure=measured))
    ran = []

    def run(task):
        ran.append(task.workdir.parent.name)
        finish(task)

    list(queue.work([row()], plan=plan(tmp_path), run=run, measure=measured))
    assert ran == ['main']


def test_a_failed_row_is_told_and_stops_no_other(tmp_path):
    asked = []

    def run(task):
        asked.append(task)
        if 'shared_keypoint' in str(task.workdir):
            raise ProgramFailedError('out of memory')
        finish(task)

    wanted = [
        row('shared_keypoint'),
        row('shared_keypoint', name='another of this network'),
        row('transformer'),
    ]
    found = list(queue.work(wanted, plan=plan(tmp_path), run=run, measure=measured))
    assert [outcome.status for outcome in found] == [FAILED, FAILED, DONE]
    assert found[0].reason == found[1].reason == 'out of memory'
    assert len(asked) == 3  # the network that failed is not trained again for its second row


def test_rows_without_their_data_are_passed_over_and_bad_measurements_are_told(tmp_path):
    def unreadable(r, task, network):
        raise ValueError('no score')

    there = plan(tmp_path, tasks.Inputs())
    wanted = [row(data='motion'), row()]
    found = list(queue.work(wanted, plan=there, run=finish, measure=unreadable))
    assert [outcome.status for outcome in found] == [NEEDS, FAILED]
    assert 'no score' in found[1].reason


def test_a_task_that_fails_is_told_with_the_last_line_of_its_log(tmp_path):
    words = ('-c', 'import sys; print("hello"); sys.exit("error: too small")')
    with pytest.raises(ProgramFailedError, match='row.log ends with exit code 1: error: too small'):
        queue.run_program(tasks.Task(words, tmp_path / 'row'))
    assert 'hello' in (tmp_path / 'row.log').read_text()


# --- records ---------------------------------------------------------------------------------


def test_records_are_kept_per_table_and_rows_that_have_all_are_not_missing(tmp_path):
    whole, half = row(seed=0), row(seed=1)
    kept = [record(whole, mode, [1.0]) for mode in whole.modes]
    records.save(tmp_path, [*kept, record(half, 'before', [1.0])])
    found = records.load(tmp_path)
    assert records.missing([whole, half], found, size='small') == [half]
    assert records.missing([whole, half], found, size='full') == [whole, half]
    assert [path.name for path in tmp_path.iterdir()] == ['main_table.json']
    records.save(tmp_path, [*found, record(whole, 'online', [1.0], mpck=99.0)])
    assert {r['mpck'] for r in records.load(tmp_path) if r['mode'] == 'online'} == {99.0}
    (tmp_path / 'ablations.json').write_text('[')
    with pytest.raises(ValueError, match=r'ablations\.json: cannot be read'):
        records.load(tmp_path)


def test_what_is_missing_is_estimated_from_runs_like_it(tmp_path):
    how = dict(network_tasks=plan(tmp_path).network_tasks, size='small')
    ours, theirs = row(seed=0), row(seed=1)
    assert estimate.cost([ours], [], **how) == estimate.Cost(0, 2)
    there = [record(ours, 'online', [1.0], seconds=100.0)]
    assert estimate.cost([theirs], there, **how) == estimate.Cost(300.0, 0)
    finish(plan(tmp_path).network_tasks(theirs.network)[-1])
    assert estimate.cost([theirs], there, **how) == estimate.Cost(100.0, 0)


def test_a_run_is_measured_by_threshold_by_frame_and_by_person(tmp_path, monkeypatch):
    joints = np.zeros((3, 13, 2), np.float32)
    joints[:, (7, 8), 1] = 10.0  # torsos of ten pixels
    wrong = joints.copy()
    wrong[0, :, 0] += 4.0
    clips = [
        Clip(f'p{i}', np.zeros((n, 8, 8, 3), np.uint8), np.zeros((n, 4)), labels, source='golf')
        for i, n in enumerate((3, 2))
        for labels in [Labels(joints[:n], np.ones((n, 13), np.float32))]
    ]
    data = measure.sets.DataSet((), clips, PENN_ACTION)
    monkeypatch.setattr(measure, 'test_people', lambda config: data)
    task, network = (tasks.Task((), tmp_path / name) for name in ('row', 'network'))
    for clip in clips:
        for mode in ('before', 'online', 'offline'):
            folder = task.workdir / 'predictions' / mode
            folder.mkdir(parents=True, exist_ok=True)
            predicted = (wrong if mode == 'before' else joints)[: len(clip.frames)]
            scores, losses = np.full(predicted.shape[:2], 0.5), np.array([[4.0], [2.0]])
            np.savez(folder / f'{clip.id}.npz', joints=predicted, scores=scores, losses=losses)
    report = {
        'mpck': {'before': 60.0, 'online': 100.0, 'offline': 100.0},
        'people': [dict(id=c.id, before=60.0, online=100.0, offline=100.0) for c in clips]
        + [dict(id='left out', before=None, online=None, offline=None)],
        'command': 'python -m ttp_jax.main --config.data.root=/some/where/clips --workdir=runs/a',
        'git': 'abc',
        'seconds': {'online': 3.0},
    }
    for each in (task, network):
        each.workdir.mkdir(exist_ok=True)
        (each.workdir / 'report.json').write_text(json.dumps(report))
        (each.workdir / 'config.json').write_text('{"data": {"train_people": 16}}')
    before, online, _ = measure.measure(row(), task, network, size='small')
    assert before['frames'] == [0.0, 100.0, 100.0] and online['frames'] == [100.0] * 3
    assert before['curve']['0.2'] == pytest.approx(60) and before['curve']['0.4'] == 100.0
    assert before['people'] == {'p0': 60.0, 'p1': 60.0, 'left out': None} and online['losses'][
        'p0'
    ] == [4.0, 2.0]
    assert before['train_people'] == 16 and before['confidence']['p1'] == 0.5
    assert before['sources'] == {'p0': 'p0', 'p1': 'p0'}
    assert online['command'].split()[3:] == ['--config.data.root=clips', '--workdir=runs/a']
    assert records.keys_of(row(), 'small') == {
        records.key(r) for r in measure.measure(row(), task, network, size='small')
    }


# --- statistics ------------------------------------------------------------------------------


def test_intervals_take_people_within_seeds_and_seeds_themselves_as_drawn():
    alike = statistics.estimate([np.full(12, 2.0)], crossed=False)
    assert (alike.mean, alike.low, alike.high, alike.better) == (2.0, 2.0, 2.0, 12)
    # Seeds that differ, people that do not: only which seeds are drawn matters, so the ends are
    # the mean of the worst seed and that of the best, which (1/3)^3 > 2.5 % of draws give.
    seeds = [np.full(100, value) for value in (0.0, 3.0, 6.0)]
    nested = statistics.estimate(seeds, crossed=False)
    assert (nested.mean, nested.low, nested.high) == (3.0, 0.0, 6.0)
    assert (nested.better, nested.worse, nested.seeds) == (200, 0, 3)


def test_intervals_over_people_of_one_seed_are_those_of_the_standard_error():
    gains = np.random.default_rng(1).normal(1.0, 2.0, 400)
    found = statistics.estimate([gains], crossed=False)
    error = gains.std() / np.sqrt(400)
    np.testing.assert_allclose(
        [found.low, found.high], gains.mean() + 1.96 * error * np.array([-1, 1]), atol=0.1 * error
    )


def test_the_same_people_under_every_seed_are_drawn_once():
    gains = np.random.default_rng(2).normal(0.0, 5.0, 40)
    as_one = statistics.estimate([gains], crossed=True, resamples=2000)
    five = statistics.estimate([gains] * 5, crossed=True, resamples=2000)
    nested = statistics.estimate([gains] * 5, crossed=False, resamples=2000)
    width = as_one.high - as_one.low
    # Five seeds that say the same of the same people know no more about people than one.
    assert five.high - five.low == pytest.approx(width, rel=0.1)
    assert nested.high - nested.low == pytest.approx(width / np.sqrt(5), rel=0.1)
    with pytest.raises(ValueError, match=r'seeds have \[40, 3\] people, expected the same people'):
        statistics.estimate([gains, gains[:3]], crossed=True)


def test_people_of_one_recording_are_drawn_together_wherever_their_gains_are_compared():
    of = {'p0': 'p0', 'p1': 'p0', 'p2': 'p0'}
    scores = {'before': [40.0] * 4, 'offline': [44.0, 46.0, 45.0, 39.0]}
    found = [record(row(data='real'), mode, people) for mode, people in scores.items()]
    (apart,) = groups.groups(found)
    (together,) = groups.groups([each | {'sources': of} for each in found])
    # Two recordings, of which one gains 5 and one loses 1: a quarter of draws is of either alone.
    wide = groups.gain(together, 'offline')
    assert (wide.low, wide.high, wide.mean) == (-1.0, 5.0, 3.5)
    narrow = groups.gain(apart, 'offline')
    assert narrow.low > wide.low and narrow.mean == wide.mean
    other = groups.groups([each | {'system': 'other', 'people': {}} for each in found])[0]
    assert groups.more_gain(together, together, 'offline').mean == 0.0
    with pytest.raises(ValueError, match='nobody with a score'):
        groups.better_before(together, other)


def test_people_without_a_score_are_left_out_and_nobody_left_is_an_error():
    found = statistics.estimate([np.array([1.0, np.nan, 3.0])], crossed=False)
    assert (found.mean, found.better) == (2.0, 2)
    with pytest.raises(ValueError, match='nobody with a score'):
        statistics.estimate([np.array([np.nan])], crossed=False)


def test_systems_are_compared_on_the_same_people_of_the_same_seeds():
    ours, other = row(), row('shared_keypoint')
    made = []
    for r, gained in ((ours, (5.0, 3.0)), (other, (1.0, 3.0))):
        made.append(record(r, 'before', [50.0, 10.0]))
        made.append(record(r, 'online', [50.0 + gained[0], 10.0 + gained[1]]))
    made.append(record(row('shared_keypoint', seed=7), 'before', [0.0]))
    b, a = groups.groups(made)
    found = groups.more_gain(a, b, 'online')
    assert (found.mean, found.better, found.worse, found.seeds) == (2.0, 1, 0, 1)


# --- the document ----------------------------------------------------------------------------


@pytest.fixture
def made():
    """Records of two seeds of the main table and of one ablation."""
    found = []
    for seed in (0, 1):
        for system in rows.SYSTEMS:
            r = row(system, seed)
            score = {'baseline': 40.0, 'transformer': 48.0}.get(system, 44.0)
            people = np.array([30.0, 50.0, 40.0])
            found.append(record(r, 'before', people, mpck=score + seed))
            if system != 'baseline':
                found.append(record(r, 'online', people + [-2, 6, 2], mpck=score + 2 + seed))
                found.append(record(r, 'offline', people + [-5, 20, 15], mpck=score + 10 + seed))
        r = row(name='64 training people', table='ablations', seed=seed)
        found += [record(r, m, [70.0, 80.0], mpck=75.0, train_people=64) for m in r.modes]
    return found


def test_the_document_is_made_of_records(tmp_path, made):
    path = tmp_path / 'RESULTS.md'
    document.write(path, made, missing=[row(data='real')], folder=tmp_path)
    text = path.read_text()
    ours = next(line for line in text.splitlines() if line.startswith('| ours |'))
    cells = [cell.strip() for cell in ours.strip('|').split('|')]
    assert cells[:5] == ['ours', '2', '48.5 ± 0.7', '50.5 ± 0.7', '58.5 ± 0.7']
    assert cells[5].startswith('+2.0 [') and cells[6].startswith('+10.0 [')
    assert cells[7:] == ['4 / 2', '4 / 2']
    assert re.search(r'ours − baseline, before \| \+0\.0 \[', text)  # of people, who are the same
    assert '| confidence' not in text and 'those hurt' in text
    assert '| 64 | 75.0 ± 0.0 |' in text
    assert f'| main | {rows.DATA["real"]} | 1 |' in text
    assert 'abcdef0123' in text
    for picture in re.findall(r'\((figures/.*?)\)', text):
        assert (tmp_path / picture).is_file()
    assert len(re.findall(r'!\[', text)) == 5
    assert '# Which networks gain, small size' in text and '| ours | drawn people | 48.5' in text


def test_rows_stand_in_the_order_in_which_they_are_declared(made):
    (first, *_), names = made, [*rows.SYSTEMS.values(), 'of old']
    found = groups.groups(first | {'system': name} for name in reversed(names))
    assert [group.system for group in found] == names


def test_rows_of_one_network_that_was_trained_again_are_said_to_be(made):
    assert not groups.trained_again(groups.groups(made))
    again = [
        each | {'network': each['network'] | {'commit': 'another'}}
        for each in made
        if (each['system'], each['mode'], each['seed']) == ('ours', 'offline', 1)
    ]
    found = groups.groups([*made, *(each | {'system': 'as ours'} for each in again)])
    assert groups.trained_again(found) == {1: 2}


def test_gains_by_training_people_are_shown_for_both_kinds_of_steps(tmp_path, made):
    gentle = row(name='64 training people, gentle steps', table='ablations')
    for mode, people in (('before', [70.0, 80.0]), ('offline', [73.0, 79.0])):
        made.append(record(gentle, mode, people, train_people=64))
    document.write(tmp_path / 'RESULTS.md', made, missing=[], folder=tmp_path)
    text = (tmp_path / 'RESULTS.md').read_text()
    assert re.search(r'\| 16 \| 48.5 ± 0.7 \| \+2.0 .* \| \+10.0 .* \| – \|', text)
    assert re.search(r'\| 64 \| 75.0 ± 0.0 \| \+0.0 .* \| \+0.0 .* \| \+1.0 .* \|', text)


def test_pictures_of_a_run_are_kept_and_shown(tmp_path, made):
    run, folder = tmp_path / 'run', tmp_path / 'figures'
    picture = np.full((300, 2 * figures.WIDEST, 3), 200, np.uint8)
    picture[:, : figures.WIDEST] = 40
    run.mkdir()
    for name in ('person_a.png', 'before_after.png', 'losses.png'):
        cv2.imwrite(str(run / name), picture)
    for kind, arrays in {
        'views': {'affinity': np.eye(2, 5)},
        'predictions': {'names': np.array(['head', 'left wrist'])},
    }.items():
        (run / kind / 'before').mkdir(parents=True)
        np.savez(run / kind / 'before' / 'p0.npz', **arrays)
    figures.keep_pictures(run, folder, 'small_drawn')
    document.write(tmp_path / 'RESULTS.md', made, missing=[], folder=tmp_path)
    text = (tmp_path / 'RESULTS.md').read_text()
    for name in ('person_a.jpg', 'before_after.jpg', 'affinity.png'):
        assert f'(figures/small_drawn_seen_{name})' in text
    kept = cv2.imread(str(folder / 'small_drawn_seen_person_a.jpg')).astype(int)
    assert kept.shape == (150, figures.WIDEST, 3)
    assert abs(kept[:, 100] - 40).max() < 5 and abs(kept[:, -100] - 200).max() < 5
    assert cv2.imread(str(folder / 'small_drawn_seen_affinity.png')).std() > 10
    assert 'losses' not in text


def test_no_record_no_number(tmp_path):
    document.write(tmp_path / 'RESULTS.md', [], missing=[], folder=tmp_path)
    assert not re.search(r'\| .*\d', (tmp_path / 'RESULTS.md').read_text())


def test_who_is_hurt_is_told_with_what_they_have_in_common(made):
    ours = groups.find(groups.groups(made), 'main', 'ours')
    people = groups.people_of(ours, 'offline')
    hurt = [person for person in people if person['gain'] < 0]
    assert [person['before'] for person in hurt] == [30.0, 30.0]
    assert [person['confidence'] for person in hurt] == [0.1, 0.1]
    assert [person['fall'] for person in hurt] == [0.0, 0.0]
    assert statistics.rank_correlation([1, 2, 3], [2, 4, 9]) == pytest.approx(1)
    assert statistics.rank_correlation([1, 1, 1], [2, 4, 9]) is None


def test_only_strangers_gain_where_the_others_are_left_alone():
    r, other = row(), row('shared_rotation')
    made = [record(r, 'before', [50.0, 10.0, None]), record(r, 'offline', [40.0, 30.0, None])]
    made[1]['losses'] = {'p0': [3.0, 1.0], 'p1': [8.0, 1.0], 'p2': [4.0, 1.0]}
    made += [record(other, mode, [50.0, 10.0, None]) for mode in ('before', 'offline')]
    (group,) = strangers.chosen(groups.groups(made))  # rotation's loss is another
    assert strangers.gaps(made[1]) == {'p0': 0.75, 'p1': 2.0, 'p2': 1.0}
    assert strangers.count(group, 'offline') == (2, 3)
    assert groups.gain(group, 'offline').mean == 5.0
    alone = strangers.gain_of_strangers(group, 'offline')
    assert (alone.mean, alone.better, alone.worse) == (10.0, 1, 0)
    assert strangers.networks([group]) == [('drawn', 1.25, 50.0, 5.0)]


def test_gains_by_frame_are_differences_where_somebody_is(made):
    before, online, _ = made[-6:-3]  # of ours
    np.testing.assert_array_equal(figures.frame_gains(before, online), [2, 2, np.nan])


def test_the_command_line_lists_makes_and_writes(tmp_path, monkeypatch, capsys):
    where = [
        '--small',
        f'--runs={tmp_path}/runs',
        f'--results={tmp_path}/results',
        f'--document={tmp_path}/RESULTS.md',
        '--only=main/baseline/drawn/0;main/ours/motion/0',
    ]
    assert program.main([*where, '--list']) == 0
    printed = capsys.readouterr().out
    assert 'main/ours/motion/0  needs --motion=FOLDER' in printed
    assert '2 rows missing at small size, 1 can be run: nothing to estimate from' in printed
    monkeypatch.setattr(queue, 'run_program', finish)
    monkeypatch.setattr(program.measure, 'measure', lambda *a, size: measured(*a))
    assert program.main(where) == 0
    assert 'done   main/baseline/drawn/0' in capsys.readouterr().out
    assert '| baseline | 1 | 50.0 |' in (tmp_path / 'RESULTS.md').read_text()
    program.main([*where, '--list'])
    assert 'main/baseline/drawn/0' not in capsys.readouterr().out


def test_commands_survive_a_shell():
    frozen = next(r for r in ROWS if r.name == 'encoder frozen')
    task = tasks.row_task(frozen, size='small', inputs=INPUTS, folder=pathlib.Path('runs'))
    assert shlex.split(shlex.join(task.command)) == task.command
    assert parsed(task).personalize.frozen == dict(frozen.changes)['personalize.frozen']
