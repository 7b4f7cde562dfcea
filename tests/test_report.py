"""Reports: the numbers agree with the metrics, the files are what readers expect, pictures show."""

import itertools
import json

import cv2
import numpy as np
import pytest

from ttp_jax.data.clips import Clip, Labels
from ttp_jax.data.skeletons import BBC_POSE, PENN_ACTION
from ttp_jax.results import metrics, report

PHASES = ('before', 'online', 'offline')


def make_clip(rng, name, *, frames, size=(48, 40), skeleton=PENN_ACTION):
    """A clip of noise whose joints are well inside of it."""
    height, width = size
    count = len(skeleton.joints)
    return Clip(
        id=name,
        frames=rng.integers(0, 256, (frames, height, width, 3), np.uint8),
        labels=Labels(
            joints=rng.uniform(4, min(size) - 4, (frames, count, 2)).astype(np.float32),
            visibility=(rng.random((frames, count)) < 0.8).astype(np.float32),
        ),
        boxes=np.tile(np.float32([2, 2, width - 3, height - 3]), (frames, 1)),
    )


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def people(rng):
    return [make_clip(rng, f'p{index}', frames=3 + index) for index in range(4)]


def predict(rng, people, phases=PHASES, error=8.0):
    return {
        phase: [
            clip.labels.joints + rng.normal(0, error, clip.labels.joints.shape) for clip in people
        ]
        for phase in phases
    }


def shift(clip, wrong):
    """The truth, with the joints `wrong` far away from it."""
    moved = clip.labels.joints.copy()
    moved[:, wrong] += 1000
    return moved


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
    report.gain_chart(tmp_path / 'gain.png', found)


def test_nobody_with_visible_joint(rng, people, tmp_path):
    for clip in people:
        clip.labels.visibility[:] = 0
    found = report.summarise(people, predict(rng, people), skeleton=PENN_ACTION)
    assert found['mpck'] == dict.fromkeys(PHASES)
    assert found['compared']['online']['interval'] is None
    report.write_report(tmp_path, found)
    report.gain_chart(tmp_path / 'gain.png', found)


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


# --- pictures --------------------------------------------------------------------------------


def drawn(path, *, least=200):
    """The picture, which must have been written, be of some size, and show something."""
    image = cv2.imread(str(path))
    assert image is not None, f'{path} was not written'
    assert min(image.shape[:2]) >= least and max(image.shape[:2]) <= 4000
    assert image.std() > 5
    return image


class Lazy:
    """Frames that are decoded on access only, and remember which were."""

    def __init__(self, frames):
        self.frames, self.read = frames, []

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        self.read.append(index)
        return self.frames[index]


@pytest.mark.parametrize('crop_to_boxes', [False, True])
def test_contact_sheet(rng, tmp_path, crop_to_boxes):
    sizes = [(48, 40), (30, 90), (100, 60)]
    people = [
        make_clip(rng, f'{size}', frames=count, size=size)
        for size, count in zip(sizes, (2, 9, 20), strict=True)
    ]
    lazy = Lazy(people[2].frames)
    object.__setattr__(people[2], 'frames', lazy)
    report.contact_sheet(tmp_path / 'new' / 'sheet.png', people, frames=4, skeleton=PENN_ACTION,
                         crop_to_boxes=crop_to_boxes)  # fmt: skip
    drawn(tmp_path / 'new' / 'sheet.png')
    assert lazy.read == [0, 6, 13, 19]


def test_contact_sheet_draws_joints_where_they_are(tmp_path):
    """A white spot marks the place of all joints, in a frame of a colour used nowhere else."""
    x, y, background = 50, 30, (255, 0, 255)
    frames = np.full((2, 60, 80, 3), background, np.uint8)
    frames[:, y - 4 : y + 5, x - 4 : x + 5] = 255
    labels = Labels(np.full((2, 13, 2), (x, y), np.float32), np.ones((2, 13)))
    clip = Clip('spot', frames, np.tile([10, 10, 69, 49], (2, 1)), labels)
    report.contact_sheet(tmp_path / 'sheet.png', [clip], frames=1, skeleton=PENN_ACTION)
    image = cv2.imread(str(tmp_path / 'sheet.png')).astype(int)
    rows, columns = np.nonzero((image == background).all(axis=2))
    first, last = rows.min(), rows.max() + 1
    gap = np.flatnonzero(np.bincount(rows)[first:] == 0) + first  # between plain and labelled
    plain, labelled = (
        image[top:bottom, columns.min() : columns.max() + 1]
        for top, bottom in ((first, gap.min()), (gap.max() + 1, last))
    )
    spot = np.argwhere(plain.min(axis=2) > 200).mean(axis=0)
    marks = np.argwhere(np.abs(labelled - plain).max(axis=2) > 60).mean(axis=0)
    np.testing.assert_allclose(marks, spot, atol=0.6)


