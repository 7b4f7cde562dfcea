"""Drawn people: reproducible, truly where their joints say, and moving as whole bodies do."""

import dataclasses
import hashlib

import numpy as np
import pytest
import scipy.io

from ttp_jax.data import clips
from ttp_jax.data.drawn import drawing, figure, label_motion, motion, scenery, synthetic
from ttp_jax.data.skeletons import PENN_ACTION

JOINT = {name: index for index, name in enumerate(PENN_ACTION.joints)}
UPRIGHT = np.array(  # a standing person who faces the camera with raised arms
    [
        [0, -8],
        [2, -6],
        [-2, -6],
        [4, -8],
        [-4, -8],
        [4, -11],
        [-4, -11],
        [1, 0],
        [-1, 0],
        [2, 5],
        [-2, 5],
        [2, 10],
        [-2, 10],
    ],
    float,
)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope='module')
def people():
    return synthetic.drawn_clips(seed=0, split='train', people=6, frames=12, size=64)


@pytest.fixture(scope='module')
def invented():
    """Motions of many people, without drawing them."""
    return [motion.fit_to_frame(motion.act(rng(seed), 24), rng(seed), 96) for seed in range(60)]


def waving(frames, amplitude=3.0, centre=(150.0, 120.0)):
    """Label coordinates of a person of 110 pixels who sways and waves."""
    time = np.linspace(0, 6, frames)[:, None]
    joints = np.tile(5 * UPRIGHT, (frames, 1, 1)) + centre
    joints[..., 0] += 2 * amplitude * np.sin(time)
    joints[:, motion.WRISTS, 1] += 4 * amplitude * np.cos(time)
    return joints


def write_label(path, joints, train=1, **changes):
    frames = len(joints)
    fields = {
        'action': 'squat',
        'x': joints[..., 0],
        'y': joints[..., 1],
        'visibility': np.ones((frames, 13), np.uint8),
        'train': train,
        'bbox': np.tile([90.0, 50.0, 210.0, 190.0], (frames, 1)),
        'dimensions': [240, 320, frames],
        'nframes': frames,
    } | changes
    scipy.io.savemat(path, {name: value for name, value in fields.items() if value is not None})


def similarity_residual(drawn, label):
    """Largest distance, after the best scale and shift of the label; `[..., 2]` each."""
    drawn, label = (points.reshape(-1, 2).astype(float) for points in (drawn, label))
    drawn, label = drawn - drawn.mean(axis=0), label - label.mean(axis=0)
    scale = (drawn * label).sum() / (label * label).sum()
    assert scale > 0
    return np.linalg.norm(drawn - scale * label, axis=-1).max()


def same(one, other):
    arrays = ((clip.frames, clip.boxes, *clip.labels) for clip in (one, other))
    return all(np.array_equal(*pair) for pair in zip(*arrays, strict=True))


# ---- Reproducible -------------------------------------------------------------------------------


def test_a_person_does_not_depend_on_how_many_are_drawn(people):
    *_, last = synthetic.drawn_clips(seed=0, split='train', people=2, frames=12, size=64)
    assert last.id == people[1].id == 'train-00001'
    assert same(last, people[1])


def test_people_splits_and_seeds_differ(people):
    others = [
        *synthetic.drawn_clips(seed=0, split='test', people=1, frames=12, size=64),
        *synthetic.drawn_clips(seed=1, split='train', people=1, frames=12, size=64),
        *people,
    ]
    assert others[0].id == 'test-00000'
    for index, one in enumerate(others):
        for other in others[:index]:
            assert np.abs(one.labels.joints - other.labels.joints).max() > 2
            assert np.abs(one.frames[0].astype(int) - other.frames[0]).mean() > 10


def test_pixels_are_pinned():
    """Numbers in reports hang on these pixels: they must not change unnoticed."""
    (clip,) = synthetic.drawn_clips(seed=0, split='test', people=1, frames=4, size=96)
    assert hashlib.sha256(clip.frames.tobytes()).hexdigest()[:16] == '12bd2956258b0eeb'


# ---- As the contract says -----------------------------------------------------------------------


def test_clips_are_valid(people):
    for clip in people:
        clips.decoded(clip)
        assert clip.frames.shape == (12, 64, 64, 3) and clip.frames.dtype == np.uint8
        assert (
            clip.labels.joints.dtype
            == clip.labels.visibility.dtype
            == clip.boxes.dtype
            == np.float32
        )
        assert (clip.labels.visibility == 1).all()


