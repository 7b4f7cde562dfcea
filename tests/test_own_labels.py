"""Labels that people bring: any joints, few labels, frames without any, and the scores of them."""

import json

import label_files
import model_files
import numpy as np
import pytest
from test_main import tiny_config

import ttp_jax
from configs import joint
from ttp_jax.data import coco, deeplabcut, sets, skeletons
from ttp_jax.networks.joints import with_joints
from ttp_jax.results import metrics, report
from ttp_jax.run import check_config, job

# --- skeletons -------------------------------------------------------------------------------


def test_sides_and_mirror_images_follow_from_names_however_they_are_written():
    names = ('nose', 'left_hip', 'right_hip', 'earL', 'earR', 'LPaw', 'RPaw', 'Left Eye', 'tail')
    found = skeletons.of_names(names)
    assert found.mirror == (0, 2, 1, 4, 3, 6, 5, 7, 8)  # one eye has no other
    assert found.sides == ('', 'left', 'right', 'left', 'right', 'left', 'right', '', '')
    assert dict(found.groups)['Hip'] == (1, 2) and dict(found.groups)['Paw'] == (5, 6)
    assert found.torso is None
    assert skeletons.from_text(skeletons.to_text(found)) == found


@pytest.mark.parametrize(
    'names, mirror',
    [
        (('snout', 'leftear', 'rightear', 'tailbase'), (0, 2, 1, 3)),
        (('Lhip', 'Rhip', 'LEFTEAR', 'RIGHTEAR', 'Rear', 'Rump'), (1, 0, 3, 2, 4, 5)),
        (('鼻', '左肩', '右肩'), (0, 1, 2)),  # no side is known, and none is made up
        (('point.1', 'point1', 'left hip', 'hip left', 'right hip'), (0, 1, 4, 3, 2)),
    ],
)
def test_sides_are_seen_in_one_word_and_never_where_there_is_no_other(names, mirror):
    found = skeletons.of_names(names)
    assert found.mirror == mirror
    assert skeletons.sources(names, names) == list(range(len(names)))
    assert [side != '' for side in found.sides] == [j != m for j, m in enumerate(mirror)]


@pytest.mark.parametrize(
    'joints, bones, message',
    [
        ((), (), 'expected one name at least'),
        (('a', 'a'), (), "'a' is named twice"),
        (('a', 'b'), ((0, 2),), r'bone \(0, 2\) has an end'),
    ],
)
def test_joints_that_cannot_be_are_named(joints, bones, message):
    with pytest.raises(ValueError, match=message):
        skeletons.of_names(joints, bones)


# --- scores ----------------------------------------------------------------------------------

CREATURE = skeletons.of_names(label_files.PARTS, ((0, 1), (0, 2), (0, 3)))


def labelled(frames=4):
    joints = np.stack([label_files.joints_at(t) for t in range(frames)])
    return joints, np.ones(joints.shape[:2])


def test_a_joint_is_right_within_a_tenth_of_the_box_around_the_labels():
    joints, seen = labelled()  # boxes of 24 by 12 pixels
    for error, right in ((2.39, 100.0), (2.41, 0.0)):
        assert metrics.pck(joints + [error, 0], joints, seen, skeleton=CREATURE)['mPCK'] == right
    # What nobody labelled has no place: it moves no box.
    seen[:, 3], joints[:, 3] = 0, 0
    scores = metrics.pck(joints + [0.61, 0], joints, seen, skeleton=CREATURE)
    assert np.isnan(scores['Tail base']) and scores['Ear'] == 100
    assert metrics.pck(joints + [1.21, 0], joints, seen, skeleton=CREATURE)['mPCK'] == 0


def test_a_frame_with_one_labelled_joint_has_no_box_and_does_not_count():
    joints, seen = labelled(2)
    seen[0, 1:] = 0
    off = joints.copy()
    off[0] += 1000
    assert metrics.pck(off, joints, seen, skeleton=CREATURE)['mPCK'] == 100
    assert not metrics.scored(joints, seen, skeleton=CREATURE)[0].any()


