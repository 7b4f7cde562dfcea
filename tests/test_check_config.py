"""Mistakes in a config are told in one line that names the key, before anything is loaded."""

import json
import math
import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import baseline, joint, paper, personalize, real
from ttp_jax.data import sets
from ttp_jax.run import check_config, keys, method, resume

ROOT = pathlib.Path(__file__).resolve().parents[1]


def changed(values, config=None):
    """A config, by default the main job's, with other values by dotted key, of whatever type."""
    config = config or joint.get_config()
    with config.unlocked(), config.ignore_type():
        for key, value in values.items():
            *sections, name = key.split('.')
            section = config
            for part in sections:
                section = section[part]
            section[name] = value
    return config


def complaint(values, config=None, **how):
    """What `check` says of a config, by default the main job's, with these values."""
    with pytest.raises(ValueError) as error:
        check_config.check(changed(values, config), **how)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


# --- configs that can be run -----------------------------------------------------------------


@pytest.mark.parametrize('variant', ['drawn', 'drawn_large'])
def test_the_main_job_passes(variant):
    check_config.check(joint.get_config(variant))


@pytest.mark.parametrize('name', sets.RECORDED)
def test_recorded_data_pass_with_their_folder(name, tmp_path):
    folder, weights = {'data.root': str(tmp_path)}, {'perceptual.weights': 'vgg16.npz'}
    check_config.check(changed(folder, joint.get_config(name)))
    check_config.check(changed(folder | weights, paper.get_config(name)))
    check_config.check(changed(folder, baseline.get_config(name)))
    check_config.check(changed({'data.prepared': str(tmp_path)}, joint.get_config(name)))
    only = folder | weights | {'data.name': name, 'checkpoint': 'somewhere'}
    check_config.check(changed(only, personalize.get_config('offline')))


@pytest.mark.parametrize(
    'values',
    [
        {'train.steps': 0, 'checkpoint': 'somewhere'},
        {'train.steps': 0, 'checkpoint': 'somewhere', 'train.batch': 7},
        {'train.drops': ()},
        {'train.drops': [0.5]},
        {'train.learning_rate': 1},
        {'model.heads': 64},
        {'model.variant': 'baseline', 'personalize.schedules': ()},
        {'model.variant': 'baseline', 'personalize.objective': 'entropy'},
        {'model.variant': 'shared_rotation', 'model.heads': 5},  # it has no Transformer
        {'crop.size': 96, 'model.stem_pool': True},
        {'perceptual.kind': 'squeezenet', 'perceptual.weights': 'squeezenet.npz'},
        {'personalize.frozen': ('encoder/.*',)},
        {'data.resident_gib': 0},
        {'seed': 2**32 - 1},
    ],
)
def test_unusual_values_pass(values):
    check_config.check(changed(values), devices=4)


