"""Many people: one person's loop lifted with vmap and spread over devices, a chunk at a time.

Contract: a person's result depends on the person, the weights and the seed, not on who else is
there, nor on how many people share a chunk or a device.
"""

import functools
import math
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ttp_jax.data import clips, pairs
from ttp_jax.networks import layers
from ttp_jax.networks.model import PoseModel
from ttp_jax.networks.perceptual import Perceptual
from ttp_jax.objectives.objective import Objective
from ttp_jax.personalize import partition
from ttp_jax.personalize.inner_loop import (
    Person,
    Predictions,
    adapt_frames,
    fresh_state,
    predict_frames,
)


class Runner(NamedTuple):
    """The compiled pieces of personalization, each for a chunk of people at a time.

    A clip is worked off in segments of `segment` frames, so that one compiled program serves clips
    of every length, and so that somebody waiting sees it move.
    """

    before: Callable  # (params, batch_stats, people, frames) -> Predictions
    start: Callable  # (trainable, loss_means, people) -> everyone's PersonState
    adapt: Callable  # (states, frozen, batch_stats, weights, people, keys, frames) -> ...
    after: Callable  # (states, frozen, batch_stats, people, frames) -> Predictions
    weights: dict[str, jax.Array]
    schedule: str
    segment: int
    mesh: Mesh

    def everywhere(self, tree):
        """The tree on all of the runner's devices: what people share may come from fewer."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))


def make_runner(
    *,
    model: PoseModel,
    perceptual: Perceptual,
    objective: Objective,
    tx: optax.GradientTransformation,
    spec: pairs.CropSpec,
    schedule: str,
    batch: int,
    augment: Mapping[str, float],
    epochs: int = 1,
    segment: int = 8,
    lowering: str = 'matmul',
    devices: Sequence[jax.Device] | None = None,
) -> Runner:
    """Lifts one person's loop over people and spreads them over the local devices, or those given.

    No collective is needed: people are independent. `lowering` is for layers whose weights differ
    per person; predictions before adaptation share theirs.
    """
    shared = model.clone(train=False)
    private = shared.clone(lowering=lowering)
    # What people share takes whole layers too, unless each core works for itself.
    network = perceptual._replace(
        lowering='blocked' if lowering == 'blocked' else layers.suited_lowering('joint')
    )
    mesh = Mesh(np.array(devices or jax.local_devices()), ('people',))
    lift = functools.partial(_lift, mesh=mesh)

    def before(params, batch_stats, person, frames):
        return predict_frames(params, batch_stats, person, frames, model=shared, spec=spec)

    def start(trainable, loss_means, person):
        del person  # there to say how many states are wanted
        return fresh_state(trainable, loss_means, tx=tx)

    def adapt(state, frozen, batch_stats, weights, person, key, frames):
        return adapt_frames(
            state,
            frozen,
            batch_stats,
            person,
            key,
            frames,
            model=private,
            perceptual=network._replace(weights=weights),
            objective=objective,
            tx=tx,
            spec=spec,
            schedule=schedule,
            batch=batch,
            augment=augment,
            epochs=epochs,
        )

    def after(state, frozen, batch_stats, person, frames):
        params = partition.merge(state.trainable, frozen)
        return predict_frames(params, batch_stats, person, frames, model=private, spec=spec)

    return Runner(
        lift(before, (None, None, 0, None)),
        lift(start, (None, None, 0)),
        lift(adapt, (0, None, None, None, 0, 0, None), donate_argnums=0),
        lift(after, (0, None, None, 0, None)),
        perceptual.weights,
        schedule,
        segment,
        mesh,
    )


def _lift(function: Callable, in_axes: tuple[int | None, ...], *, mesh: Mesh, **jit) -> Callable:
    """The compiled function over people (axis 0, or None for what they share), spread over the mesh."""
    specs = tuple(PartitionSpec(*('people',) * (axis == 0)) for axis in in_axes)
    mapped = jax.shard_map(
        _over_people(function, in_axes),
        mesh=mesh,
        in_specs=specs,
        out_specs=PartitionSpec('people'),
        check_vma=False,
    )
    # Where each core is a device, splitting an operation over cores only takes them from others.
    alone = mesh.size > 1 and jax.default_backend() == 'cpu'
    return jax.jit(
        mapped, compiler_options={'xla_cpu_multi_thread_eigen': False} if alone else None, **jit
    )


def _over_people(function: Callable, in_axes: tuple[int | None, ...]) -> Callable:
    """`jax.vmap(function, in_axes)`; of one person the function itself, which is traced in half the time."""

    def apply(*arguments):
        people = {
            len(leaf)
            for tree, axis in zip(arguments, in_axes)
            if axis == 0
            for leaf in jax.tree.leaves(tree)
        }
        if people != {1}:
            return jax.vmap(function, in_axes)(*arguments)
        alone = (
            tree if axis is None else jax.tree.map(lambda leaf: leaf[0], tree)
            for tree, axis in zip(arguments, in_axes)
        )
        return jax.tree.map(lambda leaf: leaf[None], function(*alone))

    return apply


class Adapted(NamedTuple):
    """One person's result: joints `[F, J, 2]` image pixels, scores `[F, J]`, losses `[F, epochs]`.

    trainable: their private weights after the last step, where they were asked for.
    """

    joints: np.ndarray
    scores: np.ndarray
    losses: np.ndarray
    trainable: partition.Flat | None = None


def chunks(lengths: Sequence[int], *, people_per_chunk: int, devices: int = 1) -> list[list[int]]:
    """Who is adapted together: indices, similar lengths side by side, all chunks of one size.

    Every chunk but the last is full of different people; the last is filled up with repetitions of
    its own, whose results are dropped. Sizes are multiples of `devices`.
    """
    count = max(1, math.ceil(len(lengths) / people_per_chunk))
    size = math.ceil(math.ceil(len(lengths) / count) / devices) * devices
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [(order[i : i + size] * size)[:size] for i in range(0, len(order), size)]


def person_keys(people: Sequence[clips.Clip], seed: int) -> jax.Array:
    """One random key each, from the seed and the clip's name: the company does not matter."""
    names = jnp.array([zlib.crc32(clip.id.encode()) for clip in people], jnp.uint32)
    return jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(names)


