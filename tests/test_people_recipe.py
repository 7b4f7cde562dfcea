"""The queue that makes the network of people: nothing is made twice, and all of it can be run."""

import json
import pathlib

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from experiments import people, programs
from ttp_jax.run import check_config

GIVEN = ('real', 'teacher', 'photographs', 'motion', 'features')


@pytest.fixture
def options(tmp_path):
    return [str(tmp_path / 'runs'), *(f'--{name}=GIVEN_{name}' for name in GIVEN)]


@pytest.fixture
def started(options, monkeypatch):
    """The programs that were run, by what they make; each makes it, but for those named `fails`."""
    _, every = people.asked_for(options)
    ran, fails = [], set()

    def run(words, makes):
        stage = next(s for s in every if list(s.arguments) == words[1:])
        assert makes == stage.makes
        ran.append((stage.name, pathlib.Path(words[0]).name))
        if stage.name in fails:
            raise programs.ProgramFailedError('exit code 3')
        stage.makes.parent.mkdir(parents=True, exist_ok=True)
        before, gain = 50.0, 2.0 if stage.name.endswith('seed 1') else 1.0
        person = {'before': before, 'online': before, 'offline': before + gain}
        report = {'mpck': person, 'people': [person | {'id': str(i)} for i in range(4)]}
        stage.makes.write_text(json.dumps(report))

    monkeypatch.setattr(programs, 'run', run)
    return ran, fails


def test_a_stopped_queue_goes_on_and_ends_in_the_table(options, started, capsys):
    ran, fails = started
    fails.add('training c')
    with pytest.raises(SystemExit, match='training c.*3'):
        people.main(options)
    fails.clear()
    done = [name for name, _ in ran[:-1]]
    ran.clear()
    people.main(options)
    again = [name for name, _ in ran]
    assert again[0] == 'training c' and not set(again) & set(done)
    out = capsys.readouterr().out
    for words in ('4 clips of 4 recordings, 3 seeds', '+1.3', '4 / 0, 4 / 0, 4 / 0'):
        assert words in out
    assert (pathlib.Path(options[0]) / 'table.txt').read_text().strip() in out
    ran.clear()
    people.main(options)
    assert not ran


def test_mediapipe_has_its_own_python_and_nothing_else_does(options, started):
    ran, _ = started
    people.main([*options, '--finder=the/finder'])
    theirs = [name for name, python in ran if python == 'finder']
    assert theirs == ['mediapipe on real', 'mediapipe on photographs']


def test_what_is_left_is_listed_and_a_stage_may_be_the_last(options, started, capsys):
    people.main([*options, '--until=ab'])
    assert [name for name, _ in started[0]][-1] == 'ab'
    capsys.readouterr()
    people.main([*options, '--list'])
    listed = capsys.readouterr().out
    assert 'training c' in listed and 'training b' not in listed
    with pytest.raises(SystemExit):
        people.main([*options, '--until=nothing'])
    assert 'no such stage; there are encoder, ' in capsys.readouterr().err


def test_every_run_is_a_config_that_can_be_run(options, monkeypatch):
    monkeypatch.setattr(check_config.sets, 'check', lambda name, **options: None)  # no such folders
    _, every = people.asked_for(options)
    runs = [stage for stage in every if 'ttp_jax.main' in stage.arguments]
    assert len(runs) == len(people.LEGS) + len(people.SEEDS)
    for stage in runs:
        holder = flags.FlagValues()
        words = ['program', *(word for word in stage.arguments[2:] if 'workdir' not in word)]
        config_flags.DEFINE_config_file('config', flag_values=holder, sys_argv=words)
        holder(words)
        check_config.check(holder.config)
    assert len({stage.makes for stage in every}) == len(every)


def test_means_are_of_networks_that_are_there_by_then(options):
    """And every training run starts from one, or from features."""
    _, every = people.asked_for(options)
    there = set()
    for stage in every:
        needed = {word.rpartition('=')[2] for word in map(str, stage.arguments)}
        files = {
            n for n in needed if n.endswith(('.safetensors', '.pth')) and n != str(stage.makes)
        }
        assert files <= there, stage.name
        there.add(str(stage.makes))
    assert np.isfinite([stage.minutes for stage in every]).all()