def test_oks_is_that_of_coco_with_the_area_of_the_box():
    joints, seen = labelled(1)
    area, k = 24.0 * 12.0, 0.1
    off = joints + [3.0, 0]
    expected = 100 * np.array([np.exp(-9 / (2 * area * s**2)) for s in (k, 0.07, 0.07, k)]).mean()
    assert metrics.oks(off, joints, seen, skeleton=CREATURE) == pytest.approx(expected)
    assert metrics.oks(joints, joints, seen, skeleton=CREATURE) == 100
    assert np.isnan(metrics.oks(joints, joints, 0 * seen, skeleton=CREATURE))


def test_torsos_count_beside_boxes_where_the_labels_name_one():
    names = [f'{side}_{part}' for part in ('shoulder', 'hip', 'knee') for side in ('left', 'right')]
    person = skeletons.of_names(names)
    joints = np.array([[[0, 0], [10, 0], [0, 20], [10, 20], [0, 60], [10, 60]]], float)
    joints, seen = np.tile(joints, (2, 1, 1)), np.ones((2, 6))
    seen[1, 0] = 0  # a torso that is not there
    off = joints + [0, 5.0]  # 0.25 torsos, less than a tenth of the box of 60
    found = metrics.beside([off], [joints], [seen], skeleton=person)
    assert metrics.pck(off, joints, seen, skeleton=person)['mPCK'] == 100
    assert found['mPCK@0.2 torso'] == 0 and 0 < found['OKS'] < 100
    off[0] = joints[0]
    found = metrics.beside([off], [joints], [seen], skeleton=person)
    assert found['mPCK@0.2 torso'] == 100
    assert metrics.beside([off], [joints], [seen], skeleton=skeletons.PENN_ACTION) == {}


# --- COCO ------------------------------------------------------------------------------------


def test_coco_sequences_become_clips_with_frames_that_nobody_labelled(tmp_path):
    root = label_files.coco(tmp_path)
    assert coco.coco_skeleton(root).joints == label_files.PARTS
    train, test = (coco.coco_clips(root, split=split) for split in ('train', 'test'))
    everyone = {clip.id: clip for clip in train + test}
    assert len(train) == 3 and len(test) == 1 and set(everyone) == {'a-1', 'b-1', 'c-1', 'd'}
    clip = everyone['b-1']
    assert len(clip.frames) == 6 and np.asarray(clip.frames[3]).shape == (56, 72, 3)
    assert (clip.labels.visibility.max(axis=1) > 0).tolist() == [True, False, True] + [
        False
    ] * 2 + [True]
    np.testing.assert_allclose(clip.labels.joints[5], label_files.joints_at(5))
    np.testing.assert_allclose(clip.boxes[1], (clip.boxes[0] + clip.boxes[2]) / 2, atol=1e-4)
    assert everyone['d'].labels is None
    np.testing.assert_array_equal(everyone['d'].boxes[0], [0, 0, 71, 55])


def test_files_named_train_and_val_are_what_they_are_called(tmp_path):
    root = label_files.coco(tmp_path, unlabelled='')
    (root / 'labels.json').rename(root / 'person_keypoints_train.json')
    tree = json.loads((root / 'person_keypoints_train.json').read_text())
    kept = [image for image in tree['images'] if image['file_name'].startswith('a')]
    ids = {image['id'] for image in kept}
    tree['images'] = kept
    tree['annotations'] = [each for each in tree['annotations'] if each['image_id'] in ids]
    (root / 'person_keypoints_val.json').write_text(json.dumps(tree))
    assert [clip.id for clip in coco.coco_clips(root, split='test')] == ['a-1']
    assert len(coco.coco_clips(root, split='train')) == 3


def spoilt(root, change):
    path = root / 'labels.json'
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda t: t.pop('categories'), r"labels\.json: KeyError\('categories'\), expected COCO"),
        (lambda t: t['categories'][0].pop('keypoints'), 'no category has keypoints'),
        (lambda t: t['annotations'][0].update(keypoints=[1, 2]), 'annotation 0: 2 numbers'),
        (lambda t: t['annotations'][0].update(keypoints=['x'] * 12), 'annotation 0: could not'),
        (lambda t: t['annotations'][0].update(bbox=[1, 2]), r'annotation 0: bbox is \[1, 2\]'),
        (lambda t: t['annotations'][0].update(bbox={'x': 1}), 'annotation 0: float'),
        (lambda t: t['categories'][0].update(skeleton=[[1, 'b']]), r'labels\.json: unsupported'),
        (lambda t: t['annotations'][0].update(image_id=99), 'KeyError'),
        (lambda t: t['images'][0].update(file_name='a/9.png'), r'a/9\.png: no such file'),
        (
            lambda t: [each.update(track_id=1, image_id=0) for each in t['annotations']],
            'image 0 has two annotations of individual 1',
        ),
    ],
)
def test_what_is_wrong_with_a_coco_file_is_told_in_one_line(tmp_path, change, message):
    root = label_files.coco(tmp_path)
    spoilt(root, change)
    with pytest.raises(ValueError, match=message) as caught:
        coco.coco_skeleton(root)
        coco.coco_clips(root, split='train')
        coco.coco_clips(root, split='test')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('bbox', [None, [], [0, 0, 0, 0]])