def test_boxes_hold_the_joints_and_stay_in_the_frame(people):
    for clip in people:
        low, high = clip.boxes[:, None, :2], clip.boxes[:, None, 2:]
        assert (clip.labels.joints >= low).all() and (clip.labels.joints <= high).all()
        assert clip.boxes.min() >= 0 and clip.boxes.max() <= 63


def test_a_person_takes_most_of_the_frame(invented):
    extents = [np.median(np.ptp(person.joints, axis=1).max(axis=-1)) / 96 for person in invented]
    assert min(extents) > 0.4 and max(extents) < 0.85
    assert np.median(extents) > 0.55  # of joints; head, hands and feet add about a tenth


def test_joints_outside_the_frame_are_invisible():
    still = dataclasses.replace(hand_made(), joints=np.stack([UPRIGHT, 8 * UPRIGHT]))
    fitted = motion.fit_to_frame(still, rng(), 64)
    outside = ((fitted.joints < 0) | (fitted.joints > 63)).any(axis=-1)
    np.testing.assert_array_equal(fitted.visibility, 1 - outside)


# ---- Drawn where the joints are -----------------------------------------------------------------


def hand_made(facing=1.0):
    """Two frames of the upright person, in a 64-pixel frame."""
    joints = np.tile(2.4 * UPRIGHT * [facing, 1] + [32, 33], (2, 1, 1))
    return motion.Motion(
        joints, np.ones((2, 13)), np.zeros((2, 13)), np.full(2, facing), np.zeros(2)
    )


def plain_look(**changes):
    look = figure.dress(rng(1), [(128, 128, 128)])
    return dataclasses.replace(look, build=1.0, **changes)


def grey_canvas(size=64):
    return np.full((drawing.SUPERSAMPLE * size,) * 2 + (3,), 128, np.uint8)


@pytest.mark.parametrize('facing', [1.0, -1.0])
def test_limbs_are_painted_between_their_own_joints(facing):
    red, blue = (250, 0, 0), (0, 0, 250)
    look = plain_look(forearms=(drawing.Cloth(red), drawing.Cloth(blue)))
    person = hand_made(facing)
    image = figure.paint_person(grey_canvas(), person, 0, look).astype(int)
    for side, channel in (('left', 0), ('right', 2)):
        mask = (image[..., channel] > 100) & (image.sum(axis=-1) - image[..., channel] < 60)
        assert mask.sum() > 5
        centre = np.argwhere(mask)[:, ::-1].mean(axis=0)
        ends = person.joints[0, [JOINT[f'{side} elbow'], JOINT[f'{side} wrist']]]
        np.testing.assert_allclose(centre, ends.mean(axis=0), atol=1.0)


def test_joints_lie_on_painted_pixels():
    hits, share = [], []
    for seed in range(12):
        person = motion.fit_to_frame(motion.act(rng(seed), 6), rng(seed), 64)
        image = figure.paint_person(grey_canvas(), person, 3, plain_look()).astype(int)
        painted = np.ptp(image, axis=-1) + np.abs(image[..., 0] - 128) > 40  # more than shadow
        x, y = np.rint(person.joints[3]).astype(int).T
        hits.append(painted[y, x])
        share.append(painted.mean())
    assert np.mean(hits) > 0.97
    assert np.max(share) < 0.4  # a painted frame would hit every joint


def test_the_background_stands_still(people):
    x, y = np.meshgrid(np.arange(64), np.arange(64))
    moved = []
    for clip in people:
        low, high = clip.boxes[:, :2, None, None] - 4, clip.boxes[:, 2:, None, None] + 4
        inside = (x > low[:, 0]) & (x < high[:, 0]) & (y > low[:, 1]) & (y < high[:, 1])
        outside = ~(inside[1:] | inside[:-1])
        change = np.abs(np.diff(clip.frames.astype(int), axis=0))
        assert outside.sum() > 1000
        assert change[outside].max() <= 20  # the noise of two frames, nine levels each at most
        moved.append(change[~outside].max())
    assert min(moved) > 60


def test_backgrounds_are_cluttered():
    for seed in range(5):
        image, colours = scenery.paint_background(rng(seed), 64, ground=0.9)
        assert image.shape == (192, 192, 3) and len(colours) == 2
        # Muted, as through haze, but nowhere plain.
        assert image.std(axis=(0, 1)).min() > 4


# ---- Motion -------------------------------------------------------------------------------------


