"""What a user sees of a long job while it runs, and what Ctrl-C leaves."""

import io
import os
import signal
import sys

import pytest

from ttp_jax.data import sets
from ttp_jax.run import interrupt, progress


def test_a_log_file_gets_lines_and_no_control_characters(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, 'stderr', log)
    with progress.bar('train', total=3) as bar:
        bar.mininterval = 0
        for _ in range(3):
            bar.set_postfix(loss='0.1')
            bar.update()
    assert list(progress.watched(iter('ab'), 'decode', 0)) == ['a', 'b']
    lines = log.getvalue().splitlines()
    assert len(lines) >= 4 and any('3/3' in line and 'loss=0.1' in line for line in lines)
    assert all(line.isprintable() and line.strip() for line in lines)


def test_every_pass_over_a_video_is_watched(tmp_path):
    import video_files

    film = video_files.encode(tmp_path / 'a.mp4', video_files.moving_square(5))
    seen = []

    def watch(frames, what, total):
        seen.append((what, total))
        return frames

    sets.load('video', training=False, watch=watch, input=str(film), cut_outs=str(tmp_path / 'c'))
    assert seen == [('decode', 5), ('cut out', 5)]


def test_ctrl_c_is_heeded_once_and_a_second_one_ends():
    former = signal.getsignal(signal.SIGINT)
    with interrupt.heeded() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked and stop.name == 'Ctrl-C'
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is former
