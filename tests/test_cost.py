"""Hours of a job, from rates that are measured, estimated or assumed; growth of memory."""

import json

import numpy as np
import pytest

from experiments import cost, memory


def test_people_come_in_waves_and_the_last_one_counts_whole():
    rate = cost.Rate(frame=0.5, fixed=60, source='')
    job = cost.Job(people=8, frames=10, steps=2, devices=4)
    assert cost.seconds(job, rate) == 60 + 2 * 10 * 2 * 0.5
    assert cost.seconds(job._replace(people=9), rate) == 60 + 3 * 10 * 2 * 0.5
    two_at_once = job._replace(people=9, together=2)
    assert cost.seconds(two_at_once, rate) == 60 + 2 * 2 * 10 * 2 * 0.5


def finished(folder, people, *, devices=2, frame=0.25, compiling=30.0, frames=8):
    """A job whose first chunk waited for the compiler."""
    folder.mkdir()
    each = frames * frame / devices  # an even share of a chunk's time
    rows = [
        {'id': f'{i}', 'phase': 'online', 'frames': frames, 'seconds': each} for i in range(people)
    ]
    for row in rows[:devices]:
        row['seconds'] += compiling / devices
    taken = sum(row['seconds'] for row in rows)
    placement = {'people_per_chunk': devices, 'devices': f'{devices} x cpu'}
    report = {'seconds': {'online': taken}, 'placement': placement}
    (folder / 'report.json').write_text(json.dumps(report))
    (folder / 'results.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return folder


def test_a_finished_job_tells_of_another(tmp_path, capsys):
    few, many = finished(tmp_path / 'few', 6), finished(tmp_path / 'many', 40)
    rate = cost.rate_of(few, 'online')
    assert rate.frame == pytest.approx(0.25) and rate.fixed == pytest.approx(30)
    cost.check(few, many, 'online')
    assert '70 s expected, 70 s taken (+0.0%)' in capsys.readouterr().out
    with pytest.raises(ValueError, match='few: nobody was adapted offline'):
        cost.rate_of(few, 'offline')


def test_where_a_rate_is_from_is_said():
    how = dict(together=2, share=0.1)
    assert cost.known_rate('cpu', 'paper', cycles=0, **how).source.startswith('measured')
    assert cost.known_rate('h100', 'paper', cycles=0, **how).source.startswith('ASSUMED')
    estimated = cost.known_rate('v5e', 'paper', cycles=300, **how)
    assert estimated.source.startswith('estimated') and estimated.frame == pytest.approx(0.1)
    with pytest.raises(ValueError, match='of a h100 no clock is known'):
        cost.known_rate('h100', 'paper', cycles=300, **how)


def test_a_leak_is_seen_in_the_slope():
    done = np.arange(0, 101, 5.0)
    rows = np.stack([done, 500 + 0.2 * done, 0 * done + 100, done], axis=1)
    first, last, slope = memory.growth(rows, 100)
    assert slope == pytest.approx(200) and last - first == pytest.approx(0.2 * 85)
    rows[:, 1] = 500
    assert memory.growth(rows, 100)[2] == pytest.approx(0, abs=1e-6)