def test_left_is_on_the_right_of_who_faces_the_camera(invented):
    towards, away = [], []
    for person in invented:
        hips = person.joints[:, motion.HIPS]
        down, across = motion.trunk_axes(person.joints)  # across: image right of who is upright
        side = ((hips[:, 0] - hips[:, 1]) * across).sum(axis=-1) > 0
        upright = down[:, 1] > 0.8 * motion.trunk_length(person.joints)
        towards.extend(side[upright & (person.facing > 0.7)])
        away.extend(~side[upright & (person.facing < -0.7)])
    assert all(towards) and all(away)
    assert len(towards) > len(away) > 40


def test_bodies_move_as_a_whole_and_smoothly(invented):
    for person in invented:
        steps = np.diff(person.joints, axis=0)
        assert np.abs(steps).max() < 0.2 * 96
        # Jitter would give 1.73, a random walk 1.41, an even swing of 16 frames 0.39.
        assert np.std(np.diff(steps, axis=0)) < 0.95 * np.std(steps)
    spread = np.mean([person.joints.std(axis=0).mean(axis=-1) for person in invented], axis=0)
    assert (spread > 0.015 * 96).all()  # every joint moves
    assert (spread[motion.WRISTS + motion.ANKLES] > 0.03 * 96).all()


def test_limbs_foreshorten_but_never_stretch():
    for seed in range(20):
        person = motion.act(rng(seed), 24)
        for start, end in PENN_ACTION.bones[3:7] + PENN_ACTION.bones[10:]:
            flat = np.linalg.norm(person.joints[:, end] - person.joints[:, start], axis=-1)
            depth = person.depth[:, end] - person.depth[:, start]
            np.testing.assert_allclose(np.hypot(flat, depth).std(), 0, atol=1e-6)


# ---- Motion from labels -------------------------------------------------------------------------


def drawn_from(folder, frames=12, split='train', people=1, size=64):
    return synthetic.drawn_clips(
        seed=0, split=split, people=people, frames=frames, size=size, motion=folder
    )


def test_people_move_as_the_label_moves(tmp_path):
    joints = waving(12)
    write_label(tmp_path / '0001.mat', joints)
    (clip,) = drawn_from(tmp_path)
    assert similarity_residual(clip.labels.joints, joints) < 0.05
    assert np.ptp(clip.labels.joints[..., 1], axis=1).max() > 0.5 * 64
    clips.decoded(clip)


def test_the_labels_own_split_is_honoured(tmp_path):
    still, wild = waving(12, amplitude=0), waving(12, amplitude=6)
    write_label(tmp_path / '0001.mat', still, train=1)
    write_label(tmp_path / '0002.mat', wild, train=-1)
    assert all(
        similarity_residual(clip.labels.joints, still) < 0.05
        for clip in drawn_from(tmp_path, people=3)
    )
    (test,) = drawn_from(tmp_path, split='test')
    assert (
        similarity_residual(test.labels.joints, wild)
        < 0.05
        < similarity_residual(test.labels.joints, still)
    )


def test_labels_are_shared_out_before_they_repeat(tmp_path):
    motions = [waving(12, amplitude=amplitude) for amplitude in (0, 2, 4, 6)]
    for index, joints in enumerate(motions):
        write_label(tmp_path / f'{index}.mat', joints)
    drawn = drawn_from(tmp_path, people=5)
    used = [
        int(np.argmin([similarity_residual(clip.labels.joints, joints) for joints in motions]))
        for clip in drawn
    ]
    assert sorted(used[:4]) == [0, 1, 2, 3] and used[4] == used[0]
    assert not np.array_equal(drawn[4].frames, drawn[0].frames)


def test_absent_joints_are_filled_in_and_stay_invisible(tmp_path):
    joints, visibility = waving(12), np.ones((12, 13), np.uint8)
    absent = joints.copy()
    absent[4, JOINT['left wrist']] = 1  # one frame: from its neighbours
    absent[:, JOINT['right knee']] = 1  # throughout: from the other side
    visibility[absent[..., 0] == 1] = 0
    write_label(tmp_path / '0001.mat', absent, visibility=visibility)
    (clip,) = drawn_from(tmp_path)
    np.testing.assert_array_equal(clip.labels.visibility, visibility)
    np.testing.assert_allclose(
        clip.labels.joints[:, JOINT['right knee']],
        clip.labels.joints[:, JOINT['left knee']],
        atol=1e-3,
    )
    neighbours = clip.labels.joints[[3, 5], JOINT['left wrist']].mean(axis=0)
    np.testing.assert_allclose(clip.labels.joints[4, JOINT['left wrist']], neighbours, atol=0.05)


