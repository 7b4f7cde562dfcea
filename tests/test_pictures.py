"""Pictures: they are written, show what was scored, and mark what the metric calls wrong."""

import dataclasses
import itertools

import cv2
import numpy as np
import pytest
from noise_clips import make_clip, predict, shift

from ttp_jax import geometry
from ttp_jax.data.clips import Clip, Labels
from ttp_jax.data.pairs import CropSpec
from ttp_jax.data.skeletons import BBC_POSE, HUMAN36M, PENN_ACTION
from ttp_jax.results import metrics, pictures, report, views
from ttp_jax.results.pictures import person

GREY = np.full((32, 32, 3), 128, np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def drawn(path, *, least=200):
    """The picture, which must have been written, be of some size, and show something."""
    image = cv2.imread(str(path))
    assert image is not None, f'{path} was not written'
    assert min(image.shape[:2]) >= least and max(image.shape[:2]) <= 4000
    assert image.std() > 5
    return image


def red(image):
    """How many pixels are of the red that marks what is wrong."""
    blue, green, red = np.moveaxis(image.astype(int), -1, 0)
    return int(((red > 230) & (green < 80) & (blue < 80)).sum())


# --- the contact sheet -------------------------------------------------------------------------


class Lazy:
    """Frames that are decoded on access only, and remember which were."""

    def __init__(self, frames):
        self.frames, self.read = frames, []

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        self.read.append(index)
        return self.frames[index]


def test_contact_sheet_decodes_only_what_it_shows(rng, tmp_path):
    sizes = [(48, 40), (30, 90), (100, 60)]
    people = [
        make_clip(rng, f'{size}', frames=count, size=size)
        for size, count in zip(sizes, (2, 9, 20), strict=True)
    ]
    lazy = Lazy(people[2].frames)
    people[2] = dataclasses.replace(people[2], frames=lazy)
    path = tmp_path / 'new' / 'sheet.png'
    pictures.contact_sheet(path, people, columns=4, skeleton=PENN_ACTION)
    drawn(path)
    assert lazy.read == [0, 6, 13, 19]


def spot_clip(labelled):
    """A white spot marks the place of all joints, in a frame of a colour used nowhere else."""
    frames = np.full((2, 60, 80, 3), (255, 0, 255), np.uint8)
    frames[:, 26:35, 46:55] = 255
    joints = np.full((2, 13, 2), (50, 30), np.float32)
    labels = Labels(joints, np.ones((2, 13))) if labelled else None
    return Clip('spot', frames, np.tile([10, 10, 69, 49], (2, 1)), labels), joints


@pytest.mark.parametrize('labelled', [True, False])
def test_contact_sheet_draws_joints_where_they_are(tmp_path, labelled):
    clip, joints = spot_clip(labelled)
    far = [joints + 20] if labelled else [joints]  # predictions are for clips without labels
    path = tmp_path / 'sheet.png'
    pictures.contact_sheet(path, [clip], columns=1, skeleton=PENN_ACTION, predictions=far)
    image = cv2.imread(str(path)).astype(int)
    rows, columns = np.nonzero((image == (255, 0, 255)).all(axis=2))
    first, last = rows.min(), rows.max() + 1
    gap = np.flatnonzero(np.bincount(rows)[first:] == 0) + first  # between plain and labelled
    plain, marked = (
        image[top:bottom, columns.min() : columns.max() + 1]
        for top, bottom in ((first, gap.min()), (gap.max() + 1, last))
    )
    spot = np.argwhere(plain.min(axis=2) > 200).mean(axis=0)
    marks = np.argwhere(np.abs(marked - plain).max(axis=2) > 60).mean(axis=0)
    np.testing.assert_allclose(marks, spot, atol=0.6)


# --- what was scored ---------------------------------------------------------------------------


@pytest.mark.parametrize('skeleton', [PENN_ACTION, BBC_POSE], ids=lambda skeleton: skeleton.name)
def test_counts_in_a_picture_are_the_tables(rng, skeleton):
    clip = make_clip(rng, 'p', frames=6, size=(300, 400), skeleton=skeleton)
    joints = clip.labels.joints + rng.normal(0, 12, clip.labels.joints.shape)
    spec = CropSpec(64, 16)
    counts = []
    for frame in range(6):
        shown = views.prediction(clip, frame, joints[frame], skeleton=skeleton, spec=spec)
        words = person.count_right(shown, views.truth(clip, frame, spec=spec)).split()
        counts.append((int(words[0]), int(words[2])))
    right, visible = np.sum(counts, axis=0)
    assert 0 < right < visible
    scores = metrics.pck(joints, *clip.labels, skeleton=skeleton)
    assert scores['mPCK'] == pytest.approx(100 * right / visible)


@pytest.mark.parametrize('skeleton, subtract_one', [(PENN_ACTION, True), (HUMAN36M, False)])
def test_stored_joints_are_shown_where_the_network_saw_them(rng, skeleton, subtract_one):
    clip = make_clip(rng, 'p', frames=2, size=(90, 70), skeleton=skeleton)
    cells = rng.uniform(0, 15, (len(skeleton.joints), 2))
    stored = geometry.heatmap_to_image(cells, clip.boxes[1], size=16, subtract_one=subtract_one)
    spec = CropSpec(64, 16, subtract_one=subtract_one)
    shown = views.prediction(clip, 1, np.asarray(stored), skeleton=skeleton, spec=spec)
    np.testing.assert_allclose(shown.joints, 4 * cells, atol=1e-3)


@pytest.mark.parametrize('error, wrong', [(11.5, False), (12.5, True)])
def test_bbc_pose_is_judged_in_image_pixels(tmp_path, error, wrong):
    """12 pixels of an image are fewer in a crop that shrinks it: only the image's count."""
    joints = np.linspace((200, 100), (500, 400), 7)[None]
    clip = Clip(
        'b',
        np.full((1, 480, 720, 3), 128, np.uint8),
        np.float32([[140, 40, 560, 460]]),
        Labels(joints, np.ones((1, 7))),
    )
    spec = CropSpec(64, 16)
    shown = views.prediction(clip, 0, joints[0] + (0, error), skeleton=BBC_POSE, spec=spec)
    truth = views.truth(clip, 0, spec=spec)
    assert np.linalg.norm(shown.joints - truth.joints, axis=1).max() < 2, 'the crop shrinks'
    assert shown.wrong.tolist() == [wrong] * 7
    pair = pictures.Pair('b', np.full((64, 64, 3), 128, np.uint8), shown, shown, 50.0, 50.0)
    pictures.hero(tmp_path / 'hero.png', [pair], skeleton=BBC_POSE)
    assert (red(drawn(tmp_path / 'hero.png')) > 0) == wrong


def test_nothing_is_wrong_where_nothing_is_known(rng):
    clip = make_clip(rng, 'p', frames=2)
    far, spec = clip.labels.joints[0] + 500, CropSpec(64, 16)
    shown = views.prediction(clip, 0, far, skeleton=PENN_ACTION, spec=spec)
    np.testing.assert_array_equal(shown.wrong, clip.labels.visibility[0] > 0)
    clip = dataclasses.replace(clip, labels=None)
    assert not views.prediction(clip, 0, far, skeleton=PENN_ACTION, spec=spec).wrong.any()
    assert views.truth(clip, 0, spec=spec) is None


# --- one person --------------------------------------------------------------------------------


def noise_view(rng, size=32, **without):
    seen = views.View(
        source=rng.integers(0, 256, (size, size, 3), np.uint8),
        target=rng.integers(0, 256, (size, size, 3), np.uint8),
        reconstruction=rng.integers(0, 256, (size, size, 3), np.uint8),
        self_supervised=rng.uniform(0, size, (30, 2)),
        affinity=rng.dirichlet(np.full(30, 0.1), 13),
    )
    return seen._replace(**without)


def picture(path, view, joints, wrong, truth):
    """A person's picture of two phases."""
    phases = ('before', 'offline')
    pictures.person_picture(
        path,
        'p1',
        dict.fromkeys(phases, view),
        dict.fromkeys(phases, views.Prediction(joints, wrong)),
        truth=truth,
        skeleton=PENN_ACTION,
    )
    return drawn(path, least=2 * 256)


def test_person_picture_leaves_out_columns_that_nothing_fills(rng, tmp_path):
    joints, wrong = rng.uniform(-5, 37, (13, 2)), np.arange(13) % 3 == 0
    truth = views.Truth(rng.uniform(-5, 37, (13, 2)), np.arange(13) % 4 > 0)
    nothing = dict.fromkeys(('reconstruction', 'self_supervised', 'affinity'))
    widths = [
        picture(tmp_path / 'p.png', noise_view(rng, **without), joints, wrong, known).shape[1]
        for without, known in (({}, truth), (nothing, truth), (nothing, None))
    ]
    assert widths[1] < widths[0] - 2 * 256
    assert widths[2] < widths[1] - 256, 'without labels there are no errors to show'


def test_person_picture_marks_what_is_wrong(rng, tmp_path):
    true = rng.uniform(8, 24, (13, 2))
    nothing_seen = dict(self_supervised=None, affinity=None)
    view = noise_view(rng, source=GREY, target=GREY, reconstruction=GREY, **nothing_seen)
    truth = views.Truth(true, np.ones(13, bool))
    nothing, everything = np.zeros(13, bool), np.ones(13, bool)
    right, forgiven, wrong = (
        red(picture(tmp_path / 'p.png', view, joints, marked, truth))
        for joints, marked in ((true, nothing), (true + 15, nothing), (true + 15, everything))
    )
    assert right < forgiven < wrong
    unlabelled = red(picture(tmp_path / 'p.png', view, true + 15, nothing, None))
    assert unlabelled == 0, 'not even in the legend'


# --- curves and bars ---------------------------------------------------------------------------


def test_loss_curves(rng, tmp_path):
    rows = [{'step': n, 'loss': 1 / n, 'supervised': 2 / n} for n in range(1, 200)]
    rows[5] = {'step': 6, 'loss': None, 'learning_rate': 1e-3}
    rows[7] = {'step': 8, 'pixels': float('nan')}
    padded = np.full((3, 20), np.nan)
    padded[0, :20], padded[1, :15], padded[2, :4] = 1, 0.5, 0.2
    histories = {'online': padded, 'offline': [rng.random(9), rng.random(5)], 'other': []}
    one = {'offline': np.ones((1, 1))}
    for name, arguments in enumerate(((rows, histories), (rows[:1], one), ([], {}), ([], one))):
        pictures.loss_curves(tmp_path / f'{name}.png', *arguments)
        drawn(tmp_path / f'{name}.png')


def test_gain_chart_colours_those_hurt(rng, tmp_path):
    people = [make_clip(rng, f'p{index}', frames=2) for index in range(5)]
    good, bad = ([shift(clip, slice(0, n)) for clip in people] for n in (2, 9))

    def orange(before, after):
        found = report.summarise(people, {'before': before, 'offline': after}, skeleton=PENN_ACTION)
        pictures.gain_chart(tmp_path / 'gain.png', found)
        blue, green, red = np.moveaxis(drawn(tmp_path / 'gain.png').astype(int), -1, 0)
        return int(((red > 200) & (green < 110) & (blue < 20)).sum())

    assert orange(bad, good) == 0
    assert orange(good, bad) > 1000


def test_gain_chart_of_a_crowd(tmp_path):
    crowd = [{'id': f'{n:04d}', 'before': 50.0, 'offline': 50.0 + n / 10 - 20} for n in range(1068)]
    changed = dict(improved=868, hurt=199, mean_gain=33.4, interval=(31.5, 35.2))
    found = {
        'mpck': {'before': 50.0, 'offline': 83.4},
        'people': crowd,
        'compared': {'offline': changed},
    }
    pictures.gain_chart(tmp_path / 'gain.png', found)
    drawn(tmp_path / 'gain.png')


def test_gain_chart_without_personalization(rng, tmp_path):
    people = [make_clip(rng, f'p{index}', frames=3) for index in range(4)]
    found = report.summarise(people, predict(rng, people, ['before']), skeleton=PENN_ACTION)
    pictures.gain_chart(tmp_path / 'gain.png', found)
    drawn(tmp_path / 'gain.png')


# --- before and after --------------------------------------------------------------------------


@pytest.mark.parametrize('count', [1, 3, 4])
def test_hero(rng, tmp_path, count):
    pairs = []
    for index, size in zip(range(count), itertools.cycle([(64, 64), (50, 90)])):
        joints, image = rng.uniform(5, 45, (13, 2)), rng.integers(0, 100, (*size, 3), np.uint8)
        before = views.Prediction(joints + 5, np.full(13, index > 0))
        after = views.Prediction(joints, np.zeros(13, bool))
        scores = (60.0, 70.0 - 5 * index) if index < 3 else (None, None)
        pairs.append(pictures.Pair(f'p{index}', image, before, after, *scores))
    pictures.hero(tmp_path / 'hero.png', pairs, skeleton=PENN_ACTION)
    image = drawn(tmp_path / 'hero.png')
    assert (red(image) > 0) == (count > 1)
