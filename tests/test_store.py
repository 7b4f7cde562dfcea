"""Workdirs in an object store, stores and disks that refuse: what is whole, kept, and told."""

import dataclasses
import json
import logging
import os
import pathlib
import re
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import test_hosts
import test_penn_action

from ttp_jax import places
from ttp_jax.data import sets, skeletons
from ttp_jax.files import checkpoint, lines, predictions, whole_file
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.results import rows
from ttp_jax.run import collect, job, ledger, lock, training
from ttp_jax.train import TrainState

world = test_hosts.world
NAMES = skeletons.PENN_ACTION.joints


@pytest.fixture(scope='module')
def server():
    """A bucket of an S3 server on this machine."""
    moto = pytest.importorskip('moto.server', reason="needs pip install 'ttp_jax[test]': moto")
    pytest.importorskip('s3fs', reason="needs pip install 'ttp_jax[test]': s3fs")
    import boto3
    import fsspec

    with pytest.MonkeyPatch.context() as patch:
        for name in ('ACCESS_KEY_ID', 'SECRET_ACCESS_KEY'):
            patch.setenv(f'AWS_{name}', 'testing')
        patch.setenv('AWS_DEFAULT_REGION', 'us-east-1')
        running = moto.ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
        running.start()
        logging.getLogger('werkzeug').setLevel(logging.WARNING)  # it tells of every request
        host, port = running.get_host_and_port()
        patch.setenv('AWS_ENDPOINT_URL', f'http://{host}:{port}')
        boto3.client('s3').create_bucket(Bucket='people')
        yield 's3://people'
        fsspec.get_filesystem_class('s3').clear_instance_cache()
        running.stop()


@pytest.fixture
def workdir(server, request, monkeypatch):
    monkeypatch.setattr(lock, 'SETTLED', 0.0)
    monkeypatch.setattr(places, 'FIRST_WAIT', 0.0)
    return places.place(f'{server}/{re.sub("[^a-z]", "", request.node.name)}')


def adapted(value=1.0):
    joints = np.full((3, len(NAMES), 2), value, np.float32)
    return Adapted(joints, joints[..., 0], joints[..., 0], status='kept')


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_in_a_store_are_whole_or_not_there(workdir):
    path = workdir / 'predictions' / 'a.npz'
    assert predictions.load(path, mark='m') is None and predictions.mark_of(path) is None
    predictions.save(path, adapted(), names=NAMES, mark='m')
    np.testing.assert_array_equal(predictions.load(path, mark='m').joints, adapted().joints)
    assert predictions.mark_of(path) == 'm'
    with pytest.raises(MemoryError), whole_file.replacing(path) as temporary:
        temporary.write_text('cut sh')
        raise MemoryError
    assert predictions.mark_of(path) == 'm' and names_in(path.parent) == ['a.npz']


def test_a_job_of_two_hosts_in_a_store_is_one_on_a_disk(world, workdir, tmp_path):
    expected = job.execute(test_hosts.config(), tmp_path)
    assert test_hosts.run_host(workdir, 0)  # takes up what host 1 has not begun
    found = test_hosts.run_host(workdir, 1)
    assert test_hosts.scores(found) == test_hosts.scores(expected)
    joined = collect.execute(test_hosts.config(), workdir)
    assert test_hosts.scores(joined) == test_hosts.scores(expected)
    assert len(rows.read(workdir / 'results.jsonl')) == 10
    assert json.loads((workdir / 'report.json').read_text())['mpck'] == expected['mpck']
    assert {'people.png', 'report.md'} <= {*names_in(workdir)}
    assert not (workdir / '.claim').exists()


def test_a_folder_of_a_store_is_claimed_while_it_is_used(workdir):
    with lock.held(workdir):
        with pytest.raises(lock.Taken, match=f'process {os.getpid()} on '), lock.held(workdir):
            pytest.fail('two jobs in one workdir')
        with pytest.raises(lock.Taken), lock.held(workdir, shared=True):
            pytest.fail('a job of hosts beside one of a process')
    with lock.held(workdir):
        pass
    left = {'token': 'of one who was killed', 'holder': 'it', 'time': time.time() - lock.STALE - 1}
    (workdir / '.claim').write_text(json.dumps(left))
    with lock.held(workdir):
        assert json.loads((workdir / '.claim').read_text())['holder'] != 'it'


def test_lines_in_a_store_go_on_behind_those_that_are_there(workdir, monkeypatch):
    path = workdir / 'lines.jsonl'
    for text in 'ab':
        growing = lines.Lines(path)
        growing.add(f'{text}\n')
        growing.flush()
    growing.add('c\n')
    assert path.read_text() == 'a\nb\n'
    monkeypatch.setattr(lines, 'EVERY', 0.0)
    growing.add('d\n')
    assert path.read_text() == 'a\nb\nc\nd\n'
    book = ledger.Ledger(workdir)
    row = {'id': 'a', 'phase': 'online', 'status': 'kept', 'host': 'here'}
    book.begin('online', [])
    book.add(row)
    book.close()
    assert rows.read(workdir / 'results.jsonl') == [row]


def state(step, value):
    params = {'layer': {'kernel': jnp.full((2, 3), value)}}
    return TrainState(jnp.array(step), params, {}, optax.adam(1e-3).init(params), jnp.ones(2))