def test_long_labels_are_subsampled_and_short_ones_go_back_and_forth(tmp_path):
    long = label_motion.LabelledBody(waving(50), np.ones((50, 13)))
    followed = label_motion.follow_label(long, rng(), 24).joints
    numbers = [int(np.abs(long.joints - frame).sum(axis=(1, 2)).argmin()) for frame in followed]
    assert set(np.diff(numbers)) == {2}
    short = label_motion.LabelledBody(waving(5), np.ones((5, 13)))
    followed = label_motion.follow_label(short, rng(), 10).joints
    steps = np.abs(np.diff(followed, axis=0)).max(axis=(1, 2))
    assert steps.max() <= np.abs(np.diff(short.joints, axis=0)).max() + 1e-9  # no jump at the ends


def test_a_turned_person_is_recognised():
    towards = label_motion.follow_label(
        label_motion.LabelledBody(waving(9), np.ones((9, 13))), rng(), 9
    )
    behind = waving(9)[:, list(PENN_ACTION.mirror)]
    away = label_motion.follow_label(label_motion.LabelledBody(behind, np.ones((9, 13))), rng(), 9)
    assert (towards.facing > 0.5).all() and (away.facing < -0.5).all()


def test_labels_that_cannot_be_drawn_are_left_out(tmp_path):
    write_label(tmp_path / '0001.mat', waving(12))
    stretched = waving(12)
    stretched[:, JOINT['left wrist'], 0] += 150
    write_label(tmp_path / '0002.mat', stretched)
    wandering = waving(12)
    wandering[..., 0] += np.linspace(0, 400, 12)[:, None]
    write_label(tmp_path / '0003.mat', wandering)
    few = waving(12)
    few[:, 7:] = 1
    write_label(tmp_path / '0004.mat', few, visibility=np.repeat([[1] * 7 + [0] * 6], 12, axis=0))
    assert len(label_motion.read_labels(tmp_path, 'train')) == 1


def test_penn_actions_own_labels_can_be_drawn(shared_dir):
    folder = shared_dir / 'penn_action' / 'labels'
    if not folder.is_dir():
        pytest.skip(f'no Penn Action labels: {folder} is missing')
    for split, least in (('train', 700), ('test', 600)):
        bodies = label_motion.read_labels(folder, split)
        assert len(bodies) > least
        for body in bodies[:40]:
            person = motion.fit_to_frame(label_motion.follow_label(body, rng(), 24), rng(), 96)
            assert np.isfinite(person.joints).all() and np.isfinite(person.depth).all()
            assert (
                person.visibility <= ((person.joints >= 0) & (person.joints <= 95)).all(-1)
            ).all()


# ---- Errors -------------------------------------------------------------------------------------


def one_line(error):
    return '\n' not in str(error.value)


@pytest.mark.parametrize(
    'changes, words',
    [
        ({'split': 'val'}, "split is 'val'"),
        ({'people': 0}, 'people is 0'),
        ({'frames': 1}, 'frames is 1'),
        ({'size': 8}, 'size is 8'),
    ],
)
def test_arguments_out_of_range(changes, words):
    arguments = {'seed': 0, 'split': 'train', 'people': 1, 'frames': 4, 'size': 64} | changes
    with pytest.raises(ValueError, match=words) as error:
        synthetic.drawn_clips(**arguments)
    assert one_line(error)


def test_folders_without_usable_labels(tmp_path):
    for folder in (tmp_path / 'nowhere', tmp_path):
        with pytest.raises(ValueError, match=str(folder)) as error:
            drawn_from(folder)
        assert one_line(error)
    write_label(tmp_path / '0001.mat', waving(12), train=-1)
    with pytest.raises(ValueError, match=f"{tmp_path}.*split 'train'"):
        drawn_from(tmp_path)


def test_unreadable_and_incomplete_labels_are_named(tmp_path):
    write_label(tmp_path / '0001.mat', waving(12), visibility=None)
    with pytest.raises(ValueError, match='0001.mat.*visibility') as error:
        drawn_from(tmp_path)
    assert one_line(error)
    write_label(tmp_path / '0001.mat', waving(12))
    (tmp_path / '0002.mat').write_bytes(b'not a label')
    with pytest.raises(ValueError, match='0002.mat'):
        drawn_from(tmp_path)
