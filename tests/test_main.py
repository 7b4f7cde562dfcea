"""The program as a user meets it: a whole run at toy size, a resume, and one line per mistake."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import cv2
import jax
import numpy as np
import pytest
import scipy.io
from conftest import TINY
from test_convert import filled

from configs import joint, personalize
from ttp_jax import convert, main
from ttp_jax.data import skeletons
from ttp_jax.data.drawn import synthetic
from ttp_jax.files import checkpoint, digest, personal, predictions, torch_files
from ttp_jax.networks import perceptual
from ttp_jax.networks.model import PoseModel
from ttp_jax.personalize import many_people, partition
from ttp_jax.results import metrics, rows, views
from ttp_jax.run import adaptation, build, job, resume
from ttp_jax.run.keys import flat

ROOT = pathlib.Path(__file__).resolve().parents[1]


def tiny_config(variant='drawn'):
    config = joint.get_config(variant)
    config.model.update({k: v for k, v in TINY.items() if k != 'joints'})
    config.crop.size = 32
    config.data.update({'train_people': 3, 'test_people': 3})
    if config.data.name == 'drawn':
        config.data.update({'frames': 4, 'size': 48})
    config.train.update({'steps': 2, 'batch': 4, 'log_every': 1})
    config.personalize.update({'batch': 2, 'people_per_chunk': 4})
    for schedule in ('online', 'offline'):
        config.personalize[schedule].update({'epochs': 1, 'images_first': 2})
    config.pictures = 1
    return config


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """(workdir, report) of a whole run."""
    workdir = tmp_path_factory.mktemp('run')
    return workdir, job.execute(tiny_config(), workdir)


def test_a_run_leaves_everything_it_promises(finished):
    workdir, _ = finished
    report = json.loads((workdir / 'report.json').read_text())
    assert set(report['mpck']) == {'before', 'online', 'offline'}
    assert [
        set(person) >= {'id', 'before', 'online', 'offline'} for person in report['people']
    ] == [True] * 3
    assert set(report['seconds']) >= {'data', 'train', 'before', 'online', 'offline'}
    assert report['seed'] == 0 and 'git' in report and set(report['joints']) == set(report['mpck'])
    assert json.loads((workdir / 'config.json').read_text())['train']['steps'] == 2
    rows = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    assert [row['step'] for row in rows] == [1, 2] and all(np.isfinite(row['loss']) for row in rows)
    for name in ('people.png', 'losses.png', 'gains.png', 'person_test-00000.png'):
        assert cv2.imread(str(workdir / name)).std() > 5, name
        assert name in (workdir / 'report.md').read_text()
    for phase in report['mpck']:
        for person in report['people']:
            with np.load(workdir / 'predictions' / phase / f'{person["id"]}.npz') as file:
                assert file['joints'].shape == (4, 13, 2) and file['scores'].shape == (4, 13)
                assert list(file['names']) == list(skeletons.PENN_ACTION.joints)
    assert list((workdir / 'tensorboard').iterdir())
    assert (workdir / 'checkpoints' / '2').is_dir()


def test_the_program_succeeds(tmp_path):
    """The whole of `main`, in a process of its own, with everything set on the command line."""
    config = tiny_config()
    config.personalize.schedules = ('online',)
    given = [
        f'--config.{key}={value}'
        for key, value in flat(config.to_dict()).items()
        if value not in ('', ())
        and key != 'train.drops'  # as it is: numbers in their shortest form
    ]
    done = subprocess.run(
        [sys.executable, '-m', 'ttp_jax.main', '--config=configs/joint.py', *given]
        + [f'--workdir={tmp_path}'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    )
    assert done.returncode == 0, done.stderr
    assert 'mPCK@0.2' in done.stdout and f'Report: {tmp_path / "report.md"}' in done.stdout
    assert set(json.loads((tmp_path / 'report.json').read_text())['mpck']) == {'before', 'online'}


def test_a_model_that_nobody_can_be_adapted_with_is_trained_and_scored(tmp_path):
    config = tiny_config()
    config.model.variant = 'baseline'
    config.personalize.schedules = ()
    assert set(job.execute(config, tmp_path)['mpck']) == {'before'}


def test_the_last_checkpoint_is_on_disk_before_anybody_is_predicted(tmp_path, monkeypatch):
    def fail(run):
        raise RuntimeError(str(checkpoint.newest_step(run.workdir / 'checkpoints')))

    monkeypatch.setattr(job, 'before_phase', fail)
    with pytest.raises(RuntimeError, match='^2$'):
        job.execute(tiny_config(), tmp_path)


def test_the_same_config_and_seed_give_the_same_numbers(finished, tmp_path):
    _, report = finished
    again = job.execute(tiny_config(), tmp_path)
    assert again['mpck'] == report['mpck'] and again['people'] == report['people']


def test_a_finished_workdir_is_taken_up_where_it_stopped(finished, tmp_path):
    workdir, report = finished
    shutil.copytree(workdir, tmp_path / 'copy')
    again = job.execute(tiny_config(), tmp_path / 'copy')
    assert again['mpck'] == report['mpck']
    assert len((tmp_path / 'copy' / 'metrics.jsonl').read_text().splitlines()) == 2


def test_only_people_without_predictions_are_adapted_after_a_stop(finished, tmp_path, monkeypatch):
    workdir, report = finished
    shutil.copytree(workdir, tmp_path / 'copy')
    folder = tmp_path / 'copy' / 'predictions' / 'online'
    (folder / 'test-00001.npz').unlink()
    adapt, adapted = many_people.personalize_people, []

    def watched(people, chunks, **how):
        adapted.append([people[i].id for chunk in chunks for i in dict.fromkeys(chunk.members)])
        return adapt(people, chunks, **how)

    monkeypatch.setattr(many_people, 'personalize_people', watched)
    again = job.execute(tiny_config(), tmp_path / 'copy')
    assert adapted == [['test-00001'], []]
    assert again['people'] == report['people']
    assert again['made'] == {'online': 4, 'offline': 0}
    assert {path.suffix for path in folder.iterdir()} == {'.npz'}


def test_predictions_of_other_weights_are_made_again(finished, tmp_path):
    workdir, _ = finished
    shutil.copytree(workdir, tmp_path / 'copy')
    run = build.Run(tiny_config(), tmp_path / 'copy')
    assert len(run.store('before').load()) == 3
    run.state = run.state.replace(params=jax.tree.map(lambda x: x + 1, run.state.params))
    assert not run.store('before').load()
    run = build.Run(tiny_config(), tmp_path / 'copy')
    run.people[0] = dataclasses.replace(run.people[0], boxes=run.people[0].boxes + 1)
    assert sorted(run.store('online').load()) == [1, 2]


def test_pictures_show_what_was_scored(finished):
    workdir, report = finished
    run = build.Run(tiny_config(), workdir)
    for phase in report['mpck']:
        store = run.store(phase)
        clip, joints = run.people[0], store.load()[0].joints
        frame = adaptation.pictured_frame(clip)
        shown = views.prediction(
            clip, frame, joints[frame], skeleton=run.data.skeleton, spec=run.spec
        )
        seen = clip.labels.visibility[frame] > 0
        right = (~shown.wrong & seen).sum() / seen.sum()
        one = dataclasses.replace(
            clip,
            frames=clip.frames[frame:][:1],
            boxes=clip.boxes[frame:][:1],
            labels=type(clip.labels)(*(values[frame:][:1] for values in clip.labels)),
        )
        scored = metrics.pck(joints[frame:][:1], *one.labels, skeleton=run.data.skeleton)['mPCK']
        np.testing.assert_allclose(100 * right, scored)
        assert store.view(0).target.shape == (32, 32, 3)


def test_how_people_were_placed_is_recorded_and_can_be_repeated(finished):
    config, report = tiny_config(), finished[1]
    placed = report['placement']
    config.personalize.people_per_chunk = placed['people_per_chunk']
    config.personalize.lowering = placed['lowering']
    assert build.Run(config, finished[0]).placement.record() == placed


def test_what_was_adapted_before_an_error_is_kept(finished, tmp_path, monkeypatch):
    workdir, report = finished
    shutil.copytree(workdir, tmp_path / 'copy')
    folder = tmp_path / 'copy' / 'predictions' / 'offline'
    shutil.rmtree(folder)
    adapt = many_people.personalize_people

    def breaks(people, chunks, **how):
        for count, result in enumerate(adapt(people, chunks, **how)):
            if count == 2:
                raise MemoryError
            yield result

    monkeypatch.setattr(many_people, 'personalize_people', breaks)
    with pytest.raises(MemoryError):
        job.execute(tiny_config(), tmp_path / 'copy')
    assert len(list(folder.glob('*.npz'))) == 2
    monkeypatch.undo()
    again = job.execute(tiny_config(), tmp_path / 'copy')  # goes on as if it had not been stopped
    assert again['people'] == report['people'] and again['made'] == {'online': 0, 'offline': 4}


def test_personal_weights_predict_without_adapting(finished, tmp_path):
    workdir, report = finished
    shutil.copytree(workdir, tmp_path / 'copy')
    config = tiny_config()
    config.personalize.update({'save_weights': 'int4', 'schedules': ('offline',)})
    again = job.execute(config, tmp_path / 'copy')  # they are wanted, so they are made
    assert again['mpck']['offline'] == report['mpck']['offline']
    run = build.Run(config, tmp_path / 'copy')
    store, base = run.store('offline'), run.shared
    mark = digest.of_tree((run.state.params, run.state.batch_stats))
    leaves = personal.load(store.path('weights', 1), base.trainable, digest=mark)
    run.state = run.state.replace(params=partition.merge(leaves, base.frozen))
    again, stored = dict(adaptation.predict(run))[1], store.load()[1]
    np.testing.assert_allclose(again.scores, stored.scores, atol=0.05 * np.ptp(stored.scores))
    assert np.median(np.linalg.norm(again.joints - stored.joints, axis=-1)) < 1


def test_a_file_of_predictions_is_whole_or_not_there(tmp_path):
    class Breaks:
        def __array__(self, *_, **__):
            raise MemoryError

    clip = synthetic.drawn_clips(seed=0, split='test', people=1, frames=4, size=48)[0]
    adapted = many_people.Adapted(clip.labels.joints, clip.labels.visibility, Breaks())
    path = tmp_path / f'{clip.id}.npz'
    with pytest.raises(MemoryError):
        predictions.save(path, adapted, names=skeletons.PENN_ACTION.joints, mark='of now')
    assert not list(tmp_path.iterdir()) and predictions.load(path, mark='of now') is None


def test_predictions_of_another_mark_are_stale(tmp_path):
    path, joints = tmp_path / 'person.npz', np.ones((4, 13, 2))
    adapted = many_people.Adapted(joints, joints[..., 0], joints[..., 0], 7, None, 'kept', 'why')
    predictions.save(path, adapted, names=skeletons.PENN_ACTION.joints, mark='of now')
    found = predictions.load(path, mark='of now')
    np.testing.assert_array_equal(found.joints, joints)
    assert (found.failed_at, found.status, found.reason) == (7, 'kept', 'why')
    assert predictions.load(path, mark='of later') is None


@pytest.mark.parametrize('content', [b'nothing', b'', b'PK\x03\x04 cut off'])
def test_a_file_that_holds_something_else_is_named(tmp_path, content):
    path = tmp_path / 'person.npz'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='person.npz: cannot be read .*; remove it'):
        predictions.load(path, mark='of now')


def test_another_config_in_the_same_workdir_is_refused(finished):
    config = tiny_config()
    config.train.learning_rate = 0.5
    with pytest.raises(ValueError, match=r'config.train.learning_rate is 0.001 there and 0.5 now'):
        job.execute(config, finished[0])


def test_frames_may_be_read_while_they_are_used(finished, tmp_path):
    workdir, report = finished
    config = tiny_config()
    config.data.resident_gib = 0.0
    resume.check_workdir(workdir, config)  # it may even be resumed so
    streamed = job.execute(config, tmp_path)
    assert streamed['mpck'] == report['mpck'] and streamed['people'] == report['people']


def test_a_trained_model_can_be_personalized_without_training(finished, tmp_path):
    workdir, report = finished
    config = tiny_config()
    config.checkpoint, config.train.steps = str(workdir), 0
    assert job.execute(config, tmp_path)['mpck'] == report['mpck']


def test_whoever_is_no_stranger_keeps_the_shared_predictions(finished, tmp_path):
    workdir, _ = finished
    stored = {path.stem: np.load(path) for path in (workdir / 'predictions/offline').glob('*.npz')}
    first = {name: person['losses'].flat[0] for name, person in stored.items()}
    known, *strangers = sorted(first, key=first.__getitem__)
    config = tiny_config()
    config.checkpoint, config.train.steps = str(workdir), 0
    terms = len(build.Run(config, workdir).fresh_state().loss_means)
    config.personalize.schedules = ('offline',)
    config.personalize.least_gap = float(first[known] + first[strangers[0]]) / 2 / terms
    job.execute(config, tmp_path)
    for name in first:
        folder = 'before' if name == known else 'offline'
        expected = np.load(workdir / 'predictions' / folder / f'{name}.npz')
        found = np.load(tmp_path / 'predictions/offline' / f'{name}.npz')
        np.testing.assert_array_equal(found['joints'], expected['joints'])
    status = {row['id']: row['status'] for row in rows.read(tmp_path / 'results.jsonl')}
    assert status == dict.fromkeys(strangers, 'personalized') | {known: 'kept'}


def test_people_share_the_devices_there_are(finished):
    config = tiny_config()
    devices = tuple(jax.local_devices())
    for wanted, count in ((0, 3), (1, 1), (2, 2), (9, 3)):  # three people, four devices
        config.personalize.people_per_chunk = wanted
        placed = build.Run(config, finished[0]).placement
        assert placed.devices == devices[:count]
        assert [bucket.together for bucket in placed.buckets] == [count]


def test_a_checkpoint_of_another_shape_is_refused_before_training(finished, tmp_path):
    config = tiny_config()
    config.checkpoint, config.model.features = str(finished[0]), 16
    with pytest.raises(
        ValueError,
        match=r'checkpoint .*: .* set --config.model.features=8 '
        r'\(found 16\)$',
    ):
        job.execute(config, tmp_path)
    shutil.copytree(finished[0] / 'checkpoints', tmp_path / 'checkpoints_alone')
    config.checkpoint = str(tmp_path / 'checkpoints_alone')
    with pytest.raises(ValueError, match=r'checkpoint .*: .* has shape .*this model expects'):
        job.execute(config, tmp_path)
    config.checkpoint = str(tmp_path / 'nowhere')
    with pytest.raises(ValueError, match='nowhere: no checkpoint there'):
        job.execute(config, tmp_path)


def penn_folder(root, *, train_frames=4, test_frames=4, more=()):
    """Two clips of noise in Penn Action's layout; more: frames of test clips behind them."""
    (root / 'labels').mkdir(parents=True)
    rng = np.random.default_rng(0)
    videos = [(1, train_frames), (-1, test_frames), *((-1, frames) for frames in more)]
    for video, (split, frames) in enumerate(videos, start=1):
        (root / 'frames' / f'{video:04d}').mkdir(parents=True)
        for t in range(frames):
            cv2.imwrite(
                str(root / 'frames' / f'{video:04d}' / f'{t + 1:06d}.jpg'),
                rng.integers(0, 255, (50, 60, 3), dtype=np.uint8),
            )
        scipy.io.savemat(
            root / 'labels' / f'{video:04d}.mat',
            {
                'x': rng.uniform(5, 55, (frames, 13)),
                'y': rng.uniform(5, 45, (frames, 13)),
                'visibility': np.ones((frames, 13)),
                'bbox': np.tile([4.0, 4, 56, 46], (frames, 1)),
                'train': split,
                'nframes': frames,
                'action': 'noise',
                'dimensions': [50, 60, frames],
            },
        )
    return root


