"""Programs that are to leave a file behind, as the queues of experiments run them."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from experiments import programs, real_queue

WRITES = 'import pathlib, sys; print("hello"); pathlib.Path(sys.argv[1]).write_text("it")'


def test_what_a_program_makes_is_there_and_its_output_in_the_log(tmp_path):
    made, log = tmp_path / 'made', tmp_path / 'logs' / 'made.log'
    programs.run([sys.executable, '-c', WRITES, str(made)], makes=made, log=log)
    assert made.read_text() == 'it' and log.read_text() == 'hello\n'


@pytest.mark.parametrize(
    'script, told',
    [
        ('import sys; sys.exit("error: too small")', 'ends with exit code 1'),
        ('print("all is well")', 'ends well, but .*made is missing'),
    ],
)
@pytest.mark.parametrize('logged', [True, False])
def test_a_program_that_does_not_make_it_has_failed(tmp_path, script, told, logged):
    log = tmp_path / 'log' if logged else None
    with pytest.raises(programs.ProgramFailedError, match=told) as raised:
        programs.run([sys.executable, '-c', script], makes=tmp_path / 'made', log=log)
    assert logged == any(last in str(raised.value) for last in ('error: too small', 'all is well'))


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(programs.ProgramFailedError, match='no/such/python: No such file'):
        programs.run(['no/such/python'], makes=tmp_path / 'made')


SAVES_WHEN_TOLD = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def save(*_):
    time.sleep(0.3)
    (folder / 'saved').touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
(folder / 'started').touch()
time.sleep(60)
"""
# A suite that a shell started in the background ignores SIGINT, and so would its children.
RUNS = """
import pathlib, signal, sys
from experiments import programs
signal.signal(signal.SIGINT, signal.default_int_handler)
made = pathlib.Path(sys.argv[2]) / 'made'
programs.run([sys.executable, '-c', sys.argv[1], sys.argv[2]], makes=made)
"""


@pytest.mark.parametrize('told', [signal.SIGTERM, signal.SIGINT])
def test_who_is_told_to_stop_waits_until_the_program_has_saved(tmp_path, told):
    root = pathlib.Path(programs.__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, '-c', RUNS, SAVES_WHEN_TOLD, str(tmp_path)],
        env=os.environ | {'PYTHONPATH': str(root)},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 50
    while not (tmp_path / 'started').exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(told)
    _, complaint = process.communicate(timeout=50)
    assert (tmp_path / 'saved').exists() and process.returncode != 0
    assert b'ProgramFailedError' not in complaint


def test_a_row_of_the_queue_for_real_people_that_is_done_is_not_run_again(tmp_path, monkeypatch):
    ran = []

    def run(command, *, makes, log):
        ran.append(command)
        makes.parent.mkdir(parents=True)
        makes.write_text(json.dumps({'mpck': {'before': 50.0}}))

    monkeypatch.setattr(programs, 'run', run)
    name = "half the paper's augmentation"
    for _ in range(2):
        assert real_queue.work(tmp_path, name, ['--config.seed=3'])['mpck'] == {'before': 50.0}
    (command,) = ran
    assert '--config.seed=3' in command and '--config.data.evaluate=validation' in command