def view(rng, truth, size=32, **without):
    seen = report.View(
        source=rng.integers(0, 256, (size, size, 3), np.uint8),
        target=rng.integers(0, 256, (size, size, 3), np.uint8),
        reconstruction=rng.integers(0, 256, (size, size, 3), np.uint8),
        self_supervised=rng.uniform(0, size, (30, 2)),
        affinity=rng.dirichlet(np.full(30, 0.1), len(truth)),
        joints=truth + rng.normal(0, 3, truth.shape),
        scores=rng.random(len(truth)),
    )
    return seen._replace(**without)


def test_person_picture(rng, tmp_path):
    truth, visible = rng.uniform(-5, 37, (13, 2)), np.arange(13) % 4 > 0
    nothing = dict.fromkeys(('reconstruction', 'self_supervised', 'affinity'))
    widths = []
    for without in ({}, nothing):
        views = {phase: view(rng, truth, **without) for phase in ('before', 'offline')}
        report.person_picture(tmp_path / 'p.png', 'p1', views, truth, visible, skeleton=PENN_ACTION)
        widths.append(drawn(tmp_path / 'p.png', least=2 * 256).shape[1])
    assert widths[1] < widths[0] - 2 * 256, 'columns that nothing fills are left out'


def red(image):
    blue, green, red = np.moveaxis(image.astype(int), -1, 0)
    return int(((red > 230) & (green < 80) & (blue < 80)).sum())


def test_person_picture_marks_what_is_wrong(rng, tmp_path):
    truth, visible = rng.uniform(8, 24, (13, 2)), np.ones(13)
    grey = np.full((32, 32, 3), 128, np.uint8)
    seen = view(rng, truth, source=grey, target=grey, reconstruction=grey, joints=truth,
                self_supervised=None, affinity=None)  # fmt: skip
    marks = []
    for joints, correct in itertools.product((truth, truth + 15), (None, {'before': visible})):
        path, views = tmp_path / 'p.png', {'before': seen._replace(joints=joints)}
        report.person_picture(path, 'p', views, truth, visible, skeleton=PENN_ACTION,
                              correct=correct)  # fmt: skip
        marks.append(red(drawn(path)))
    right, forced_right, wrong, forgiven = marks
    assert right == forced_right < forgiven < wrong


def test_loss_curves(rng, tmp_path):
    rows = [{'step': n, 'loss': 1 / n, 'supervised': 2 / n} for n in range(1, 200)]
    rows[5] = {'step': 6, 'loss': None, 'learning_rate': 1e-3}
    rows[7] = {'step': 8, 'pixels': float('nan')}
    padded = np.full((3, 20), np.nan)
    padded[0, :20], padded[1, :15], padded[2, :4] = 1, 0.5, 0.2
    histories = {'online': padded, 'offline': [rng.random(9), rng.random(5)], 'other': []}
    one = {'offline': np.ones((1, 1))}
    for name, arguments in enumerate(((rows, histories), (rows[:1], one), ([], {}), ([], one))):
        report.loss_curves(tmp_path / f'{name}.png', *arguments)
        drawn(tmp_path / f'{name}.png')


def test_gain_chart_colours_those_hurt(rng, tmp_path):
    people = [make_clip(rng, f'p{index}', frames=2) for index in range(5)]
    good, bad = ([shift(clip, slice(0, n)) for clip in people] for n in (2, 9))

    def orange(before, after):
        found = report.summarise(people, {'before': before, 'offline': after}, skeleton=PENN_ACTION)
        report.gain_chart(tmp_path / 'gain.png', found)
        blue, green, red = np.moveaxis(drawn(tmp_path / 'gain.png').astype(int), -1, 0)
        return int(((red > 200) & (green < 110) & (blue < 20)).sum())

    assert orange(bad, good) == 0
    assert orange(good, bad) > 1000


def test_gain_chart_of_a_crowd(tmp_path, known):
    crowd = [{'id': f'{n:04d}', 'before': 50.0, 'offline': 50.0 + n / 10 - 20} for n in range(1068)]
    report.gain_chart(tmp_path / 'gain.png', known | {'people': crowd})
    drawn(tmp_path / 'gain.png')


def test_gain_chart_without_personalization(rng, people, tmp_path):
    found = report.summarise(people, predict(rng, people, ['before']), skeleton=PENN_ACTION)
    report.gain_chart(tmp_path / 'gain.png', found)
    drawn(tmp_path / 'gain.png')


@pytest.mark.parametrize('count', [1, 3, 4])
def test_hero(rng, tmp_path, count):
    pairs = []
    for index, size in zip(range(count), itertools.cycle([(64, 64), (50, 90)])):
        truth = rng.uniform(5, 45, (13, 2))
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        pairs.append(report.Pair(f'p{index}', image, truth + 5, truth, 60.0, 70.0 - 5 * index,
                                 truth if index else None))  # fmt: skip
    report.hero(tmp_path / 'hero.png', pairs, skeleton=PENN_ACTION)
    drawn(tmp_path / 'hero.png')
