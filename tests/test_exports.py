"""What other programs read of a video's keypoints is what was found."""

import csv
import json

import av
import numpy as np
import pytest
import video_files

from ttp_jax.data.skeletons import PENN_ACTION
from ttp_jax.data.video import Frame
from ttp_jax.results.exports import charts, coco, deeplabcut, keypoints, overlay, page, smoothing
from ttp_jax.results.views import Prediction, View

JOINTS = PENN_ACTION.joints


def found(frames=range(6), person='ann', personalized=False, seed=0):
    frames = np.array(frames)
    rng = np.random.default_rng(seed)
    joints = rng.uniform(5, 45, (len(frames), 13, 2)).astype(np.float32)
    scores = rng.uniform(0, 1, (len(frames), 13)).astype(np.float32)
    boxes = np.tile(np.array([2, 3, 41, 42], np.float32), (len(frames), 1))
    return keypoints.Found(
        person, frames, frames / 10, boxes, joints, scores, np.full(len(frames), personalized)
    )


def test_the_table_has_a_row_per_frame_person_and_joint(tmp_path):
    ann, bob = found(), found([2, 3], 'bob', personalized=True, seed=1)
    keypoints.write_table(tmp_path / 'k.csv', [ann, bob], joints=JOINTS)
    rows = list(csv.DictReader((tmp_path / 'k.csv').open()))
    assert tuple(rows[0]) == keypoints.COLUMNS and len(rows) == (6 + 2) * 13
    row = next(
        r for r in rows if (r['frame'], r['person'], r['joint']) == ('3', 'bob', 'left knee')
    )
    np.testing.assert_allclose(
        [float(row[k]) for k in ('time', 'x', 'y', 'confidence', 'personalized')],
        [0.3, *bob.joints[1, 9], bob.scores[1, 9], 1],
        atol=1e-3,
    )
    assert [int(r['frame']) for r in rows] == sorted(int(r['frame']) for r in rows)


def test_parts_of_a_person_are_joined_and_their_gaps_known():
    (whole,) = keypoints.joined([found([8, 9]), found([1, 2, 3])])
    assert whole.frames.tolist() == [1, 2, 3, 8, 9]
    assert keypoints.runs(whole) == [slice(0, 3), slice(3, 5)]


def test_coco_numbers_joints_from_one_and_keeps_tracks(tmp_path):
    people = [found(), found([2, 3], 'bob')]
    coco.write(tmp_path / 'c.json', people, skeleton=PENN_ACTION, video='v', size=(48, 64))
    tree = json.loads((tmp_path / 'c.json').read_text())
    assert len(tree['images']) == 6 and len(tree['annotations']) == 8
    bob = next(a for a in tree['annotations'] if a['track_id'] == 2)
    np.testing.assert_allclose(
        np.reshape(bob['keypoints'], (13, 3))[:, :2], people[1].joints[0], atol=0.01
    )
    assert bob['bbox'] == [2, 3, 40, 40]
    names = tree['categories'][0]['keypoints']
    bones = {(names[a - 1], names[b - 1]) for a, b in tree['categories'][0]['skeleton']}
    assert ('left_knee', 'left_ankle') in bones


@pytest.mark.parametrize('people', [[found([1, 2, 4])], [found(), found([2, 3], 'bob')]])
def test_deeplabcut_reads_its_own_layout(tmp_path, people):
    pandas = pytest.importorskip('pandas')
    deeplabcut.write_csv(tmp_path / 'd.csv', people, joints=JOINTS)
    levels = 3 if len(people) == 1 else 4
    table = pandas.read_csv(tmp_path / 'd.csv', header=list(range(levels)), index_col=0)
    one = people[0].person
    column = ('ttp_jax', *[one] * (levels == 4), 'right_hip', 'y')
    np.testing.assert_allclose(
        table.loc[people[0].frames, column], people[0].joints[:, 8, 1], atol=1e-3
    )
    if one == 'ann' and levels == 3:
        assert table.loc[3].isna().all()
    if deeplabcut.writes_hdf5():
        deeplabcut.write_hdf5(tmp_path / 'd.h5', people, joints=JOINTS)
        stored = pandas.read_hdf(tmp_path / 'd.h5')
        np.testing.assert_allclose(stored.values, table.values, atol=1e-4)
        assert list(stored.columns.names)[-2:] == ['bodyparts', 'coords']


