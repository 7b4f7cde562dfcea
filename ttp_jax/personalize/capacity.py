"""How many people are personalized at once, and where, when nobody says.

A person who joins a chunk brings private weights, Adam's moments and a clip, and, while a step is
taken, what that holds: activations that wait for the backward pass, gradients, crops. On
accelerators memory decides: on a GPU more people at once are faster; on a TPU they take turns, and
a step's memory is there once. On a CPU each device is one core and takes one person: a second one
only pushes the first from the caches (measured: experiments/throughput.py).

For TPUs the estimate is 1 to 14 % more than their compiler plans, once 19, of the twelve programs
that it was fitted to (experiments/README.md).
"""

import math
import os
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ttp_jax.personalize import inner_loop, liveness, partition

_PACKED = 4 / 3  # bytes that `pairs.laid_out` makes of one
# How much more XLA's plans hold than the trace: for TPUs little, for CPUs up to 2.3 times, in
# copies that suit their loops; a GPU's have never been looked at.
_OVERHEAD = {'tpu': 1.03}
_OVERHEAD_ELSEWHERE = 2.6
_TURN = 2.5  # copies of the state of somebody who is taken out for a turn and put back
_LANES = {'tpu': 128}  # to a multiple of how many numbers a last axis is filled up
_SHARE = 0.8  # of the free memory; the rest is for predictions and for what others need


class Needs(NamedTuple):
    """Bytes that people take besides their clips.

    each: of everybody in a chunk. step: of everybody who is worked for at the same time. Where
    others wait for their turn, besides, turn: of those who are worked for, and waiting: of
    everybody. at_once: how many are worked for at the same time; 0 for all of them. clip: of a byte
    of a clip, how many a step makes of it.
    """

    each: float
    step: float = 0
    turn: float = 0
    waiting: float = 0
    at_once: int = 0
    clip: float = 0

    def with_clips(self, size: int) -> 'Needs':
        """The same with clips of `size` bytes; who waits has theirs laid out otherwise as well."""
        return self._replace(
            each=self.each + size, step=self.step + self.clip * size, waiting=self.waiting + size
        )

    def bytes(self, people: int) -> float:
        """What so many people take together."""
        working = min(people, self.at_once or people)
        alone = people * self.each + working * self.step
        return alone + (working < people) * (people * self.waiting + working * self.turn)

    def people(self, free: float) -> int:
        """How many people so many bytes are enough for."""
        together = math.floor(free / (self.each + self.step))
        if not self.at_once:
            return together
        left = free - self.at_once * (self.step + self.turn)
        most = math.floor(left / (self.each + self.waiting))
        return max(min(together, self.at_once), most)


def needs(
    shared: inner_loop.Shared, *, method: inner_loop.Method, platform: str, at_once: int = 0
) -> Needs:
    """What people take, read off the trace of one person's steps (`liveness`).

    Only shapes are used: leaves of `shared` may be `jax.ShapeDtypeStruct`s.

    Args:
      shared: what people have in common.
      method: how they are adapted; with `method.objective` None nobody is, and a step takes
        nothing.
      platform: of the devices (`jax.Device.platform`).
      at_once: as in `many_people.lift_loop`.
    """
    lanes = _LANES.get(platform, 1)
    method = method._replace(spec=method.spec.suited_to(platform))
    loop, person = inner_loop.one_person(method), _one_frame(method)
    progress = jax.eval_shape(loop.start, shared, person)
    each = liveness.size_of(progress.state, lanes=lanes)
    if method.objective is None:
        return Needs(each)
    key, frames = jax.eval_shape(lambda: jax.random.key(0)), jax.ShapeDtypeStruct((1,), jnp.int32)
    trace = jax.make_jaxpr(loop.learn)(progress, shared, person, key, frames)
    held = liveness.most_held(trace, lanes=lanes)
    step = _OVERHEAD.get(platform, _OVERHEAD_ELSEWHERE) * held + _copies(shared.trainable, method)
    return Needs(
        each,
        step,
        turn=_TURN * liveness.size_of(progress.state),
        waiting=3 * liveness.size_of(_laid_out_otherwise(shared.trainable)),
        at_once=at_once,
        clip=_PACKED if method.spec.packed else 0,
    )


def _laid_out_otherwise(weights: partition.Flat) -> partition.Flat:
    """Kernels of transposed convolutions, as whose gradients come out of a TPU.

    So the loop over people keeps them and their moments, beside what it was given.
    """
    transposed = r'(.*/deconv\d+|renderer/conv[2-9]_0)/kernel'
    return {path: leaf for path, leaf in weights.items() if re.fullmatch(transposed, path)}


def _copies(weights: partition.Flat, method: inner_loop.Method) -> int:
    """Bytes of the copies of the weights that XLA makes and a trace does not show.

    One in the type that is computed in, where it is another. Two for a batch in parts: sums of
    their gradients, and weights laid out as the loop over parts reads them.
    """
    numbers, dtype = sum(leaf.size for leaf in weights.values()), method.model.dtype
    cast = numbers * jnp.dtype(dtype).itemsize if dtype else 0
    return cast + 2 * (method.parts > 1) * liveness.size_of(weights)


def _one_frame(method: inner_loop.Method) -> inner_loop.Person:
    """The shapes of the smallest clip there is; others are added by their bytes."""
    shape, side = jax.ShapeDtypeStruct, method.spec.size
    taught = method.objective is not None and method.objective.taught
    return inner_loop.Person(
        shape((1, side, side, 3), jnp.uint8),
        shape((2,), jnp.int32),
        shape((1, 4), jnp.float32),
        shape((), jnp.int32),
        shape((1, method.model.joints, 3), jnp.float32) if taught else None,
    )


def people_at_once(needs: Needs, devices: Sequence[jax.Device]) -> int:
    """How many people the devices take together, at least one; needs: their clips included."""
    if devices[0].platform == 'cpu':
        return max(1, min(len(devices), needs.people(_SHARE * free_bytes())))
    free = _SHARE * min(_free_on(device) for device in devices)
    return len(devices) * max(1, needs.people(free))


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
