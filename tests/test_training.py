"""The phase `train` through the program: logs, resuming, profiles, numbers that are not finite."""

import json
import os
import signal

import jax
import numpy as np
import optax
import pytest
from conftest import TINY

from configs import joint
from ttp_jax import train
from ttp_jax.files import checkpoint
from ttp_jax.run import build, check_config, interrupt, job, training


def config(**changes):
    """Four steps of a tiny network on drawn people, nobody personalized to."""
    config = joint.get_config()
    config.model.update({key: value for key, value in TINY.items() if key != 'joints'})
    config.crop.size = 32
    config.data.update({'train_people': 2, 'test_people': 1, 'frames': 4, 'size': 48})
    config.personalize.schedules, config.pictures = (), 0
    config.train.update({'steps': 4, 'batch': 4, 'log_every': 2, 'save_every': 2} | changes)
    return config


def lines(workdir):
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def last_state(workdir):
    run = build.Run(config(), workdir)
    assert run.checkpoints.latest() == 4
    return run.state


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
    """The workdir of a training that never stopped."""
    workdir = tmp_path_factory.mktemp('straight')
    job.execute(config(profile=(3, 4)), workdir)
    return workdir


def test_training_that_was_stopped_ends_as_if_it_never_had(straight, tmp_path, monkeypatch):
    def stopped(*args, **how):
        for index, state, metrics in fit(*args, **how):
            yield index, state, metrics
            if index == 3:
                raise KeyboardInterrupt

    fit = train.fit
    with monkeypatch.context() as patch:
        patch.setattr(train, 'fit', stopped)
        with pytest.raises(KeyboardInterrupt):
            job.execute(config(log_every=1), tmp_path)
    assert [line['step'] for line in lines(tmp_path)] == [1, 2, 3]
    job.execute(config(), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, last_state(tmp_path), last_state(straight))
    assert [line['step'] for line in lines(tmp_path)] == [1, 2, 4]
    assert lines(tmp_path)[-1]['loss'] == lines(straight)[-1]['loss']


def test_sigterm_saves_the_step_and_the_same_command_goes_on(straight, tmp_path, monkeypatch):
    def asked(*args, **how):
        for index, state, metrics in fit(*args, **how):
            if index == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield index, state, metrics

    fit = train.fit
    with monkeypatch.context() as patch:
        patch.setattr(train, 'fit', asked)
        with pytest.raises(interrupt.Stopped, match='after training step 3, as SIGTERM asked'):
            job.execute(config(), tmp_path)
    assert checkpoint.Checkpoints(tmp_path / 'checkpoints').latest() == 3
    job.execute(config(), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, last_state(tmp_path), last_state(straight))


def test_lines_are_averages_with_rate_norm_and_speed(straight):
    first, second, last = lines(straight)
    assert (first['step'], second['step'], last['step']) == (1, 2, 4)
    assert last['learning_rate'] < second['learning_rate'] == first['learning_rate']
    assert last['images_per_second'] > 0 and 'images_per_second' not in first
    assert all(line['gradient_norm'] > 0 for line in (first, second, last))
    assert list((straight / 'profile').rglob('*.pb'))


def test_a_window_is_averaged_and_then_empty():
    window = training.Window(batch=4)
    for step, loss in ((1, 1.0), (2, 3.0), (3, 8.0)):
        window.add(step, {'loss': np.float32(loss)})
        if step == 2:
            assert window.close() == {'loss': 2.0}
    assert window.close()['loss'] == 8.0
    assert window.finite_rows() == []


def test_the_first_step_that_is_not_finite_is_named():
    window = training.Window(batch=4)
    for step, norm in ((7, 1.0), (8, np.inf), (9, np.nan)):
        window.add(step, {'loss': np.float32(1.0), 'gradient_norm': np.float32(norm)})
    with pytest.raises(ValueError, match='training step 8: gradient_norm is inf') as error:
        window.close()
    assert '\n' not in str(error.value)


def test_training_that_breaks_ends_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    # No config may have such a rate: numbers soon leave what floats can hold.
    monkeypatch.setattr(train, 'optimizer', lambda **_: optax.adam(1e30))
    broken = config(save_every=1, log_every=100)
    broken.model.variant = 'baseline'
    with pytest.raises(ValueError, match='training step 2: .* is (nan|inf)'):
        job.execute(broken, tmp_path)
    assert checkpoint.Checkpoints(tmp_path / 'checkpoints').latest() == 1


def test_lines_of_steps_that_are_trained_again_are_dropped(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    path.write_text('{"step": 1}\n{"step": 20}\n{"step": 40}\n{"step": 6')
    training.drop_lines_after(20, path)
    assert path.read_text() == '{"step": 1}\n{"step": 20}\n'
    training.drop_lines_after(20, tmp_path / 'none.jsonl')
    assert [p.name for p in tmp_path.iterdir()] == ['metrics.jsonl']


@pytest.mark.parametrize('steps', [(3,), (0, 2), (5, 4), (1.0, 2.0)])
def test_steps_to_profile_are_checked(steps):
    wrong = config()
    with wrong.unlocked(), wrong.ignore_type():
        wrong.train.profile = steps
    with pytest.raises(ValueError, match='config.train.profile is .*expected .*first, last'):
        check_config.check(wrong)