def test_a_box_that_only_holds_a_place_is_put_around_the_joints(tmp_path, bbox):
    root = label_files.coco(tmp_path)
    spoilt(root, lambda tree: tree['annotations'][0].update(bbox=bbox))
    (clip,) = (c for c in coco.coco_clips(root, split='train') if c.id == 'a-1')
    joints = label_files.joints_at(0)
    assert (clip.boxes[0, :2] < joints.min(axis=0)).all()
    assert (clip.boxes[0, 2:] > joints.max(axis=0)).all()


# --- DeepLabCut ------------------------------------------------------------------------------


def test_a_project_gives_few_labels_among_many_frames_of_the_same_creature(tmp_path):
    root = label_files.deeplabcut(tmp_path / 'p')
    project = deeplabcut.deeplabcut_skeleton(root)
    assert project.joints == label_files.PARTS and project.bones == ((0, 1), (0, 2), (0, 3))
    read = dict(folder=tmp_path / 'stills', held_out=0.25, frames=10)
    train, test = (deeplabcut.deeplabcut_clips(root, split=s, **read) for s in ('train', 'test'))
    assert [clip.id for clip in train] == ['lab', 'spare'] == [clip.id for clip in test]
    (one, spare), (other, _) = train, test
    assert spare.labels is None and len(spare.frames) == 6
    assert len(one.frames) == len(other.frames) > 4
    seen, kept = (clip.labels.visibility.max(axis=1) > 0 for clip in (one, other))
    assert seen.sum() == 3 and kept.sum() == 1 and not (seen & kept).any()
    assert len(np.unique(one.boxes, axis=0)) == 1  # of one size over the video
    names = [path.stem for path in one.frames.items]
    numbers = [int(name.removeprefix('img')) for name in names]
    assert numbers == sorted(numbers)
    t = numbers.index(10)
    np.testing.assert_allclose(one.labels.joints[t], label_files.joints_at(10, (20, 16)))
    # The frame of the video that it is.
    assert np.abs(np.asarray(one.frames[1]).astype(int) - np.asarray(one.frames[0])).mean() < 40
    first = deeplabcut.read_labels(root / 'labeled-data' / 'lab', deeplabcut.read_project(root))
    assert first.people['1'].visibility[0].tolist() == [1, 1, 1, 0]  # a cell that was empty


def test_every_individual_is_a_clip_and_boxes_may_be_given(tmp_path):
    root = label_files.deeplabcut(tmp_path / 'p', individuals=('ann', 'bob'))
    boxes = tmp_path / 'boxes.csv'
    rows = [f'lab,{t},bob,{t},20,{t + 40},50' for t in (0, 11)]
    boxes.write_text('video,frame,person,x1,y1,x2,y2\n' + '\n'.join(rows) + '\n')
    ann, bob = deeplabcut.deeplabcut_clips(root, split='train', boxes=str(boxes))
    assert (ann.id, bob.id) == ('lab-ann', 'lab-bob') and len(bob.frames) == 4  # no folder
    np.testing.assert_allclose(bob.boxes[1], [4, 20, 44, 50], atol=1e-4)
    assert not np.allclose(ann.labels.joints, bob.labels.joints)