def penn_config(root):
    config = tiny_config('penn_action')
    config.data.root = str(root)
    return config


def test_a_folder_of_clips_runs_like_drawn_people(tmp_path):
    root = penn_folder(tmp_path / 'data')
    report = job.execute(penn_config(root), tmp_path / 'run')
    assert [person['id'] for person in report['people']] == ['0002']


@pytest.mark.parametrize(
    'break_it, message',
    [
        (lambda root: shutil.rmtree(root / 'frames'), r'frames'),
        (lambda root: (root / 'frames/0001/000003.jpg').unlink(), r'0001.*000003\.jpg'),
        (lambda root: (root / 'frames/0002/000002.jpg').write_text('hello'), r'0002.*000002\.jpg'),
    ],
)
def test_bad_folders_are_named_before_training(tmp_path, monkeypatch, break_it, message):
    root = penn_folder(tmp_path / 'data')
    break_it(root)
    monkeypatch.setattr(job, 'train_phase', lambda run: pytest.fail('training began'))
    with pytest.raises(ValueError, match=message):
        job.execute(penn_config(root), tmp_path / 'run')


@pytest.mark.parametrize('gib', [8.0, 0.0])
def test_a_clip_of_one_frame_is_named(tmp_path, gib):
    root = penn_folder(tmp_path / 'data', test_frames=1)
    config = penn_config(root)
    config.data.resident_gib = gib
    with pytest.raises(ValueError, match='0002'):
        job.execute(config, tmp_path / 'run')


