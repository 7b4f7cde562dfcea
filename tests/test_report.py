"""Reports: the numbers agree with the metrics, the files are what readers expect."""

import dataclasses
import json

import numpy as np
import pytest
from noise_clips import PHASES, make_clip, predict, shift

from ttp_jax.data.skeletons import BBC_POSE, PENN_ACTION
from ttp_jax.results import metrics, pictures, report


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def people(rng):
    return [make_clip(rng, f'p{index}', frames=3 + index) for index in range(4)]


@pytest.fixture
def known(rng):
    """Two people whose scores are known: 0 of 13 wrong joints is 100 %, and so on."""
    people = [make_clip(rng, name, frames=2) for name in ('first', 'second')]
    for clip in people:
        clip.labels.visibility[:] = 1
    first, second = people
    predictions = {
        'before': [shift(first, slice(0, 13)), shift(second, slice(0, 1))],
        'offline': [shift(first, slice(0, 0)), shift(second, slice(0, 3))],
    }
    return report.summarise(people, predictions, skeleton=PENN_ACTION)


def extras():
    return {'seed': 3, 'git': 'abc', 'command': 'run', 'seconds': {'train': 30.0, 'before': 2.0}}


# --- numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize('skeleton', [PENN_ACTION, BBC_POSE], ids=lambda skeleton: skeleton.name)
def test_summary_agrees_with_metrics(rng, skeleton):
    people = [make_clip(rng, f'{n}', frames=n, skeleton=skeleton) for n in (2, 5, 3)]
    predictions = predict(rng, people)
    found = report.summarise(people, predictions, skeleton=skeleton)
    labels = [clip.labels.joints for clip in people], [clip.labels.visibility for clip in people]
    for phase in PHASES:
        pooled = metrics.pooled_pck(predictions[phase], *labels, skeleton=skeleton)
        single = metrics.people_pck(predictions[phase], *labels, skeleton=skeleton)
        assert 0 < pooled['mPCK'] < 100
        assert found['joints'][phase] | {'mPCK': found['mpck'][phase]} == pooled
        assert [person[phase] for person in found['people']] == single.tolist()
    assert list(found['mpck']) == list(PHASES)
    assert list(found['compared']) == ['online', 'offline']
    assert found['frames'] == 10


def test_comparison_counts_people(known):
    assert known['mpck'] == pytest.approx({'before': 100 * 12 / 26, 'offline': 100 * 23 / 26})
    compared = known['compared']['offline']
    assert (compared['improved'], compared['hurt'], compared['unchanged']) == (1, 1, 0)
    assert compared['mean_gain'] == pytest.approx((100 - 200 / 13) / 2)
    low, high = compared['interval']
    assert low < compared['mean_gain'] < high


def test_clips_of_one_recording_do_not_make_the_interval_narrower(rng, people):
    predictions = predict(rng, people)
    apart = report.summarise(people, predictions, skeleton=PENN_ACTION)
    again = [dataclasses.replace(clip, id=f'{clip.id} again') for clip in people]
    both = [dataclasses.replace(clip, source=clip.id[:2]) for clip in people + again]
    found = report.summarise(
        both, {phase: 2 * own for phase, own in predictions.items()}, skeleton=PENN_ACTION
    )
    assert found['people'][5]['source'] == found['people'][1]['source'] == 'p1'
    for phase, compared in apart['compared'].items():
        assert found['compared'][phase]['interval'] == pytest.approx(compared['interval'])
    assert 'interval over the 4 recordings they were cut from]' in report.table(found)
    assert 'interval over people]' in report.table(apart)


def test_order_of_people_does_not_matter(rng, people):
    predictions = predict(rng, people)
    straight = report.summarise(people, predictions, skeleton=PENN_ACTION)
    order = [2, 0, 3, 1]
    permuted = report.summarise(
        [people[index] for index in order],
        {phase: [found[index] for index in order] for phase, found in predictions.items()},
        skeleton=PENN_ACTION,
    )
    assert permuted['people'] == [straight['people'][index] for index in order]
    assert permuted['mpck'] == pytest.approx(straight['mpck'])