@pytest.mark.parametrize(
    'file, text, message',
    [
        ('config.yaml', 'a: [', r"config\.yaml: not a DeepLabCut project's"),
        ('config.yaml', 'Task: x', 'bodyparts'),
        ('labeled-data/lab/CollectedData_me.csv', 'a,b\n1,2\n', "no rows 'bodyparts'"),
        (
            'labeled-data/lab/CollectedData_me.csv',
            'scorer,me,me\nbodyparts,snout,snout\ncoords,x,y\nimg001.png,1,two\n',
            "line 4: 'two', expected a number",
        ),
        (
            'labeled-data/lab/CollectedData_me.csv',
            'scorer,me,me\nbodyparts,snout,snout\ncoords,x,y\nimg099.png,1,2\n',
            r'img099\.png: no such image',
        ),
    ],
)
def test_what_is_wrong_with_a_project_is_told_in_one_line(tmp_path, file, text, message):
    root = label_files.deeplabcut(tmp_path / 'p')
    (root / file).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        deeplabcut.deeplabcut_clips(root, split='train')
    assert '\n' not in str(caught.value)


# --- networks and jobs -----------------------------------------------------------------------


def test_joints_of_the_same_name_keep_what_they_have_learned():
    old = {'affinity_transformer': {'queries': np.arange(6.0).reshape(3, 2)}, 'encoder': np.ones(2)}
    fresh = {'affinity_transformer': {'queries': -np.ones((4, 2))}, 'encoder': np.zeros(2)}
    source = skeletons.sources(('tail', 'left_hip', 'nose', 'x'), ('nose', 'left hip', 'knee'))
    assert source == [None, 1, 0, None]
    found = with_joints(old, fresh, source=source)
    np.testing.assert_array_equal(
        found['affinity_transformer']['queries'], [[-1, -1], [2, 3], [0, 1], [-1, -1]]
    )
    np.testing.assert_array_equal(found['encoder'], [1, 1])


@pytest.mark.parametrize(
    'name, make', [('coco', label_files.coco), ('deeplabcut', label_files.deeplabcut)]
)
def test_the_configs_are_ready_to_run(tmp_path, name, make):
    config = joint.get_config(name)
    config.data.root = str(make(tmp_path / 'own'))
    whole = check_config.with_own_labels(config, tmp_path / 'run')
    check_config.check(whole)
    assert check_config.labels_of(whole)[0].joints == label_files.PARTS
    assert config.data.skeleton == ''  # the caller's is left as it was


def own_config(name, root):
    config = tiny_config()
    config.data.update(
        {'name': name, 'root': str(root), 'frames': 24, 'size': 112, 'train_people': 0}
    )
    config.data.update({'test_people': 0, 'validation': 0.25})
    return config


def test_coco_labels_are_trained_on_and_personalized_to(tmp_path):
    root, workdir = label_files.coco(tmp_path / 'coco'), tmp_path / 'run'
    config = own_config('coco', root)
    config.personalize.schedules = ('offline',)
    told = job.execute(config, workdir)
    assert told['metric'] == 'mPCK@0.1 box' and set(told['beside']['before']) == {'OKS'}
    assert set(told['joints']['before']) == {'Snout', 'Ear', 'Tail base'}
    assert 'OKS' in (workdir / 'report.md').read_text() and 'OKS' in report.table(told)
    assert (workdir / 'before_after.png').is_file()
    with np.load(next((workdir / 'predictions' / 'offline').glob('*.npz'))) as file:
        assert tuple(file['names']) == label_files.PARTS
    model = ttp_jax.load(workdir)  # the joints travel with it
    assert model.joints == label_files.PARTS


def test_a_project_starts_from_a_network_of_people_and_its_model_reads_videos(tmp_path):
    from ttp_jax.run import video_job

    root, workdir = label_files.deeplabcut(tmp_path / 'p'), tmp_path / 'run'
    config = own_config('deeplabcut', root)
    config.checkpoint = str(model_files.pack(tmp_path / 'people.safetensors'))
    config.personalize.schedules = ('online',)
    told = job.execute(config, workdir)
    assert {person['id'] for person in told['people']} == {'lab', 'spare'}
    assert [person['before'] is None for person in told['people']] == [False, True]
    from test_video_job import asked

    video = asked(
        input=str(root / 'videos' / 'lab.mp4'), checkpoint=str(workdir), schedules=(), pictures=0
    )
    video_job.execute(video, tmp_path / 'video')
    assert 'tail_base' in (tmp_path / 'video' / 'keypoints.csv').read_text()


@pytest.mark.parametrize('name', sets.OWN)
def test_labels_that_are_not_there_are_named_at_once(tmp_path, name):
    with pytest.raises(ValueError, match=r'config\.data\.root is .*no such file or folder'):
        job.execute(own_config(name, tmp_path / 'none'), tmp_path / 'run')
