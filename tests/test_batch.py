"""A job that can be left alone: who is left out, lines of results, locks, and being stopped."""

import dataclasses
import itertools
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from ttp_jax.data import clips, images, skeletons
from ttp_jax.files import personal, predictions
from ttp_jax.personalize import chunks
from ttp_jax.personalize.many_people import Adapted, unreadable
from ttp_jax.results import report, rows
from ttp_jax.run import interrupt, isolation, ledger, lock, marks, store

ROOT = pathlib.Path(__file__).resolve().parents[1]
SKELETON = skeletons.PENN_ACTION
JOINTS = len(SKELETON.joints)


def person(name, frames=4):
    rng = np.random.default_rng(len(name))
    joints = rng.uniform(5, 40, (frames, JOINTS, 2)).astype(np.float32)
    return clips.Clip(
        name,
        rng.integers(0, 255, (frames, 48, 48, 3), np.uint8),
        np.tile(np.float32([2, 2, 40, 40]), (frames, 1)),
        clips.Labels(joints, np.ones((frames, JOINTS), np.float32)),
    )


class Item:
    """A frame whose file is gone."""

    def read_bytes(self):
        raise FileNotFoundError(2, 'No such file')

    def __str__(self):
        return 'gone.jpg'


def broken(name, how):
    clip = person(name)
    return {
        'frame': lambda: dataclasses.replace(clip, frames=images.Frames((Item(),) * 4)),
        'later frame': lambda: dataclasses.replace(
            clip, frames=[*clip.frames[:3], clip.frames[3][:20]]
        ),
        'frames': lambda: person(name, frames=1),
        'box': lambda: dataclasses.replace(clip, boxes=clip.boxes[:, ::-1]),
        'labels': lambda: dataclasses.replace(clip, labels=clips.Labels(*[clip.boxes] * 2)),
    }[how]()


BREAKS = {
    'frame': 'gone.jpg: cannot be read',
    'later frame': 'frame 3 has shape',
    'frames': r'found 1 frame\(s\), expected at least 2',
    'box': 'box of frame 0 is',
    'labels': 'joints have shape',
}


@pytest.mark.parametrize('how', BREAKS)
def test_a_clip_that_is_no_good_is_left_out_with_the_reason(how):
    people = [person('a'), broken('b', how), person('c')]
    found, refused = isolation.usable(people, gib=1, strict=False)
    assert [clip.id for clip in found] == ['a', 'c'] and [*refused] == ['b']
    with pytest.raises(ValueError, match=BREAKS[how]):
        isolation.usable(people, gib=1, strict=True)


def test_nobody_to_work_for_is_an_error_that_says_why():
    with pytest.raises(ValueError, match='^clip b: found 1 frame'):
        isolation.usable([broken('b', 'frames')], gib=1, strict=False)
    with pytest.raises(ValueError, match='none of 2 people can be used, such as: clip b'):
        isolation.usable([broken('b', 'box'), broken('c', 'box')], gib=1, strict=False)


def test_an_id_that_is_no_file_name_is_refused_whoever_it_is():
    with pytest.raises(ValueError, match='clip id'):
        isolation.usable([person('a'), person('../b')], gib=1, strict=False)