# --- configs that cannot ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'seed': -1}, 'config.seed is -1, expected an integer of at least 0'),
        ({'train.steps': -5}, 'config.train.steps is -5, expected an integer of at least 0'),
        ({'train.steps': True}, 'config.train.steps is True, expected an integer'),
        ({'train.steps': 2.5}, 'config.train.steps is 2.5, expected an integer'),
        ({'train.steps': 2**31}, 'config.train.steps is 2147483648, expected .* below 2'),
        ({'train.batch': 0}, 'config.train.batch is 0, expected an integer of at least 1'),
        ({'train.learning_rate': math.nan}, r'config.train.learning_rate is nan, .* in \(0, 1\]'),
        ({'train.learning_rate': 0.0}, r'config.train.learning_rate is 0.0, expected'),
        ({'train.reconstruction_weight': math.inf}, 'reconstruction_weight is inf, .* finite'),
        ({'train.drops': (0.9, 0.6)}, r'config.train.drops is \(0.9, 0.6\), expected .*ascending'),
        ({'train.drops': (0.5, 1.0)}, r'config.train.drops is \(0.5, 1.0\), expected .*\(0, 1\)'),
        ({'train.augment.flip_prob': 1.5}, r'config.train.augment.flip_prob is 1.5, .*\[0, 1\]'),
        ({'train.augment.rotation_prob': -0.1}, 'config.train.augment.rotation_prob is -0.1'),
        ({'train.augment.scale_std': math.nan}, 'config.train.augment.scale_std is nan'),
        ({'train.log_every': 0}, 'config.train.log_every is 0, expected an integer of at least 1'),
        ({'train.lowering': 'magic'}, "config.train.lowering is 'magic', .* 'auto', 'library'"),
        ({'train.objective': 'guess'}, "no objective 'guess'; known: reconstruction, rotation"),
        ({'train.objective': 'rotation'}, 'config.train.objective: .* needs rotation_head'),
        ({'train.objective': 'followed'}, "config.train.objective is 'followed', expected one of"),
        ({'personalize.test_scales': (0.9, 0)}, 'config.personalize.test_scales is .*, expected a'),
        ({'model.depth': 19}, 'config.model.depth: no ResNet of depth 19; known: 10, 18, 34'),
        ({'model.variant': 'nobody'}, "config.model.variant: no variant 'nobody'; known: trans"),
        ({'model.heads': 5}, 'config.model.heads is 5, .*config.model.features, which is 64'),
        ({'model.dropout': 1.0}, r'config.model.dropout is 1.0, expected a number in \[0, 1\)'),
        ({'model.sigma': 0.0}, r'config.model.sigma is 0.0, expected a number in \(0, 100\]'),
        ({'model.stem_pool': 1}, 'config.model.stem_pool is 1, expected one of True, False'),
        ({'crop.size': 72}, 'config.crop.size: crops of 72 pixels: expected a multiple of 16'),
        ({'crop.size': 0}, 'config.crop.size is 0, expected an integer of at least 1'),
        ({'perceptual.kind': 'taste'}, "config.perceptual.kind: no .* 'taste'; known: none, rand"),
        ({'perceptual.kind': 'vgg16'}, 'config.perceptual.weights is not set, .*kind=vgg16 needs'),
        ({'perceptual.weights': 'a.npz'}, "config.perceptual.weights is 'a.npz', .*kind=random"),
        (
            {'perceptual.weights': 'a.npz', 'perceptual.kind': 'none'},
            "config.perceptual.weights is 'a.npz', which config.perceptual.kind=none has no use",
        ),
        ({'personalize.batch': 0}, 'config.personalize.batch is 0, expected'),
        ({'personalize.dtype': 'float8'}, "config.personalize.dtype is 'float8', .*'bfloat16'"),
        ({'personalize.schedules': ('later',)}, "no schedule 'later'; known: online, offline"),
        ({'personalize.schedules': 'online'}, "schedules is 'online', expected a tuple"),
        ({'personalize.schedules': ('online',) * 2}, 'schedules is .*, expected no schedule twice'),
        ({'personalize.frozen': ('(',)}, r"config.personalize.frozen is \('\(',\), expected"),
        ({'personalize.frozen': 'encoder'}, "config.personalize.frozen is 'encoder', expected a t"),
        ({'personalize.online.epochs': 0}, 'config.personalize.online.epochs is 0, expected'),
        ({'personalize.offline.images_first': -1}, 'config.personalize.offline.images_first is -1'),
        ({'personalize.offline.learning_rate': math.inf}, 'offline.learning_rate is inf, expect'),
        ({'model.variant': 'baseline'}, r"schedules is .*'baseline' .*--config.*schedules='\(\)'"),
        ({'data.name': 'coins'}, "config.data.name: no data set 'coins'; known: drawn"),
        ({'data.train_people': 0}, 'config.data.train_people is 0, expected at least 1 for drawn'),
        ({'data.test_people': 0}, 'config.data.test_people is 0, expected at least 1 for drawn'),
        ({'data.frames': 1}, 'config.data.frames is 1, expected at least 2 for drawn'),
        ({'data.size': 16}, 'config.data.size is 16, expected at least 32 for drawn'),
        ({'data.resident_gib': -1.0}, 'config.data.resident_gib is -1.0, expected'),
        ({'data.root': '/no/such'}, "config.data.root is '/no/such', .*data.name=drawn has no use"),
        ({'data.prepared': '/no'}, "config.data.prepared is '/no', which .* has no use"),
        ({'data.name': 'bbc_pose'}, 'config.data.root is not set.*config.data.name=bbc_pose'),
        (
            {'data.name': 'penn_action', 'data.root': '/no/such'},
            "config.data.root is '/no/such': no such folder, expected penn_action's data",
        ),
        (
            {'data.name': 'penn_action', 'data.root': '.', 'data.motion': 'labels'},
            "config.data.motion is 'labels', which config.data.name=penn_action has no use for",
        ),
        (
            {'data.name': 'penn_action', 'data.root': '.', 'data.frames': 100},
            'config.data.frames is 100, which config.data.name=penn_action has no use for',
        ),
        (
            {'data.name': 'penn_action', 'data.root': '.', 'data.prepared': '.'},
            "config.data.root is '.' and config.data.prepared is '.', expected one",
        ),
        ({'checkpoint': 'a', 'train.encoder_weights': 'b'}, 'checkpoint is .*both set, expect'),
        ({'train.steps': 0}, 'config.train.steps is 0 and config.checkpoint is not set'),
        ({'train.stepps': 5}, 'config.train.stepps is set, but no such key'),
        ({'train': 5}, r'config.train.\w+ is missing'),
    ],
)
def test_a_mistake_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        raise ValueError(complaint(values))


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'data.roots': ()}, 'config.data.roots is empty, expected the folders'),
        ({'data.roots': 'folder'}, "config.data.roots is 'folder', expected a tuple of folders"),
        ({'data.roots': ('.', '/no/such')}, "config.data.roots has '/no/such': no such folder"),
        ({'data.root': '.'}, "config.data.root is '.', which config.data.name=mixed has no use"),
        ({'data.train_people': 5}, 'config.data.train_people is 5, which .* expected 0'),
        ({'data.frames': 1}, 'config.data.frames is 1, expected at least 2 for drawn people'),
        (
            {'data.evaluate': 'validation', 'data.validation': 0.0},
            "config.data.evaluate is 'validation', expected config.data.validation above 0",
        ),
        ({'data.evaluate': 'all'}, "config.data.evaluate: no part 'all'; known: test, validation"),
        ({'train.drops': (0.5,)}, r'config.train.warmup is 300, .*drops=\(0.5,\) has no use for'),
        ({'train.steps': 300}, 'config.train.warmup is 300, expected less than .*steps, .* 300'),
        ({'crop.size': 88}, 'config.crop.size: crops of 88 pixels: expected a multiple of 16'),
        ({'model.image_stride': 5}, 'crops of 128 .* multiple of 40.*config.model.image_stride'),
        ({'model.stages': 5}, 'config.model.stages is 5, expected an integer .* at most 4'),
    ],
)
def test_a_mistake_with_several_folders_is_named(values, message):
    config = changed({'data.roots': ('.',)}, real.get_config())
    check_config.check(config)
    with pytest.raises(ValueError, match=message):
        raise ValueError(complaint(values, config))