@pytest.mark.parametrize('video', ['0001', '0002'])
def test_first_frames_are_decoded_before_training_even_if_memory_is_short(
    tmp_path, monkeypatch, video
):
    root = penn_folder(tmp_path / 'data')
    (root / 'frames' / video / '000001.jpg').write_bytes(b'\xff\xd8\xff')
    monkeypatch.setattr(job, 'train_phase', lambda run: pytest.fail('training began'))
    config = penn_config(root)
    config.data.resident_gib = 0.0
    with pytest.raises(ValueError, match=f'{video}.*000001.jpg: cannot be read as an image'):
        job.execute(config, tmp_path / 'run')


@pytest.mark.parametrize('gib', [8.0, 0.0])
def test_who_cannot_be_read_costs_nobody_else_anything(tmp_path, gib):
    root = penn_folder(tmp_path / 'data', more=(4, 1, 4))
    (root / 'frames/0003/000002.jpg').write_text('hello')
    shutil.rmtree(root / 'frames/0005')
    config = penn_config(root)
    config.data.resident_gib, config.data.test_people = gib, 0
    config.personalize.schedules = ('online',)
    report = job.execute(config, tmp_path / 'run')
    scores = {person['id']: person['online'] for person in report['people']}
    assert [name for name, score in scores.items() if score is not None] == ['0002']
    assert scores.keys() == {'0002', *report['failed']} and len(report['failed']) == 3
    assert '000002.jpg: cannot be read' in report['failed']['0003']
    assert 'found 1 frame' in report['failed']['0004'] and '0005' in report['failed']['0005']
    lines = (tmp_path / 'run' / 'results.jsonl').read_text().splitlines()
    people = [json.loads(line) for line in lines]
    assert [(row['id'], row['status']) for row in people] == [
        ('0002', 'personalized'),
        ('0003', 'failed'),
        ('0004', 'failed'),
        ('0005', 'failed'),
    ]
    assert people[0]['mpck_after'] == scores['0002'] and people[1]['reason']
    assert '- `0003`: ' in (tmp_path / 'run' / 'report.md').read_text()
    config.strict = True
    with pytest.raises(ValueError, match='000002.jpg|found 1 frame|0005'):
        job.execute(config, tmp_path / 'run')
    # Neither the first frame nor the middle one nor the last: nothing but a try tells.
    shutil.copy(root / 'frames/0003/000001.jpg', root / 'frames/0003/000002.jpg')
    config.strict = False
    again = job.execute(config, tmp_path / 'run')
    assert '0003' not in again['failed'] and len(again['failed']) == 2
    assert {person['id']: person['online'] for person in again['people']}['0002'] == scores['0002']


