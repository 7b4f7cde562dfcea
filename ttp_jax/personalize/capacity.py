"""How many people are personalized at once, and where, when nobody says.

A person who joins a chunk brings private weights, their gradient and Adam's moments, a clip, and
what the forward pass leaves for the backward pass. On accelerators memory decides: on a GPU more
people at once are faster; on a TPU they take turns, and a step's memory is there once. On a CPU
each device is one core and takes one person: a second one only pushes the first from the caches
(measured: experiments/throughput.py).
"""

import functools
import math
import os
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ttp_jax.networks.model import PoseModel
from ttp_jax.networks.perceptual import Perceptual
from ttp_jax.objectives.objective import Objective
from ttp_jax.personalize import inner_loop, partition

_KEPT = 3  # weights and two moments
_PASSING = 2  # gradient, and a copy while weights are replaced
# XLA's plans hold up to 2.6 times what is kept: gathered columns, and gradients under way.
_OVERHEAD = 3
_SHARE = 0.8  # of the free memory; the rest is for predictions and for what others need


class Needs(NamedTuple):
    """Bytes: of one more person in a chunk, and of a step that a few take after the others."""

    each: int
    once: int = 0


def activation_bytes(
    trainable: partition.Flat,
    frozen: partition.Flat,
    batch_stats,
    *,
    model: PoseModel,
    perceptual: Perceptual,
    objective: Objective | None,
    size: int,
    batch: int,
    mirror: tuple[int, ...] = (),
) -> int:
    """What the forward pass of one person's step leaves for the backward pass, parameters aside.

    Nothing without an objective. Only shapes are used: arguments may be `jax.ShapeDtypeStruct`s.
    size: of a crop's side, pixels; mirror: as in `inner_loop.Method`.
    """
    if objective is None:
        return 0
    one_loss = functools.partial(
        inner_loop.self_supervised_loss, model=model, objective=objective, mirror=mirror
    )
    crops = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
    labels = None
    if objective.taught:
        cells = model.cells(size)
        labels = (jnp.zeros((batch, cells, cells, model.joints)), jnp.ones((batch, model.joints)))
    fixed = jax.tree.leaves((trainable, frozen, batch_stats, perceptual.weights))
    known = {(x.shape, x.dtype) for x in fixed}

    def pull_back(trainable, frozen, batch_stats, weights, target, source):
        def loss(t):
            return one_loss(
                t,
                frozen,
                batch_stats,
                jnp.ones(1 + perceptual.terms),
                inner_loop.Crops(target, source, labels),
                jax.random.key(0),
                perceptual=perceptual._replace(weights=weights),
            )[0]

        return jax.vjp(loss, trainable)[1]

    kept = jax.tree.leaves(
        jax.eval_shape(pull_back, trainable, frozen, batch_stats, perceptual.weights, crops, crops)
    )
    return sum(x.size * x.dtype.itemsize for x in kept if (x.shape, x.dtype) not in known)


def needs(trainable: partition.Flat, *rest, at_once: int = 0, **how) -> Needs:
    """What people take at most besides their clips.

    Args:
      trainable: with the others, arguments of `activation_bytes`.
      at_once: as in `many_people.lift_loop`.
    """
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in trainable.values())
    step = _PASSING * weights + _OVERHEAD * activation_bytes(trainable, *rest, **how)
    if at_once:
        return Needs(_KEPT * weights, at_once * step)
    return Needs(_KEPT * weights + step)


def people_at_once(needs: Needs, devices: Sequence[jax.Device]) -> int:
    """How many people the devices take together, at least one; needs: their clips included."""
    if devices[0].platform == 'cpu':
        free = _SHARE * free_bytes() - needs.once
        return max(1, min(len(devices), math.floor(free / needs.each)))
    free = _SHARE * min(_free_on(device) for device in devices) - needs.once
    return len(devices) * max(1, math.floor(free / needs.each))


def _free_on(device: jax.Device) -> float:
    statistics = device.memory_stats() or {}
    return statistics.get('bytes_limit', 0) - statistics.get('bytes_in_use', 0)


def free_bytes() -> float:
    """Memory of this machine that is still to be had; infinite where the system does not say."""
    try:
        text = pathlib.Path('/proc/meminfo').read_text()
    except OSError:
        return math.inf
    found = re.search(r'MemAvailable:\s+(\d+)', text)
    return 1024 * int(found.group(1)) if found else math.inf


def one_device_per_core() -> None:
    """Makes each core a device of the CPU backend, unless XLA_FLAGS says how many there should be.

    To be called before JAX computes anything. Two people on a core each are faster than two cores
    on one person after the other.
    """
    if 'xla_force_host_platform_device_count' not in os.environ.get('XLA_FLAGS', ''):
        count = getattr(os, 'sched_getaffinity', lambda _: range(os.cpu_count() or 1))
        jax.config.update('jax_num_cpu_devices', len(count(0)))


def training_devices() -> list[jax.Device]:
    """What a training batch is split among: the devices of all processes that are connected.

    Of a CPU one device, which uses every core itself.
    """
    devices = jax.devices()
    if devices[0].platform != 'cpu':
        return devices
    first = {device.process_index: device for device in reversed(devices)}
    return [first[process] for process in sorted(first)]