# --- smoothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', smoothing.KINDS)
def test_smoothing_takes_noise_out(kind):
    rng, times = np.random.default_rng(0), np.arange(90) / 30
    truth = np.stack([100 + 5 * np.sin(times), 50 + 10 * times], axis=-1)[:, None]
    noisy = truth + rng.normal(0, 3, truth.shape)
    person = found(range(90))._replace(joints=noisy, times=times)
    smooth = smoothing.smoothed(person, kind)
    assert np.abs(smooth.joints - truth).mean() < 0.7 * np.abs(noisy - truth).mean()
    np.testing.assert_array_equal(person.joints, noisy)  # the raw ones are kept


def test_one_euro_knows_nothing_of_the_future_and_savitzky_golay_keeps_parabolas():
    times = np.arange(20) / 30
    jump = np.where(np.arange(20) < 10, 0.0, 50.0)[:, None]
    assert not smoothing.one_euro(jump, times)[:10].any()
    parabola = (np.arange(20.0) ** 2)[:, None]
    np.testing.assert_allclose(smoothing.savitzky_golay(parabola), parabola, atol=1e-6)


def test_nothing_is_smoothed_over_a_gap():
    person = found([0, 1, 2, 50, 51, 52])
    person = person._replace(joints=np.repeat([0.0, 40.0], 3)[:, None, None] * np.ones((6, 13, 2)))
    for kind in smoothing.KINDS:
        np.testing.assert_allclose(smoothing.smoothed(person, kind).joints, person.joints)


def test_an_unknown_smoothing_is_named():
    with pytest.raises(ValueError, match="no smoothing 'mean'; known: one_euro"):
        smoothing.smoothed(found(), 'mean')


# --- video and page ----------------------------------------------------------------------------


def test_the_annotated_video_shows_both_phases_beside_each_other(tmp_path):
    frames = [Frame(t, t / 10, f) for t, f in enumerate(video_files.moving_square(6))]
    before = found()
    after = before._replace(joints=before.joints * 0 + 30)
    path = tmp_path / 'v.mp4'
    phases = {'before': [before], 'after': [after]}
    overlay.write(path, frames, phases, skeleton=PENN_ACTION, rate=10)
    with av.open(str(path)) as container:
        seen = [f.to_ndarray(format='rgb24').astype(float) for f in container.decode(video=0)]
    assert len(seen) == 6
    half = 360  # a small video is enlarged
    assert seen[0].shape[1] == pytest.approx(2 * half + 4, abs=2)
    left, right = seen[3][:, :half], seen[3][:, -half:]
    differs = np.abs(left - right).max(axis=-1) > 60
    assert 0.02 < differs.mean() < 0.6  # the skeletons, and only they
    assert list(tmp_path.iterdir()) == [path]


def test_the_frames_that_changed_most_lie_apart():
    before = found(range(40))
    joints = before.joints.copy()
    joints[10:13] += 20
    joints[30] += 5
    after = before._replace(joints=joints)
    rows = charts.most_changed(before, after, count=2)
    assert rows[0] in (10, 11, 12) and rows[1] == 30


def test_the_page_holds_everything_and_escapes_what_it_is_told(tmp_path):
    before, after = found(), found(seed=3, personalized=True)
    image = np.full((48, 64, 3), 90, np.uint8)
    view = View(
        image[:48, :48],
        image[:48, :48],
        image[:48, :48],
        np.full((4, 2), 20.0),
        np.full((13, 4), 0.25),
    )
    drawn = {'before': Prediction(before.joints[0], np.zeros(13, bool))}
    still = page.Still(2, 0.2, image, before.boxes[2], before.joints[2], after.joints[2])
    story = page.Story(before, after, np.linspace(2, 1, 50), [still], {'before': view}, drawn)
    (tmp_path / 'v.mp4').write_bytes(b'video')
    page.write(
        tmp_path / 'p.html',
        [story],
        title='<clip>',
        skeleton=PENN_ACTION,
        seconds={'before': 2.0, 'offline': 3.0},
        warnings=['no boxes & no people'],
        video=tmp_path / 'v.mp4',
    )
    text = (tmp_path / 'p.html').read_text()
    assert '&lt;clip&gt;' in text and 'no boxes &amp; no people' in text
    assert 'http' not in text  # nothing from elsewhere
    assert text.count('src="data:image') == 6 and 'src="data:video/mp4;base64,' in text
    assert '<td>offline</td><td>3.0</td><td>2.0</td>' in text