def not_weights(path):
    path.write_text('not weights at all, but long enough to have a header')
    return str(path)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c, _: c.perceptual.update(kind='vgg16'), 'config.perceptual.weights'),
        (lambda c, _: c.model.update(depth=19), 'no ResNet of depth 19'),
        (lambda c, _: c.model.update(variant='nobody'), "no variant 'nobody'"),
        (lambda c, _: c.crop.update(size=40), 'crops of 40 pixels'),
        (lambda c, _: c.personalize.update(schedules=('later',)), "no schedule 'later'"),
        (lambda c, _: c.personalize.update(frozen=('nothing/.*',)), "'nothing/.*' matches no"),
        (lambda c, _: c.model.update(variant='baseline'), "schedules is .*set --config.*='\\(\\)'"),
        (
            lambda c, _: c.personalize.update(dtype='float8'),
            "config.personalize.dtype is 'float8', expected",
        ),
        (
            lambda c, _: c.train.update(lowering='magic'),
            "config.train.lowering is 'magic', expected one of 'auto'",
        ),
        (lambda c, path: c.train.update(encoder_weights=not_weights(path)), 'file: a foreign file'),
        (
            lambda c, path: (c.train.update(encoder_weights=str(path)), c.update(checkpoint='run')),
            'both set',
        ),
    ],
)
def test_what_needs_no_data_is_checked_before_it_is_drawn(tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(build.sets, 'load', lambda *_, **__: pytest.fail('data was loaded'))
    config = tiny_config()
    change(config, tmp_path / 'file')
    with pytest.raises(ValueError, match=message) as error:
        build.Run(config, tmp_path)
    assert '\n' not in str(error.value)


def test_training_starts_from_an_encoder_of_torchvision(tmp_path):
    sizes = {name: TINY[name] for name in ('depth', 'width', 'features')}
    resnet = {
        part: {'encoder': {'resnet': tree['encoder']['resnet']}}
        for part, tree in filled(PoseModel(variant='baseline', **sizes)).items()
    }
    torch_files.write(tmp_path / 'resnet.pth', convert.to_release(resnet))
    config = tiny_config()
    plain = build.Run(config, tmp_path / 'plain').state
    config.train.encoder_weights = str(tmp_path / 'resnet.pth')
    state = build.Run(config, tmp_path / 'run').state
    np.testing.assert_array_equal(
        state.params['encoder']['resnet']['conv1']['kernel'],
        resnet['params']['encoder']['resnet']['conv1']['kernel'],
    )
    for part in ('params', 'batch_stats'):
        found, fresh = getattr(state, part), getattr(plain, part)
        jax.tree.map(
            np.testing.assert_array_equal,
            found['encoder']['resnet'],
            resnet[part]['encoder']['resnet'],
        )
        for tree in (found, fresh):
            del tree['encoder']['resnet']
        jax.tree.map(np.testing.assert_array_equal, found, fresh)


# --- checkpoints of the release --------------------------------------------------------------


@pytest.fixture(scope='module')
def converted(tmp_path_factory):
    """What `convert` makes of a joint model of the release, a tiny one."""
    folder = tmp_path_factory.mktemp('release')
    model = PoseModel(**TINY | {'heads': 4, 'stem_pool': True, 'dropout': 0.1})
    small = filled(model)
    small['params'] = jax.tree.map(lambda x: 0.1 * x, small['params'])  # heatmaps stay finite
    small['batch_stats'] = jax.tree.map(lambda x: np.abs(x) + 0.1, small['batch_stats'])
    torch_files.write(folder / 'final_state.pth', convert.to_release(small, batches=7))
    convert.convert(folder / 'final_state.pth', folder / 'joint')
    return folder / 'joint'


def personalize_config(converted):
    """configs/personalize.py for the tiny model on drawn people."""
    config = personalize.get_config('online')
    config.checkpoint, config.crop.size, config.pictures = str(converted), 32, 0
    config.perceptual.weights = 'of five_terms.npz'
    config.data.update({'name': 'drawn', 'test_people': 2, 'frames': 4, 'size': 48})
    config.personalize.batch = 2
    model = json.loads((converted / 'config.json').read_text())['model']
    config.model.update({name: value for name, value in model.items() if name != 'joints'})
    return config


def five_terms(kind, **_):
    """A stand-in for VGG-16: as many terms, and its means."""
    return perceptual.Perceptual(
        lambda weights, images, _: [images] * 5, {}, 5, perceptual.VGG16_MEANS
    )


def test_a_converted_checkpoint_is_personalized(converted, tmp_path, monkeypatch):
    monkeypatch.setattr(build.perceptual, 'load', five_terms)
    report = job.execute(personalize_config(converted), tmp_path / 'run')
    assert set(report['mpck']) == {'before', 'online'} and len(report['people']) == 2
    state = build.Run(personalize_config(converted), tmp_path / 'another').state
    np.testing.assert_allclose(state.loss_means, perceptual.VGG16_MEANS)
    assert float(state.params['self_supervised_head']['bias'][0]) > 0.1


def test_loss_means_of_another_perceptual_network_start_anew(converted, tmp_path):
    config = personalize_config(converted)
    config.perceptual.update(kind='random', weights='')
    np.testing.assert_array_equal(build.Run(config, tmp_path).state.loss_means, np.zeros(4))


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda c: (c.model.update(depth=50), c.crop.update(bgr=False)),
            r'set --config.crop.bgr=True --config.model.depth=10 \(found False, 50\)$',
        ),
        (
            lambda c: c.data.update(name='human36m', root='.', frames=0, size=0),
            'has 13 joints, config.data.name=human36m has 16; '
            'set it to drawn or mixed or video or penn_action$',
        ),
    ],
)
def test_a_checkpoint_says_which_config_it_needs(converted, tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(build.perceptual, 'load', five_terms)
    monkeypatch.setattr(build.sets, 'load', lambda *_, **__: pytest.fail('data was loaded'))
    config = personalize_config(converted)
    change(config)
    with pytest.raises(ValueError, match=f'^checkpoint .*joint: .*{message}'):
        build.Run(config, tmp_path)


@pytest.mark.parametrize(
    'arguments, expected',
    [
        (['--config=configs/joint.py', '--config.train.stepps=3'], ['stepps', 'steps']),
        (['--config=configs/joint.py:nobody'], ['nobody', 'drawn_large']),
        (
            ['--config=configs/joint.py:penn_action', '--config.data.root=/no/such/place'],
            ['/no/such/place'],
        ),
        (['--config=configs/joint.py:penn_action'], ['config.data.root']),
        (['--config=configs/joint.py', '--config.perceptual.kind=vgg16'], ['perceptual.weights']),
        (['--config=configs/joint.py', '--config.model.depth=19'], ['19', '18']),
        (
            ['--config=configs/joint.py', '--config.personalize.schedules=("later",)'],
            ['later', 'online'],
        ),
    ],
)
def test_mistakes_get_one_line(tmp_path, arguments, expected):
    done = subprocess.run(
        [sys.executable, '-m', 'ttp_jax.main', f'--workdir={tmp_path}', *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert 'Traceback' not in done.stderr, done.stderr
    for word in expected:
        assert word in last, done.stderr


def test_an_installed_config_stands_in_where_there_is_no_file_of_that_name(tmp_path, monkeypatch):
    configs = tmp_path / 'share' / 'ttp_jax' / 'configs'
    configs.mkdir(parents=True)
    (configs / 'video.py').touch()
    monkeypatch.setattr(main.sysconfig, 'get_path', {'data': str(tmp_path)}.get)
    monkeypatch.chdir(tmp_path)
    words = ['main', '--config=configs/video.py:online', '--config.input=configs/video.py']
    own = f'--config={configs / "video.py"}:online'
    assert main.with_installed_config(words) == ['main', own, words[2]]
    for other in ('--config=configs/none.py', '--config=video.py'):
        assert main.with_installed_config([other]) == [other]
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs' / 'video.py').touch()
    assert main.with_installed_config(words) == words
