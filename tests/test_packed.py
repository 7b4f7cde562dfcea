"""A packed model is the model, in half the bytes; another one is refused."""

import json

import numpy as np
import pytest

from ttp_jax.files import average, pack, packed


def tree(width=64):
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.1, (3, 3, width, width)).astype(np.float32)
    return {
        'params': {'conv': {'kernel': kernel, 'bias': rng.normal(size=width).astype(np.float32)}},
        'batch_stats': {'bn': {'var': np.full(width, 1e-6, np.float32)}, 'empty': {}},
        'loss_means': np.array([7e4, 1, 2], np.float32),
    }


def test_what_is_packed_is_read_back(tmp_path):
    path, written = tmp_path / 'm.safetensors', tree()
    packed.save(path, written, {'model': {'width': 64}})
    assert packed.is_packed(path) and packed.read_config(path) == {'model': {'width': 64}}
    back = packed.read(path, written)
    conv = back['params']['conv']
    np.testing.assert_allclose(
        conv['kernel'], written['params']['conv']['kernel'], rtol=6e-4, atol=1e-7
    )
    assert conv['kernel'].dtype == np.float32
    np.testing.assert_array_equal(conv['bias'], written['params']['conv']['bias'])
    np.testing.assert_array_equal(back['loss_means'], written['loss_means'])
    np.testing.assert_array_equal(back['batch_stats']['bn']['var'], np.float32(1e-6))
    assert back['batch_stats']['empty'] == {}
    assert path.stat().st_size < 2.2 * 9 * 64 * 64
    (tmp_path / 'any').touch()  # who may read a file is for the user's umask to say
    assert path.stat().st_mode == (tmp_path / 'any').stat().st_mode


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda t: t['params']['conv'].update(scale=np.ones(3)), 'params/conv/scale is missing'),
        (lambda t: t['params']['conv'].update(bias=np.ones(3)), r'bias has shape \(64,\)'),
    ],
)
def test_a_model_of_another_shape_is_refused(tmp_path, change, message):
    packed.save(tmp_path / 'm', tree(), {})
    wanted = tree()
    change(wanted)
    with pytest.raises(ValueError, match=message):
        packed.read(tmp_path / 'm', wanted)


def test_nothing_of_the_machine_is_packed():
    config = {
        'checkpoint': '/home/me/runs/base',
        'data': {'name': 'mixed', 'roots': ['/home/me/clips']},
        'train': {'encoder_weights': '/home/me/resnet.pth', 'steps': 7},
        'model': {'width': 64},
    }
    kept = pack.of_model(config)
    assert '/home' not in json.dumps(kept)
    assert kept['data'] == {'name': 'mixed'} and kept['train']['steps'] == 7
    assert kept['model'] == config['model']
    own = {'name': 'coco', 'skeleton': '{"joints": ["a"], "bones": []}'}
    assert pack.of_model(config | {'data': own | {'root': '/home/me'}})['data'] == own


def test_numbers_too_large_for_half_precision_are_refused(tmp_path):
    large = {'params': {'kernel': np.full((2, 2), 1e6, np.float32)}}
    with pytest.raises(ValueError, match='params/kernel: holds 1e'):
        packed.save(tmp_path / 'm', large, {})
    assert not list(tmp_path.iterdir())


def test_other_files_are_no_packed_models(tmp_path):
    import safetensors.numpy

    (tmp_path / 'text').write_text(json.dumps({'config': 1}))
    assert not packed.is_packed(tmp_path / 'text') and not packed.is_packed(tmp_path)
    safetensors.numpy.save_file({'a': np.ones(2)}, tmp_path / 'other')
    with pytest.raises(ValueError, match='other: is .*expected'):
        packed.read_config(tmp_path / 'other')
    whole = tree()
    packed.save(tmp_path / 'm', whole, {})
    (tmp_path / 'cut').write_bytes((tmp_path / 'm').read_bytes()[:4000])
    with pytest.raises(ValueError, match='cut: cannot be read'):
        packed.read(tmp_path / 'cut', whole)


def test_the_average_of_models_has_the_mean_of_every_array_and_the_first_ones_config(tmp_path):
    one, other = tree(), tree()
    other['params']['conv']['bias'] = other['params']['conv']['bias'] + 2
    other['loss_means'] = other['loss_means'] * 3
    for name, model in (('a', one), ('b', other)):
        packed.save(tmp_path / name, model, {'of': name})
    average.main([str(tmp_path / name) for name in ('m', 'a', 'b')])
    assert packed.read_config(tmp_path / 'm') == {'of': 'a'}
    mean = packed.read(tmp_path / 'm', one)
    expected = one['params']['conv']['bias'] + 1
    np.testing.assert_allclose(mean['params']['conv']['bias'], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean['loss_means'], 2 * one['loss_means'])
    again = packed.read(tmp_path / 'a', one)['params']['conv']['kernel']
    np.testing.assert_array_equal(mean['params']['conv']['kernel'], again)


def test_models_of_different_shapes_have_no_average(tmp_path):
    packed.save(tmp_path / 'a', tree(), {})
    packed.save(tmp_path / 'b', tree(32), {})
    with pytest.raises(SystemExit, match=r'b: batch_stats/bn/var is \(32,\), expected \(64,\)'):
        average.main([str(tmp_path / name) for name in ('m', 'a', 'b')])
    assert not (tmp_path / 'm').exists()
    (tmp_path / 'c').write_bytes(b'nothing')
    with pytest.raises(SystemExit, match='c: cannot be read as a packed model'):
        average.main([str(tmp_path / name) for name in ('m', 'a', 'c')])