def test_a_batch_that_devices_cannot_share_is_named():
    assert 'config.train.batch is 6, expected a multiple of 4' in complaint(
        {'train.batch': 6, 'train.rebuilt_every': 1}, devices=4
    )
    assert 'config.train.batch is 6, expected a multiple of 8' in complaint(
        {'train.batch': 6, 'train.rebuilt_every': 2}, devices=4
    )
    check_config.check(changed({'train.batch': 6, 'train.rebuilt_every': 2}), devices=3)


def test_how_well_training_people_are_rebuilt_is_no_measure_of_other_tasks():
    values = {'personalize.least_gap': 1.0, 'personalize.objective': 'followed'}
    assert (
        'config.personalize.least_gap is 1.0, expected 0: only of rebuilding is training people'
        in complaint(values)
    )


def test_parts_of_a_step_must_share_its_batch_and_suit_the_task():
    assert 'config.personalize.parts is 3, expected a divisor of config.personalize.batch' in (
        complaint({'personalize.parts': 3})
    )
    values = {'personalize.parts': 2, 'personalize.objective': 'alignment'}
    assert "expected 1: objective 'alignment' compares statistics of a whole batch" in (
        complaint(values)
    )


@pytest.mark.parametrize('key', keys.KEYS)
def test_every_key_is_wanted_and_takes_no_other_type(key):
    assert complaint({key: None}).startswith(f'config.{key}')
    config = changed({})
    with config.unlocked():
        *sections, name = key.split('.')
        section = config
        for part in sections:
            section = section[part]
        del section[name]
    with pytest.raises(ValueError, match=f'^config.{key} is missing'):
        check_config.check(config)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200)
