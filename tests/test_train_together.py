"""Joint training by real processes: how many share a batch changes nothing but rounding."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import QUICKLY_COMPILED, TINY

from ttp_jax.data import pairs
from ttp_jax.files import checkpoint

HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    with socket.socket() as found:
        found.bind(('localhost', 0))
        return found.getsockname()[1]


def start(folder, index, count, port, devices):
    return subprocess.Popen(
        [sys.executable, HERE / 'train_together.py', *map(str, (index, count, port, folder))]
        + [json.dumps(TINY)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ
        | {
            'JAX_PLATFORMS': 'cpu',
            'XLA_FLAGS': f'{QUICKLY_COMPILED} --xla_force_host_platform_device_count={devices}',
            'PYTHONPATH': str(HERE.parent),
        },
    )


def trained(folder, *, count, devices):
    """(checkpoint of before, of after, every process's metrics)."""
    folder.mkdir()
    port = free_port()
    started = [start(folder, index, count, port, devices) for index in range(count)]
    told = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * count, told
    metrics = [json.loads(path.read_text()) for path in sorted(folder.glob('metrics.*.json'))]
    before, after = (checkpoint.read_everything(folder / name) for name in ('before', 'after'))
    return before, after, metrics


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """What one process with one device comes to."""
    return trained(tmp_path_factory.mktemp('alone') / 'run', count=1, devices=1)


@pytest.mark.parametrize(('count', 'devices'), [(1, 4), (2, 2)])
def test_devices_and_processes_come_to_the_same_numbers(alone, tmp_path, count, devices):
    start, expected, (numbers,) = alone
    before, found, metrics = trained(tmp_path / 'run', count=count, devices=devices)
    jax.tree.map(np.testing.assert_array_equal, before, start)
    assert len(metrics) == count and all(own == metrics[0] for own in metrics)
    for name, value in numbers.items():
        np.testing.assert_allclose(metrics[0][name], value, rtol=1e-4, err_msg=name)
    leaves = map(jax.tree.leaves_with_path, (found, expected, start))
    for (path, a), (_, b), (_, c) in zip(*leaves, strict=True):
        # A thousandth of what the step has changed: parameters are float32.
        moved = 1e-3 * np.abs(b - c).max() + 1e-6
        np.testing.assert_allclose(a, b, atol=moved, err_msg=jax.tree_util.keystr(path))
    assert int(found['step']) == 1


def test_parts_of_a_batch_are_its_rows_in_order():
    rows = [pairs.rows_of((index, 4), 12) for index in range(4)]
    assert [*np.concatenate([np.arange(12)[own] for own in rows])] == [*range(12)]