def test_who_turns_out_unreadable_late_leaves_the_others_as_they_are():
    people = [person('a'), broken('b', 'later frame'), person('c')]
    batch, reasons = chunks.stack_readable(people, frames=5, size=(48, 50))
    assert [bool(reason) for reason in reasons] == [False, True, False]
    alone = chunks.stack_people([people[2]], frames=5, size=(48, 50))
    for together, single in zip(jax.tree.leaves(batch), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(together[2], single[0])
    with pytest.raises(ValueError, match='frame 3 has shape'):
        chunks.stack_people(people, frames=5, size=(48, 50))


def test_a_mended_clip_has_another_mark():
    clip = person('a')
    torn = dataclasses.replace(clip, frames=images.Frames((Item(),) * 4))
    assert marks.of_clip(torn) == marks.of_clip(torn) != marks.of_clip(clip)


# --- reports without predictions -------------------------------------------------------------


def result(clip, shift=0.0, **how):
    joints = clip.labels.joints + np.float32(shift)
    losses = np.linspace(2, 1, 2 * len(joints)).reshape(-1, 2)
    return Adapted(joints, joints[..., 0], losses, seconds=1.5, **how)


def test_people_without_predictions_have_no_score_and_change_nobody_else_s():
    people = [person('a'), person('bb'), person('ccc')]
    before, after = ([result(clip, shift).joints for clip in people] for shift in (30, 0))
    both = {'before': [before[0], None, before[2]], 'online': [after[0], None, after[2]]}
    found = report.summarise(people, both, skeleton=SKELETON)
    without = {'before': before[::2], 'online': after[::2]}
    expected = report.summarise(people[::2], without, skeleton=SKELETON)
    assert found['mpck'] == expected['mpck'] and found['compared'] == expected['compared']
    assert found['people'][1] == {'id': 'bb', 'before': None, 'online': None}
    table = report.table(found | {'failed': {'bb': 'why'}})
    assert 'Failed: 1 person.' in table and 'visible joint' not in table


# --- lines of results ------------------------------------------------------------------------


def row(name, phase='online', status='personalized', host='one', **more):
    return {'id': name, 'phase': phase, 'status': status, 'host': host} | more


def test_a_line_says_what_became_of_a_person():
    clip = person('a')
    found = rows.row(
        clip,
        'online',
        result(clip, 30),
        result(clip, status='personalized', gain=2.5),
        skeleton=SKELETON,
        host='here',
        predictions='predictions/online/a.npz',
        gain_error=4.0,
    )
    assert found['mpck_after'] == 100 > found['mpck_before'] >= 0
    assert found['loss_before'] == 2 > found['loss_after'] == 1
    assert (found['gain'], found['gain_error']) == (2.5, 4.0)
    assert (found['seconds'], found['frames']) == (1.5, 4)
    assert json.loads(rows.text([found])) == found


def test_what_is_not_known_is_null():
    clip = dataclasses.replace(person('a'), labels=None)
    gone = unreadable(clip, 'why', joints=JOINTS)
    for after in (gone, gone._replace(losses=np.full((4, 1), np.nan))):
        how = dict(skeleton=SKELETON, host='here', predictions=None)
        found = rows.row(clip, 'online', gone, after, **how)
        assert json.loads(rows.text([found]), parse_constant=pytest.fail) == found
        assert (found['status'], found['reason'], found['mpck_after']) == ('failed', 'why', None)
        refused = rows.refused('b', 'online', 'why', frames=1, host='here')
        assert refused.keys() == found.keys()


def some_rows(rng):
    """A few people's rows, some of them there twice."""
    statuses, hosts = ('personalized', 'failed'), ('one', 'two')
    return [
        row(rng.choice('abc'), rng.choice(PHASES), rng.choice(statuses), rng.choice(hosts), n=n)
        for n in range(rng.randrange(6))
    ]


PHASES = ('online', 'offline')


def test_hosts_are_joined_in_whatever_order_they_come():
    rng = random.Random(0)
    for _ in range(50):
        hosts = [some_rows(rng) for _ in range(rng.randrange(4))]
        joined = rows.joined(*hosts)
        for other in itertools.permutations(hosts):
            assert rows.joined(*other) == joined == rows.joined(joined)
        everything = [r for own in hosts for r in own]
        assert [key(r) for r in joined] == sorted({key(r) for r in everything})
        for r in joined:  # who was done by anybody is done
            statuses = {s['status'] for s in everything if key(s) == key(r)}
            assert r in everything and (r['status'] == 'failed') == (statuses == {'failed'})


def key(row):
    return row['id'], row['phase']


def test_lines_are_there_at_once_and_sorted_at_the_end(tmp_path):
    book = ledger.Ledger(tmp_path)
    book.begin('online', [])
    for name in 'cab':
        book.add(row(name))
        assert rows.read(book.path)[-1] == row(name)
    book.close()
    assert [r['id'] for r in rows.read(tmp_path / 'results.jsonl')] == ['a', 'b', 'c']


def test_after_a_stop_nobody_is_there_twice_and_who_is_done_again_is_not_there(tmp_path):
    book = ledger.Ledger(tmp_path)
    book.begin('online', [])
    for name in 'abc':
        book.add(row(name))
    with open(book.path, 'a') as file:
        file.write('{"id": "d", "pha')  # the moment it was stopped
    book.begin('offline', [])
    book.begin('online', [row('b'), row('d')])  # d was stored, its line was not
    book.add(row('a'))
    assert [r['id'] for r in rows.read(book.path)] == ['b', 'd', 'a']


def test_who_was_done_elsewhere_stays_so_unless_the_result_is_another(tmp_path):
    book = ledger.Ledger(tmp_path)
    book.begin('online', [row('a', host='there', n=1), row('b', host='there', n=1)])
    book.begin('online', [row('a', host='here', n=1), row('b', host='here', n=2)])
    assert [r['host'] for r in rows.read(book.path)] == ['there', 'here']


def test_a_line_that_is_no_result_is_named(tmp_path):
    (tmp_path / 'results.jsonl').write_text('{"id": "a"}\n')
    with pytest.raises(ValueError, match='results.jsonl: line 1 is no person'):
        rows.read(tmp_path / 'results.jsonl')


# --- what is stored --------------------------------------------------------------------------


def storing(folder, **how):
    return store.Store(folder, 'online', ['a', 'b'], ['of a', 'of b'], SKELETON.joints, (0,), **how)


def test_whose_frames_could_not_be_read_is_tried_again_and_whose_steps_failed_is_not(tmp_path):
    kept = storing(tmp_path)
    unread = unreadable(person('a'), 'why', joints=JOINTS)
    kept.save(0, unread)
    assert not kept.load()
    kept.save(0, unread._replace(failed_at=3))  # is drawn, but has no view
    found = kept.load()
    assert found.keys() == {0} and not found[0].predicted
    assert (found[0].status, found[0].reason, found[0].failed_at) == ('failed', 'why', 3)


def test_who_lacks_the_weights_that_are_wanted_is_not_done(tmp_path):
    done = result(person('b'), status='personalized')
    storing(tmp_path).save(1, done)
    assert storing(tmp_path).load().keys() == {1}
    kept = storing(tmp_path, weights=personal.Form('int8'))
    assert not kept.load()
    base = {'encoder/kernel': np.zeros((2, 2), np.float32)}
    kept.save_weights(1, {'encoder/kernel': np.eye(2, dtype=np.float32)}, base, digest='of now')
    assert kept.load().keys() == {1}
    found = personal.load(kept.path('weights', 1), base, digest='of now')
    np.testing.assert_allclose(found['encoder/kernel'], np.eye(2), atol=0.01)
    assert predictions.mark_of(kept.path('weights', 1)).startswith('of b')
    assert not storing(tmp_path, weights=personal.Form('int4')).load()  # in another form
    kept.save(1, done._replace(status='kept'))  # the shared network's predictions need no weights
    kept.path('weights', 1).unlink()
    assert kept.load().keys() == {1}


# --- two jobs, and being stopped -------------------------------------------------------------


def test_a_second_job_in_a_workdir_is_refused_and_a_later_one_is_not(tmp_path):
    with lock.held(tmp_path / 'run'):
        with pytest.raises(ValueError, match=f'run: another .* process {os.getpid()} on ') as error:
            with lock.held(tmp_path / 'run'):
                pytest.fail('two jobs in one workdir')
        assert '\n' not in str(error.value)
    with lock.held(tmp_path / 'run'):
        pass


HOLDS = """
import sys, time, pathlib
from ttp_jax.run import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print('held', flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path):
    other = subprocess.Popen(
        [sys.executable, '-c', HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert other.stdout.readline() == 'held\n'
        with pytest.raises(ValueError, match=f'process {other.pid} on '):
            with lock.held(tmp_path):
                pytest.fail('two jobs in one workdir')
    finally:
        other.kill()
        other.wait()
    with lock.held(tmp_path):
        pass


def test_sigterm_is_heeded_inside_and_as_ever_outside():
    former = signal.getsignal(signal.SIGTERM)
    with interrupt.heeded() as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 60
        while not stop.asked and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stop.asked
    assert signal.getsignal(signal.SIGTERM) is former