def test_any_phases_after_before(rng, people, tmp_path):
    for phases in (('before',), ('before', 'offline'), ('before', 'online')):
        found = report.summarise(people, predict(rng, people, phases), skeleton=PENN_ACTION)
        assert list(found['people'][0]) == ['id', *phases]
        report.write_report(tmp_path, found)
        assert list(json.loads((tmp_path / 'report.json').read_text())['mpck']) == list(phases)


def test_estimated_gains_stand_beside_the_true_ones(rng, people, tmp_path):
    found = report.summarise(people, predict(rng, people), skeleton=PENN_ACTION)
    guessed = {'people': {'p1': 2.25, 'p0': float('nan')}, 'error': 4.0}
    report.write_report(tmp_path, found | {'estimated_gain': {'offline': guessed}})
    listed = (tmp_path / 'report.md').read_text().split('## People')[1]
    last = {cells(line)[0]: cells(line)[-1] for line in listed.strip().splitlines()}
    assert last['person'] == 'estimated without labels'
    assert last['p1'] == '+2.2 ± 4.0' and last['p0'] == '–'


def test_person_without_visible_joint(rng, people, tmp_path):
    people[1].labels.visibility[:] = 0
    found = report.summarise(people, predict(rng, people), skeleton=PENN_ACTION)
    assert found['people'][1] == {'id': 'p1', 'before': None, 'online': None, 'offline': None}
    compared = found['compared']['offline']
    assert compared['improved'] + compared['hurt'] + compared['unchanged'] == 3
    assert 'without a score: 1.' in report.table(found)
    report.write_report(tmp_path, found)
    listed = (tmp_path / 'report.md').read_text().split('## People')[1]
    assert listed.strip().splitlines()[-1].split()[1] == 'p1'
    pictures.gain_chart(tmp_path / 'gain.png', found)


def test_nobody_with_visible_joint(rng, people, tmp_path):
    for clip in people:
        clip.labels.visibility[:] = 0
    found = report.summarise(people, predict(rng, people), skeleton=PENN_ACTION)
    assert found['mpck'] == dict.fromkeys(PHASES)
    assert found['compared']['online']['interval'] is None
    report.write_report(tmp_path, found)
    pictures.gain_chart(tmp_path / 'gain.png', found)


def test_people_without_labels_have_no_score(rng, people, tmp_path):
    predictions = predict(rng, people)
    labelled = report.summarise(
        people[1:], {p: found[1:] for p, found in predictions.items()}, skeleton=PENN_ACTION
    )
    people[0] = dataclasses.replace(people[0], labels=None)
    found = report.summarise(people, predictions, skeleton=PENN_ACTION)
    assert found['people'][0] == {'id': 'p0', 'before': None, 'online': None, 'offline': None}
    assert {key: found[key] for key in ('mpck', 'joints', 'compared')} == {
        key: labelled[key] for key in ('mpck', 'joints', 'compared')
    }
    nobody = [dataclasses.replace(clip, labels=None) for clip in people]
    unscored = report.summarise(nobody, predictions, skeleton=PENN_ACTION)
    assert unscored['mpck'] == dict.fromkeys(PHASES)
    report.write_report(tmp_path, unscored)


def test_bad_predictions_name_phase_and_clip(rng, people):
    def summarise(predictions):
        report.summarise(people, predictions, skeleton=PENN_ACTION)

    good = predict(rng, people)
    with pytest.raises(ValueError, match="'before' to come first"):
        summarise({'online': good['online'], 'before': good['before']})
    with pytest.raises(ValueError, match='offline: found predictions of 3 people, expected 4'):
        summarise(good | {'offline': good['offline'][:3]})
    short = [joints[1:] for joints in good['online']]
    with pytest.raises(ValueError, match=r'online: .* clip p0 .* \(2, 13, 2\), expected \(3, '):
        summarise(good | {'online': short})
    good['offline'][2][0, 0] = np.nan
    with pytest.raises(ValueError, match='offline: predictions of clip p2 are not all finite'):
        summarise(good)


# --- text and files --------------------------------------------------------------------------