def test_checkpoints_in_a_store(workdir):
    saved = checkpoint.Checkpoints(workdir / 'checkpoints', keep=2)
    assert saved.latest() is None
    for step in (1, 2, 10):
        saved.save(state(step, float(step)))
    saved.close()
    assert names_in(workdir / 'checkpoints') == ['10.tar', '2.tar']
    again = checkpoint.Checkpoints(workdir / 'checkpoints')
    assert again.latest() == checkpoint.newest_step(workdir / 'checkpoints') == 10
    found = again.restore(state(0, 0.0))
    assert int(found.step) == 10 and float(found.params['layer']['kernel'][0, 0]) == 10
    (workdir / 'config.json').write_text('{"seed": 7}')
    assert checkpoint.config_beside(str(workdir)) == {'seed': 7}
    loaded = checkpoint.load_model(str(workdir), state(0, 0.0))
    assert int(loaded.step) == 0 and float(loaded.params['layer']['kernel'][0, 0]) == 10
    with pytest.raises(ValueError, match='no checkpoint there'):
        checkpoint.load_model(str(workdir / 'nothing'), state(0, 0.0))


def test_data_may_lie_in_a_store(workdir, tmp_path):
    for folder in ('labels', 'frames'):
        (tmp_path / folder).mkdir()
    test_penn_action.write_video(tmp_path, '0001', test_penn_action.label(3, -1))
    test_penn_action.write_video(tmp_path, '0002', test_penn_action.label(4, 1))
    for path in filter(pathlib.Path.is_file, tmp_path.rglob('*')):
        (workdir / path.relative_to(tmp_path).as_posix()).write_bytes(path.read_bytes())
    for split in ('train', 'test'):
        (near,), (far,) = (
            getattr(sets.load('penn_action', training=True, root=str(root)), split)
            for root in (tmp_path, workdir)
        )
        assert near.id == far.id
        np.testing.assert_array_equal(near.frames[2], far.frames[2])
        np.testing.assert_array_equal(near.labels.joints, far.labels.joints)
    (workdir / 'frames' / '0001' / '000002.jpg').unlink()
    with pytest.raises(ValueError, match='000002.jpg: cannot be read'):
        sets.load('penn_action', training=False, root=str(workdir)).test[0].frames[1]
    with pytest.raises(ValueError, match="nowhere': no such folder"):
        sets.load('penn_action', training=False, root=str(workdir / 'nowhere'))


def failing(monkeypatch, workdir, every):
    """Makes the store refuse every so many-th write; returns the count of writes."""
    written, write = [], type(workdir).write_bytes

    def refuses(path, data):
        written.append(path)
        if len(written) % every == 0:
            raise OSError('503 Slow Down')
        return write(path, data)

    monkeypatch.setattr(type(workdir), 'write_bytes', refuses)
    return written


def test_a_store_that_fails_every_tenth_write_is_asked_again(world, workdir, tmp_path, monkeypatch):
    expected = job.execute(test_hosts.config(), tmp_path)
    written = failing(monkeypatch, workdir, 10)
    assert test_hosts.scores(job.execute(test_hosts.config(), workdir)) == test_hosts.scores(
        expected
    )
    assert len(written) > 20


def test_a_store_that_takes_nothing_is_told_in_one_line(workdir, monkeypatch):
    failing(monkeypatch, workdir, 1)
    with pytest.raises(ValueError, match='a.npz: could not be written in 6 .*503 Slow') as error:
        predictions.save(workdir / 'a.npz', adapted(), names=NAMES, mark='m')
    assert '\n' not in str(error.value)


# --- disks -----------------------------------------------------------------------------------


@pytest.fixture
def full_disk():
    """No file may grow above so many bytes: what a full disk does to whoever writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_in_one_line_and_what_was_finished_is_kept(tmp_path, full_disk):
    path, row = tmp_path / 'a.npz', {'id': 'a', 'phase': 'x', 'status': 'kept', 'host': 'h'}
    predictions.save(path, adapted(1), names=NAMES, mark='m')
    book = ledger.Ledger(tmp_path)
    book.begin('x', [row])
    metrics = training.MetricsLog(tmp_path, 0)
    full_disk(20)
    for write in (
        lambda: predictions.save(path, adapted(2), names=NAMES, mark='m'),
        lambda: book.add(row | {'id': 'b'}),
        lambda: metrics.write(1, {'loss': 1.0, 'gradient_norm': 2.0}),
    ):
        with pytest.raises(ValueError, match=r'cannot be written \(.*\); all .* kept') as error:
            write()
        assert '\n' not in str(error.value)
    full_disk(2**30)
    assert predictions.load(path, mark='m').joints[0, 0, 0] == 1
    assert rows.read(tmp_path / 'results.jsonl') == [row]
    assert not [name for name in names_in(tmp_path) if name.startswith('.a.npz')]


def test_a_checkpoint_that_no_disk_takes_leaves_the_one_before(tmp_path, full_disk):
    def random(step):
        kernel = jax.random.normal(jax.random.key(step), (300, 300))
        return dataclasses.replace(state(step, 0.0), params={'layer': {'kernel': kernel}})

    saved = checkpoint.Checkpoints(tmp_path)
    saved.save(random(1))
    saved.wait()
    full_disk(2000)
    with pytest.raises(ValueError, match=r'cannot be written \(File too large\); all') as error:
        saved.save(random(2))
        saved.wait()
    assert '\n' not in str(error.value)
    full_disk(2**30)
    assert checkpoint.newest_step(tmp_path) == 1
    assert int(checkpoint.Checkpoints(tmp_path).restore(random(0)).step) == 1
