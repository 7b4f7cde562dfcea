"""Several folders and drawn people in one training: who is trained on, and who is held out."""

import json
import pathlib

import cv2
import numpy as np
import pytest
import scipy.io

from ttp_jax import geometry
from ttp_jax.data import clips, mixed, pairs, penn_action, sets
from ttp_jax.data.skeletons import PENN_ACTION

OPTIONS = dict(
    seed=0,
    root='',
    prepared='',
    drawn_people=2,
    frames=2,
    size=48,
    motion='',
    validation=0.5,
    evaluate='test',
    train_people=0,
    test_people=0,
)


def write_folder(root, videos, **fields):
    """A folder in Penn Action's layout of clips {number: (source, 1 or -1)}, two frames each."""
    (root / 'labels').mkdir(parents=True)
    for number, (_, train) in videos.items():
        folder = root / 'frames' / f'{number:04d}'
        folder.mkdir(parents=True)
        for t in (1, 2):
            cv2.imwrite(str(folder / f'{t:06d}.jpg'), np.full((24, 32, 3), number % 256, np.uint8))
        label = {
            'action': 'squat',
            'x': np.full((2, 13), 9.0),
            'y': np.full((2, 13), 8.0),
            'visibility': np.ones((2, 13)),
            'train': train,
            'bbox': np.tile([2.0, 3.0, 20.0, 18.0], (2, 1)),
            'nframes': 2,
        }
        scipy.io.savemat(root / 'labels' / f'{number:04d}.mat', label | fields)
    listed = [{'video': number, 'source': source} for number, (source, _) in videos.items()]
    (root / 'videos.json').write_text(json.dumps(listed))
    return str(root)


# With half of all names held out, 'run' is, and 'golf', 'walk' and 'jump' are not.
@pytest.fixture
def roots(tmp_path):
    people = {1: ('run', 1), 2: ('run', 1), 3: ('golf', 1), 4: ('walk', 1), 5: ('park', -1)}
    teacher = {600: ('golf', 1), 601: ('run', 1), 602: ('jump', 1)}
    return (
        write_folder(tmp_path / 'people', people),
        write_folder(tmp_path / 'teacher', teacher, confidence=np.full((2, 13), 0.75)),
    )


def ids(people):
    return [clip.id for clip in people]


def load(roots, **options):
    return sets.load('mixed', roots=roots, **OPTIONS | options)


def test_training_has_every_folder_and_drawn_people_but_no_held_out_source(roots):
    data = load(roots)
    assert ids(data.train) == ['0003', '0004', '0600', '0602', 'train-00000', 'train-00001']
    assert ids(data.test) == ['0005']
    clips.stack_clips(data.train)  # they go into one bank


def test_validation_is_the_held_out_sources_of_the_first_folder(roots):
    assert ids(load(roots, evaluate='validation').test) == ['0001', '0002']
    assert ids(load(roots, evaluate='train').test) == ['0003', '0004']
    assert ids(load(roots, evaluate='train', test_people=1).test) == ['0003']


def test_no_folder_trains_on_what_the_first_one_tests(roots, tmp_path):
    more = write_folder(tmp_path / 'more', {7: ('park', 1), 8: ('golf', 1), 9: ('park', -1)})
    assert ids(load((*roots, more), drawn_people=0).train) == [
        '0003',
        '0004',
        '0600',
        '0602',
        '0008',
    ]
    untested = write_folder(tmp_path / 'untested', {3: ('golf', 1), 4: ('park', 1)})
    assert ids(mixed.training_clips([untested, more], validation=0.0))[-2:] == ['0007', '0008']


def test_nothing_is_held_out_by_default(roots):
    assert ids(load(roots, validation=0.0, drawn_people=0).train) == [
        *('0001', '0002', '0003', '0004'),
        *('0600', '0601', '0602'),
    ]


def test_a_source_is_held_out_by_its_name_alone():
    names = [f'video {i}' for i in range(2000)]
    small, large = ({n for n in names if mixed.held_out(n, share)} for share in (0.1, 0.3))
    assert small < large and 150 < len(small) < 250 and 500 < len(large) < 700
    assert not any(mixed.held_out(name, 0.0) for name in names)


def test_a_teachers_label_weighs_what_it_is_sure_of(roots):
    teacher = load(roots).train[2]
    np.testing.assert_array_equal(teacher.labels.visibility, np.float32(0.75))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'roots': ()}, 'config.data.roots is empty, expected the folders to train on'),
        ({'roots': ('nowhere',)}, "config.data.roots has 'nowhere': no such folder"),
        ({'evaluate': 'everyone'}, "part is 'everyone', expected one of"),
        ({'evaluate': 'validation', 'validation': 0.0}, 'no clip is of the validation part'),
    ],
)
def test_bad_options(roots, options, message):
    with pytest.raises(ValueError, match=message):
        load(**{'roots': roots} | options)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (None, 'videos.json: cannot be read .No such file'),
        ('{', 'videos.json: JSONDecodeError'),
        ('[{"video": 1}]', "videos.json: KeyError.'source'"),
        ('[{"video": 1, "source": "run"}]', 'videos.json: clip 0002 is missing'),
    ],
)
def test_a_folder_that_does_not_tell_its_sources(roots, text, message):
    path = f'{roots[0]}/videos.json'
    if text is None:
        pathlib.Path(path).unlink()
    else:
        pathlib.Path(path).write_text(text)
    with pytest.raises(ValueError, match=message):
        load(roots)


def test_clips_know_their_sources_wherever_a_folder_tells_them(roots):
    (test,) = load(roots).test
    assert test.source == 'park'
    pathlib.Path(f'{roots[0]}/videos.json').unlink()
    (test,) = penn_action.penn_action_clips(roots[0], split='test')
    assert test.source == ''


@pytest.mark.parametrize('flip', [False, True])
def test_labels_lie_on_what_they_mean_in_a_mirror_image_too(tmp_path, flip):
    """Files count pixels from 1; a label that is a pixel off is off to the other side there."""
    x, y = 17, 12  # counted from 0
    root = write_folder(
        tmp_path, {1: ('run', 1)}, x=np.full((2, 13), x + 1.0), y=np.full((2, 13), y + 1.0)
    )
    frame = np.zeros((24, 32, 3), np.uint8)
    frame[y, x] = 255
    cv2.imwrite(str(tmp_path / 'frames/0001/000001.jpg'), frame, [cv2.IMWRITE_JPEG_QUALITY, 100])
    (clip,) = mixed.part(root, 'train', validation=0.0)
    _, subtract_one = sets.labels('mixed')
    spec = pairs.CropSpec(64, 64, subtract_one=subtract_one)
    frame = np.asarray(clip.frames[0])
    crop, _, affine = pairs.crop_pair(
        frame,
        frame,
        clip.boxes[0],
        geometry.Augmentation(flip=flip),
        spec=spec,
        valid=np.array([24, 32]),
    )
    labels = clip.labels.joints[0], clip.labels.visibility[0]
    maps, _ = pairs.targets(*labels, affine, flip, spec=spec, mirror=PENN_ACTION.mirror)
    light = np.asarray(crop).mean(axis=-1)
    bright = np.maximum(light - (light.max() + light.min()) / 2, 0)
    grid = np.mgrid[:64, :64]
    seen, meant = ((grid * m).sum((1, 2)) / m.sum() for m in (bright, np.asarray(maps[..., 0])))
    np.testing.assert_allclose(seen, meant, atol=0.6)  # targets stand on whole cells