def predict_people(
    people: Sequence[clips.Clip], *, runner: Runner, params, batch_stats, people_per_chunk: int
) -> Iterator[tuple[int, Adapted]]:
    """(index, predictions) of everyone with the shared weights, before any adaptation."""
    params, batch_stats = runner.everywhere((params, batch_stats))
    for members, batch, frames in _batches(
        people, runner=runner, people_per_chunk=people_per_chunk
    ):
        segments = [runner.before(params, batch_stats, batch, f) for f in frames]
        yield from _unpack(people, members, segments, [])


def personalize_people(
    people: Sequence[clips.Clip],
    *,
    runner: Runner,
    trainable: partition.Flat,
    frozen: partition.Flat,
    batch_stats,
    loss_means: jax.Array,
    seed: int,
    people_per_chunk: int,
    keep: Collection[int] = (),
    on_segment: Callable = lambda loss, frames: None,
) -> Iterator[tuple[int, Adapted]]:
    """(index, adapted predictions) of everyone, a chunk of people at a time.

    A person's result depends on the person, the weights and the seed, not on who else is there.
    keep: indices of those whose adapted weights are wanted. on_segment is told, after each segment,
    the mean loss `[]` and how many frames of how many people it worked off.
    """
    trainable, frozen, batch_stats, loss_means, weights = runner.everywhere(
        (trainable, frozen, batch_stats, loss_means, runner.weights)
    )
    for members, batch, frames in _batches(
        people, runner=runner, people_per_chunk=people_per_chunk
    ):
        states = runner.start(trainable, loss_means, batch)
        keys = person_keys([people[i] for i in members], seed)
        segments, history = [], []
        for f in frames:
            states, loss, predictions = runner.adapt(
                states, frozen, batch_stats, weights, batch, keys, f
            )
            segments.append(predictions)
            history.append(loss)
            on_segment(loss.mean(), _worked_off(people, members, f))
        if runner.schedule != 'online':
            segments = [runner.after(states, frozen, batch_stats, batch, f) for f in frames]
        for index, adapted in _unpack(people, members, segments, history):
            if index in keep:
                row = members.index(index)
                theirs = {path: leaf[row] for path, leaf in states.trainable.items()}
                adapted = adapted._replace(trainable=jax.device_get(theirs))
            yield index, adapted


def _worked_off(people, members: list[int], frames: jax.Array) -> int:
    """How many real frames of different people a segment holds."""
    return sum(int((np.asarray(frames) < len(people[i].frames)).sum()) for i in set(members))


def _batches(people, *, runner: Runner, people_per_chunk: int):
    """(member indices, their `Person` on the devices, frame indices of each segment) per chunk."""
    if not people:
        return
    lengths = [len(clip.frames) for clip in people]
    padded = math.ceil(max(lengths) / runner.segment) * runner.segment
    size = clips.largest_frame(people)
    for members in chunks(lengths, people_per_chunk=people_per_chunk, devices=runner.mesh.size):
        batch = stack_people([people[i] for i in members], frames=padded, size=size)
        longest = lengths[members[0]]
        yield (
            members,
            jax.device_put(batch),
            [start + jnp.arange(runner.segment) for start in range(0, longest, runner.segment)],
        )


def _unpack(people, members: list[int], segments: list[Predictions], history: list[jax.Array]):
    """Joins a chunk's segments and cuts every person to their own length, each person once."""
    joined = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *jax.device_get(segments))
    loss = np.concatenate(jax.device_get(history), axis=1) if history else None
    for row, index in enumerate(dict.fromkeys(members)):
        n = len(people[index].frames)
        yield (
            index,
            Adapted(
                joined.joints[row, :n],
                joined.scores[row, :n],
                loss[row, :n] if history else np.zeros((0, 0)),
            ),
        )


def stack_people(people: Sequence[clips.Clip], *, frames: int, size: tuple[int, int]) -> Person:
    """Clips as one batch of people, zero-padded to `frames` frames of `size` (height, width)."""
    padded = np.zeros((len(people), frames, *size, 3), np.uint8)
    boxes = np.zeros((len(people), frames, 4), np.float32)
    boxes[:] = (0, 0, size[1], size[0])  # a box of no size has no crop, not even a padded one
    sizes = np.zeros((len(people), 2), np.int32)
    for i, clip in enumerate(people):
        stacked = clips.stack_clip(clip)
        n, h, w, _ = stacked.shape
        padded[i, :n, :h, :w] = stacked
        boxes[i, :n] = clip.boxes
        sizes[i] = h, w
    return Person(padded, sizes, boxes, np.array([len(c.frames) for c in people], np.int32))