def cells(line):
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_table_shows_the_numbers(known):
    scores, note, seconds, _ = (
        block.splitlines() for block in report.table(known | extras()).strip().split('\n\n')
    )
    assert len(set(map(len, scores))) == 1, 'lines up in a terminal'
    rows = [dict(zip(cells(scores[0]), cells(line), strict=True)) for line in scores[2:]]
    assert [row[''] for row in rows] == ['before', 'offline']
    assert [row['mPCK@0.2'] for row in rows] == ['46.2', '88.5']
    assert [row['Head'] for row in rows] == ['0.0', '50.0']
    assert [row['Ankle'] for row in rows] == ['50.0', '100.0']
    assert (rows[0]['gain'], rows[0]['better'], rows[0]['worse']) == ('', '', '')
    assert rows[1]['gain'].startswith('+42.3 [')
    assert (rows[1]['better'], rows[1]['worse']) == ('1', '1')
    assert note[0].startswith('2 people, 4 frames.')
    assert [cells(line) for line in seconds[2:]] == [
        ['train', '30.0', ''],
        ['before', '2.0', '2.0'],
        ['total', '32.0', ''],
    ]


def test_speed_is_of_the_frames_that_took_the_time(known):
    line = (
        report.table(known | extras() | {'made': {'before': 1}})
        .strip()
        .split('\n\n')[2]
        .splitlines()[3]
    )
    assert cells(line) == ['before', '2.0', '0.5']


def refuse(constant):
    raise AssertionError(f'{constant} is not JSON')


def test_report_json_is_strict_and_complete(rng, people, tmp_path):
    people[0].labels.visibility[:] = 0
    found = report.summarise(people, predict(rng, people), skeleton=PENN_ACTION)
    odd = {'config': {'rate': np.float32(0.5), 'sizes': (1, 2), 'limit': float('inf')}}
    report.write_report(tmp_path, found | extras() | odd)
    loaded = json.loads((tmp_path / 'report.json').read_text(), parse_constant=refuse)
    assert set(loaded['mpck']) == set(PHASES)
    assert set(loaded['joints']['online']) == {name for name, _ in PENN_ACTION.groups}
    assert all(set(person) == {'id', *PHASES} for person in loaded['people'])
    assert {key: loaded[key] for key in extras()} == extras()
    assert {key: loaded[key] for key in found} == found
    assert loaded['config'] == {'rate': 0.5, 'sizes': [1, 2], 'limit': None}


def test_failed_write_keeps_the_last_report(known, tmp_path):
    report.write_report(tmp_path, known)
    before = (tmp_path / 'report.json').read_text()
    with pytest.raises(TypeError):
        report.write_report(tmp_path, known | {'config': object()})
    assert (tmp_path / 'report.json').read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ['report.json', 'report.md']


def test_report_md_says_whom_a_guard_kept_and_why(known, tmp_path):
    told = {
        'not_personalized': {
            'online': {'first': 'kept: harm is 60% likely', 'second': 'failed: x'}
        },
        'failed': {'second': 'x'},
    }
    report.write_report(tmp_path, known | told)
    text = (tmp_path / 'report.md').read_text()
    kept = text.split('### Not personalized')[1].split('###')[0]
    assert kept.strip() == '- `first`, online: kept: harm is 60% likely'
    report.write_report(tmp_path, known)
    assert 'Not personalized' not in (tmp_path / 'report.md').read_text()


def test_report_md_lists_people_and_pictures(known, tmp_path):
    pictures = [str(tmp_path / 'pictures' / 'person 1.png'), 'gain.png']
    report.write_report(tmp_path, known | extras(), pictures=pictures)
    text = (tmp_path / 'report.md').read_text()
    assert report.table(known | extras()).strip() in text
    assert '- seed: `3`' in text and '- git: `abc`' in text
    listed = text.split('## People')[1].split('##')[0]
    assert listed.index('first') < listed.index('second'), 'largest gain first'
    assert '**-15.4**' in listed, 'whom it hurt stands out'
    assert '](pictures/person%201.png)' in text and '](gain.png)' in text
    assert str(tmp_path) not in text
