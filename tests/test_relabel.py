"""Labels that mean something else, or are wrong, by what an estimator saw."""

import json

import cv2
import numpy as np
import pytest
import scipy.io

from experiments import relabel
from ttp_jax.data import penn_action
from ttp_jax.data.skeletons import PENN_ACTION

MIRROR = np.array(PENN_ACTION.mirror)
SIDE = np.where(np.arange(13) <= MIRROR, 1.0, -1.0)
# Of the torso's vectors, up and to the right; the same for both sides.
MEANT = np.outer(np.ones(13), [0.06, 0.05]) * np.stack(
    [np.ones(13), SIDE * (MIRROR != range(13))], -1
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def people(rng):
    """120 frames in which people and the estimator agree to 0.3 pixels."""
    upright = np.array(
        [[0, 40], *[[s * 15, 30] for s in (1, -1)], *[[s * 22, 10] for s in (1, -1)]]
        + [*[[s * 26, -8] for s in (1, -1)], *[[s * 9, -10] for s in (1, -1)]]
        + [*[[s * 10, -35] for s in (1, -1)], *[[s * 11, -60] for s in (1, -1)]],
        float,
    ) * [1, -1]
    turn = rng.normal(0, 0.7, 120)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    joints = np.einsum('ijn,kj->nki', rotation, upright) + 200 + rng.normal(0, 1, (120, 13, 2))
    found = np.concatenate([joints + rng.normal(0, 0.3, joints.shape), np.ones((120, 13, 1))], -1)
    return relabel.Labelled(joints, np.ones((120, 13)), np.full(120, 110.0), found)


def test_what_labels_mean_is_found_and_undone(people, rng):
    labelled = relabel.moved(people.found[..., :2], MEANT) + rng.normal(0, 0.3, (120, 13, 2))
    labelled[:20, 5] += 40  # wrong labels say nothing of what right ones mean
    shift = relabel.offsets(people._replace(joints=labelled))
    np.testing.assert_allclose(shift, MEANT, atol=6e-3)
    back = relabel.moved(labelled, -shift)
    assert np.abs(back - people.found[..., :2])[20:].max() < 3


def test_exchanged_sides_are_put_right_and_wrong_joints_hidden(people):
    joints, seen = people.joints.copy(), people.seen.copy()
    joints[3] = joints[3][MIRROR]
    seen[3, 5] = 0  # of the right wrist, as it turns out
    joints[4, 9] += 60
    joints[5, 9] += 60
    found = people.found.copy()
    found[5, 9, 2] = 0.2  # of what the estimator does not know either it says nothing
    found[6] = np.nan
    joints[6, 9] += 60
    after, visible = relabel.believed(people._replace(joints=joints, seen=seen, found=found))
    np.testing.assert_array_equal(after[3], people.joints[3])
    np.testing.assert_array_equal(after[4:], joints[4:])
    hidden = {(int(n), int(j)) for n, j in np.argwhere(visible == 0)}
    assert hidden == {(3, 6), (4, 9)}


@pytest.fixture
def folder(tmp_path, people):
    """A function that writes a folder of one clip, given its name and joints."""

    def write(name, joints):
        root = tmp_path / name
        (root / 'labels').mkdir(parents=True)
        (root / 'frames' / '0001').mkdir(parents=True)
        for t in range(len(joints)):
            image = np.full((400, 400, 3), 99, np.uint8)
            cv2.imwrite(str(root / 'frames' / '0001' / f'{t + 1:06d}.jpg'), image)
        label = {
            'x': joints[..., 0],
            'y': joints[..., 1],
            'visibility': np.ones((len(joints), 13)),
            'bbox': np.tile([140.0, 140, 250, 250], (len(joints), 1)),
            'train': 1,
            'nframes': len(joints),
            'action': 'none',
            'dimensions': np.array([400, 400, len(joints)]),
        }
        scipy.io.savemat(root / 'labels' / '0001.mat', label)
        (root / 'videos.json').write_text(json.dumps([{'video': 1, 'source': name}]))
        np.savez(tmp_path / f'{name}.npz', **{'0001': people.found})
        return root

    return write


def test_a_folder_is_moved_to_what_another_means(folder, people, tmp_path, capsys):
    real = folder('real', relabel.moved(people.joints, MEANT))
    other = folder('other', relabel.moved(people.joints, -MEANT))
    new = tmp_path / 'new'
    like = ['--like', str(real), str(tmp_path / 'real.npz')]
    relabel.main(['move', str(other), str(new), f'--found={tmp_path / "other.npz"}', *like])
    assert '0 joints are unseen now' in capsys.readouterr().out
    (clip,) = penn_action.penn_action_clips(new, split='train')
    assert np.asarray(clip.frames[0]).shape == (400, 400, 3)
    np.testing.assert_allclose(clip.labels.joints, relabel.moved(people.joints, MEANT), atol=1.5)


def test_what_was_not_looked_at_is_named(folder, people, tmp_path, capsys):
    real = folder('real', people.joints)
    other = folder('other', people.joints[:7])
    like = ['--like', str(real), str(tmp_path / 'real.npz')]
    arguments = [
        'move',
        str(other),
        str(tmp_path / 'new'),
        f'--found={tmp_path / "other.npz"}',
        *like,
    ]
    with pytest.raises(SystemExit, match=r'0001.mat: found \(120, 13, 3\).*of its 7 frames'):
        relabel.main(arguments)