words = st.sampled_from(['', 'random', 'vgg16', 'online', 'offline', 'baseline', 'rotation', '\n'])
values = leaves | words | st.lists(leaves | words, max_size=3).map(tuple)


@pytest.mark.parametrize('key', keys.KEYS)
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(value=values)
def test_any_value_passes_or_is_refused_in_one_line(key, value):
    try:
        check_config.check(changed({key: value}))
    except ValueError as error:
        assert f'config.{key}' in str(error) and len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    ('argument', 'words'),
    [
        ('--config.train.steps=-5', ['config.train.steps is -5', 'at least 0']),
        ('--config.data.root=/no/such', ['config.data.root', '/no/such', 'drawn']),
    ],
)
def test_the_program_tells_in_one_line_and_leaves_nothing(tmp_path, argument, words):
    workdir = tmp_path / 'run'
    done = subprocess.run(
        [sys.executable, '-m', 'ttp_jax.main', '--config=configs/joint.py']
        + [f'--workdir={workdir}', argument],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    )
    assert done.returncode != 0 and 'Traceback' not in done.stderr, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('error: ') and all(word in last for word in words), done.stderr
    assert not workdir.exists() or not list(workdir.iterdir())


# --- what a key changes ----------------------------------------------------------------------


def test_the_table_has_the_keys_of_every_config():
    for file in (joint, paper, baseline, personalize, real):
        config = file.get_config()
        assert set(keys.flat(config.to_dict())) == set(keys.KEYS)


@pytest.mark.parametrize(
    'key',
    ['data.resident_gib', 'data.workers', 'personalize.people_per_chunk', 'personalize.schedules']
    + ['train.log_every', 'train.save_every', 'pictures'],
)
def test_a_run_is_resumed_whatever_does_not_change_its_results(key, tmp_path):
    assert not keys.affects(key)
    (tmp_path / 'config.json').write_text(joint.get_config().to_json())
    value = ('offline',) if key == 'personalize.schedules' else 1
    resume.check_workdir(tmp_path, changed({key: value}))


def test_a_run_from_before_a_key_was_there_is_resumed_with_its_default(tmp_path):
    earlier = json.loads(joint.get_config().to_json())
    del earlier['model']['layers']
    (tmp_path / 'config.json').write_text(json.dumps(earlier))
    resume.check_workdir(tmp_path, joint.get_config())
    with pytest.raises(ValueError, match='config.model.layers is 1 there and 2 now'):
        resume.check_workdir(tmp_path, changed({'model.layers': 2}))


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('train.steps', 1),
        ('personalize.batch', 1),
        ('personalize.offline.epochs', 1),
        ('data.test_people', 1),
    ],
)
def test_a_run_is_not_resumed_with_other_results(key, value, tmp_path):
    (tmp_path / 'config.json').write_text(changed({key: value}).to_json())
    with pytest.raises(ValueError, match=f'config.{key} is 1 there'):
        resume.check_workdir(tmp_path, joint.get_config())


@pytest.mark.parametrize(
    ('key', 'phases'),
    [
        ('seed', keys.PHASES),
        ('train.steps', keys.PHASES),
        ('train.augment.flip_prob', keys.PHASES),
        ('data.test_people', ('before', 'online', 'offline')),
        ('personalize.dtype', ('before', 'online', 'offline')),
        ('personalize.batch', ('online', 'offline')),
        ('personalize.online.epochs', ('online',)),
        ('personalize.offline.learning_rate', ('offline',)),
        ('a.key.of.another.version', keys.PHASES),
    ],
)
def test_a_key_changes_these_phases(key, phases):
    assert keys.affects(key) == set(phases)


def test_every_dtype_that_is_allowed_can_be_computed_in():
    for dtype in method.COMPUTE:
        assert not keys.KEYS['train.dtype'].rule(dtype)
    assert "'float32', 'bfloat16'" in keys.KEYS['train.dtype'].rule('float8')


def test_an_option_that_no_data_set_takes_is_an_error():
    with pytest.raises(TypeError, match="no data set takes the option 'rooot'"):
        sets.load('drawn', train_people=1, test_people=1, rooot='')
