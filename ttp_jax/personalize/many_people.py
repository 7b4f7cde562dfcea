"""Many people: the functions of one person's loop, lifted with vmap and spread over devices.

Where convolutions are computed for a TPU, people of one device take turns, a few at once
(`_in_turn`).

Contract: a person's result depends on the person, the weights and the seed, not on who else is
there, nor on how many people share a chunk or a device. No collective: people are independent. One
whose frames cannot be read has a result that says so; the others of the chunk go on.
"""

import concurrent.futures
import functools
import math
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ttp_jax.data import clips
from ttp_jax.networks import blocks, layers
from ttp_jax.networks.model import PoseModel
from ttp_jax.personalize import follow, partition
from ttp_jax.personalize.chunks import Chunk, segments, stack_readable
from ttp_jax.personalize.inner_loop import (
    HEALTHY,
    Loop,
    Method,
    Person,
    Predictions,
    Progress,
    Shared,
    one_person,
    personalize_person,
    predict_frames,
)

FAILED = 'failed'
PEOPLE = 'people'  # the axis of the mesh
SEGMENT = 8  # frames that one call works off
SIDE_BY_SIDE = 4  # people of one TPU chip; of sixteen at once each takes as long as alone
# Crops that a teacher looks at besides the usual one, in its sides: the best of what was tried on
# the validation part of real clips, where turned crops helped less (experiments/README.md).
TEACHER_SCALES = (0.87, 1.15)


class Runner(NamedTuple):
    """The compiled pieces of personalization, each for a chunk of people.

    before: `(params, batch_stats, people, frames) -> Predictions` with the weights that people
    share; loop: see `inner_loop`; segment: frames a call works off; teacher: as `before`, with more
    care, where people are taught; mirror: of the skeleton, for joints that are followed.
    """

    before: Callable
    loop: Loop
    segment: int
    mesh: Mesh
    teacher: Callable | None = None
    mirror: tuple[int, ...] = ()

    def everywhere(self, tree):
        """The tree on all of the runner's devices: what people share may come from fewer."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def spread(self, tree):
        """The tree with people, its leaves' first axis, shared out to the runner's devices."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec(PEOPLE)))


class Adapted(NamedTuple):
    """One person's result: joints `[F, J, 2]` image pixels, scores `[F, J]`, losses `[F, epochs]`.

    failed_at: the first step whose loss or gradient was not finite, after which nothing was learned
    any more; `inner_loop.HEALTHY` if there was none. trainable: their private weights of a moment,
    and learned: those of the end, where they were asked for. status, reason, gain: see `verdict`.
    seconds: an even share of what the chunk took, compilation included.
    """

    joints: np.ndarray
    scores: np.ndarray
    losses: np.ndarray
    failed_at: int = HEALTHY
    trainable: partition.Flat | None = None
    status: str = ''
    reason: str = ''
    seconds: float = math.nan
    gain: float = math.nan
    learned: partition.Flat | None = None

    @property
    def predicted(self) -> bool:
        """Whether there are predictions: without any, joints and scores are NaN."""
        return bool(np.isfinite(self.joints).all())

    @property
    def mendable(self) -> bool:
        """Whether it failed for another reason than its steps, such as a frame nobody can read."""
        return self.status == FAILED and self.failed_at == HEALTHY


def unreadable(clip: clips.Clip, reason: str, *, joints: int) -> Adapted:
    """The result of somebody whose frames cannot be read: no predictions, and why."""
    nothing = np.full((len(clip.frames), joints, 2), np.nan, np.float32)
    return Adapted(nothing, nothing[..., 0], np.zeros((0, 0)), status=FAILED, reason=reason)


def make_runner(
    method: Method, *, devices: Sequence[jax.Device] | None = None, segment: int = SEGMENT
) -> Runner:
    """Lifts one person's loop over people and spreads them over the local devices, or those given.

    method.model computes with private weights; predictions before any adaptation share theirs.
    """
    mesh = Mesh(np.array(devices or jax.local_devices()), (PEOPLE,))
    method = method._replace(spec=method.spec.suited_to(platform_of(mesh)))
    lowering = method.model.lowering if method.model.lowering in layers.ON_LIBRARY else 'library'
    before = functools.partial(
        predict_frames, model=method.model.clone(lowering=lowering), spec=method.spec
    )
    taught = method.objective is not None and method.objective.taught

    def predicting(looks: dict[str, Any]) -> Callable:
        return _lift(functools.partial(before, **looks), (None, None, 0, None), mesh=mesh)

    return Runner(
        predicting(method.looks),
        lift_loop(one_person(method), mesh=mesh, at_once=at_once(method.model)),
        segment,
        mesh,
        predicting(careful(method)) if taught else None,
        method.mirror,
    )


def platform_of(mesh: Mesh) -> str:
    """What the mesh's devices are; they need not be here, where the program is compiled."""
    return mesh.devices.flat[0].platform


def at_once(model: PoseModel) -> int:
    """How many people of one device are worked for side by side; 0 for all of them.

    On a TPU four, if four people's channels lie in one row of a matrix unit: so small are the
    operations of a narrow network that starting them is most of what they take. A wide one's fill
    the chip, and people who take turns leave room for others.
    """
    if model.lowering != 'tpu':
        return 0
    return SIDE_BY_SIDE if SIDE_BY_SIDE * model.width <= blocks.CHANNELS else 1


def lift_loop(loop: Loop, *, mesh: Mesh, at_once: int = 0) -> Loop:
    """The loop's functions for a chunk of people: a leading axis on all that is private.

    at_once: of a device's people those who are side by side, so that products have everyone's
    weights, while the others wait for their turn; 0 for all of them.
    """
    over_people = functools.partial(_in_turn, at_once=at_once) if at_once else _over_people
    lift = functools.partial(_lift, mesh=mesh)
    return Loop(
        lift(loop.start, (None, 0)),
        lift(loop.learn, (0, None, 0, 0, None), over_people=over_people, donate_argnums=0),
        lift(loop.predict, (0, None, 0, None), over_people=over_people, donate_argnums=0),
        loop.predicts_while_learning,
    )


def _over_people(function: Callable, in_axes: tuple[int | None, ...]) -> Callable:
    """`jax.vmap(function, in_axes)`; of one person the function itself, traced in half the time."""

    def apply(*arguments):
        if _count(arguments, in_axes) != 1:
            return jax.vmap(function, in_axes)(*arguments)
        result = function(*_person(0, arguments, in_axes))
        return jax.tree.map(lambda leaf: leaf[None], result)

    return apply


def _in_turn(function: Callable, in_axes: tuple[int | None, ...], at_once: int) -> Callable:
    """The function for a few people after the others; it returns what its first argument becomes.

    Everyone's state is changed where it is, and what a step holds is there for those few alone: so
    a device has room for many. As many at once as divide the people evenly, `at_once` at most.
    """
    side_by_side = _over_people(function, in_axes)

    def apply(state, *others):
        people = _count((state, *others), in_axes)
        few = max(n for n in range(1, at_once + 1) if people % n == 0)
        groups = [_grouped(tree, axis, few) for tree, axis in zip(others, in_axes[1:], strict=True)]

        def turn(i, state):
            theirs = side_by_side(*_person(i, (state, *groups), in_axes))
            return jax.tree.map(functools.partial(_replaced, i=i), state, theirs)

        state, turns = _grouped(state, 0, few), people // few
        state = turn(0, state) if turns == 1 else jax.lax.fori_loop(0, turns, turn, state)
        return jax.tree.map(lambda leaf: leaf.reshape(people, *leaf.shape[2:]), state)

    return apply


def _grouped(tree, axis: int | None, few: int):
    """Everyone's arrays in groups of so many people; what is shared as it is."""
    if axis is None:
        return tree
    return jax.tree.map(lambda leaf: leaf.reshape(-1, few, *leaf.shape[1:]), tree)


def _lift(
    function: Callable,
    in_axes: tuple[int | None, ...],
    *,
    mesh: Mesh,
    over_people: Callable = _over_people,
    **jit,
) -> Callable:
    """The function over people (axis 0; None: shared), compiled and spread over the mesh."""
    specs = tuple(PartitionSpec(*(PEOPLE,) * (axis == 0)) for axis in in_axes)
    mapped = jax.shard_map(
        over_people(function, in_axes),
        mesh=mesh,
        in_specs=specs,
        out_specs=PartitionSpec(PEOPLE),
        check_vma=False,
    )
    # Where each core is a device, splitting an operation over cores only takes them from others.
    alone = mesh.size > 1 and platform_of(mesh) == 'cpu'
    return jax.jit(
        mapped, compiler_options={'xla_cpu_multi_thread_eigen': False} if alone else None, **jit
    )


def _replaced(everyone: jax.Array, mine: jax.Array, *, i) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(everyone, mine, i, 0)


def _person(i, arguments: Sequence, in_axes: Sequence[int | None]) -> list:
    """The arguments of person `i`."""
    return [
        tree if axis is None else jax.tree.map(lambda leaf: leaf[i], tree)
        for tree, axis in zip(arguments, in_axes, strict=True)
    ]


def _count(arguments: Sequence, in_axes: Sequence[int | None]) -> int:
    """How many people there are."""
    (people,) = {
        len(leaf)
        for tree, axis in zip(arguments, in_axes, strict=True)
        if axis == 0
        for leaf in jax.tree.leaves(tree)
    }
    return people


def person_keys(people: Sequence[clips.Clip], seed: int) -> jax.Array:
    """One random key each, from the seed and the clip's name: the company does not matter."""
    names = jnp.array([zlib.crc32(clip.id.encode()) for clip in people], jnp.uint32)
    return jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(names)


def predict_people(
    people: Sequence[clips.Clip],
    chunks: Sequence[Chunk],
    *,
    runner: Runner,
    params: Any,
    batch_stats: Any,
) -> Iterator[tuple[int, Adapted]]:
    """(index, predictions) of everyone in `chunks` with the shared weights, not adapted yet."""
    params, batch_stats = runner.everywhere((params, batch_stats))
    since = time.monotonic()
    for chunk, batch, parts, reasons in _stacked(people, chunks, runner):
        joined = _whole_clips(runner.before, params, batch_stats, batch, parts)
        no_losses = np.zeros((len(chunk.members), len(parts) * runner.segment, 0))
        healthy = np.full(len(chunk.members), HEALTHY)
        nothing = no_losses, healthy
        results = _unpack(people, chunk, joined, nothing, reasons, mirror=runner.mirror)
        yield from _timed(results, since)
        since = time.monotonic()


def personalize_people(
    people: Sequence[clips.Clip],
    chunks: Sequence[Chunk],
    *,
    runner: Runner,
    shared: Shared,
    seed: int,
    keep: Mapping[int, int] | None = None,
    keep_learned: bool = False,
    on_segment: Callable[[float, int], None] = lambda loss, frames: None,
) -> Iterator[tuple[int, Adapted]]:
    """(index, adapted predictions) of everyone in `chunks`, a chunk of people at a time.

    Args:
      people: everyone; chunks hold their indices.
      chunks: of a `Placement`.
      runner: the compiled loop.
      shared: what people have in common.
      seed: what a person's steps draw follows from it and the clip's id.
      keep: by index of those whose weights are wanted, the frame at whose prediction they are
        taken.
      keep_learned: whether everyone's weights of the end are wanted.
      on_segment: is told, after each segment, the mean loss and how many frames were worked off.
    """
    keep, shared = keep or {}, runner.everywhere(shared)
    since = time.monotonic()
    for chunk, batch, parts, reasons in _stacked(people, chunks, runner):
        keys = runner.spread(person_keys([people[i] for i in chunk.members], seed))
        kept: dict[int, partition.Flat] = {}

        def watch(progress: Progress, frames: np.ndarray, chunk=chunk, kept=kept) -> None:
            on_segment(*_worked_off(people, chunk, progress, frames))
            if runner.loop.predicts_while_learning:
                kept.update(_kept(progress, chunk, {i for i, t in keep.items() if t in frames}))

        if runner.teacher:
            batch = _taught(people, chunk, batch, parts, runner=runner, shared=shared)
        progress = personalize_person(
            shared, batch, keys, loop=runner.loop, segments=parts, watch=watch
        )
        kept.update(_kept(progress, chunk, keep.keys() - kept.keys()))
        predictions, *learning = jax.device_get(
            (progress.predictions, progress.losses, progress.failed_at)
        )
        results = _unpack(people, chunk, predictions, learning, reasons, **_followed(runner))
        for index, result in _timed(results, since):
            if result.status != FAILED:
                row = chunk.members.index(index)
                learned = _weights_of(progress, row) if keep_learned else None
                result = result._replace(trainable=kept.get(index), learned=learned)
            yield index, result
        since = time.monotonic()


def _whole_clips(
    predict: Callable, params, batch_stats, batch: Person, parts: Sequence[np.ndarray]
) -> Predictions:
    """Predictions of a chunk's whole clips, a segment after another; on the host."""
    seen = [predict(params, batch_stats, batch, frames) for frames in parts]
    return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *jax.device_get(seen))


def careful(method: Method) -> dict[str, Any]:
    """How the shared network looks at frames that it is to teach."""
    more = dict(mirror=method.mirror, scales=TEACHER_SCALES, peaks=follow.PEAKS)
    return method.looks | more


def _taught(
    people, chunk: Chunk, batch: Person, parts, *, runner: Runner, shared: Shared
) -> Person:
    """The chunk's people with what the shared network sees in their clips, followed through them.

    Online a frame's label follows from the past alone, and only its own steps learn from it.
    """
    assert runner.teacher
    params = partition.merge(shared.trainable, shared.frozen)
    joined = _whole_clips(runner.teacher, params, shared.batch_stats, batch, parts)
    taught = np.zeros((len(chunk.members), batch.frames.shape[1], joined.joints.shape[2], 3))
    how = _followed(runner)
    for row, index in enumerate(chunk.members):
        clip = people[index]
        found = _read_off(joined, row, clip, **how)
        taught[row, : len(clip.frames)] = follow.labels(*found)
    return batch._replace(taught=runner.spread(taught.astype(np.float32)))


def _followed(runner: Runner) -> dict[str, Any]:
    """How joints are followed while or after people are adapted, as `follow.chosen` takes it."""
    return dict(mirror=runner.mirror, past_alone=runner.loop.predicts_while_learning)


def _stacked(people, chunks: Sequence[Chunk], runner: Runner) -> Iterator[tuple]:
    """Every chunk with its people on the devices, and what else `_stack` gives.

    The next chunk's frames are read while this one is worked for: at most two are in memory.
    """
    with concurrent.futures.ThreadPoolExecutor(1) as reading:
        ahead = [reading.submit(_stack, people, chunk, runner) for chunk in chunks[:1]]
        for chunk, following in zip(chunks, [*chunks[1:], None]):
            batch, parts, reasons = ahead.pop().result()
            if following:
                ahead.append(reading.submit(_stack, people, following, runner))
            yield chunk, runner.spread(batch), parts, reasons


def _stack(people, chunk: Chunk, runner: Runner):
    """(the chunk's people on the host, frame indices of each segment, who is unreadable).

    The last as `stack_readable` gives it.
    """
    members = [people[i] for i in chunk.members]
    parts = segments(max(len(clip.frames) for clip in members), runner.segment)
    frames = len(segments(chunk.frames, runner.segment)) * runner.segment
    batch, reasons = stack_readable(members, frames=frames, size=chunk.size)
    return batch, parts, reasons


def _rows(chunk: Chunk) -> list[tuple[int, int]]:
    """(row in the chunk, index) of its people, each once."""
    return [(chunk.members.index(index), index) for index in dict.fromkeys(chunk.members)]


def _worked_off(people, chunk: Chunk, progress: Progress, frames: np.ndarray) -> tuple[float, int]:
    """Mean loss over, and number of, the real frames of different people in a segment."""
    losses = np.array(progress.losses)[:, frames]
    real = [
        losses[row, frames < len(people[index].frames)].reshape(-1) for row, index in _rows(chunk)
    ]
    count = sum(int((frames < len(people[index].frames)).sum()) for _, index in _rows(chunk))
    return float(np.concatenate(real).mean()), count


def _kept(progress: Progress, chunk: Chunk, wanted: Collection[int]) -> dict[int, partition.Flat]:
    """The weights of now of those in a chunk whose weights are wanted, by index."""
    return {index: _weights_of(progress, row) for row, index in _rows(chunk) if index in wanted}


def _weights_of(progress: Progress, row: int) -> partition.Flat:
    """One person's private weights, copied from the devices."""
    return {path: np.array(leaf[row]) for path, leaf in progress.state.trainable.items()}


def _unpack(
    people,
    chunk: Chunk,
    predictions: Predictions,
    learning: Sequence[np.ndarray],
    reasons: Sequence[str],
    **how,
) -> list[tuple[int, Adapted]]:
    """Everyone's own result, cut to their own length.

    Args:
      predictions: with a leading axis of the chunk's rows.
      learning: losses and failed_at, likewise.
      reasons: as `stack_readable` gives them.
      how: joints are followed, as `follow.chosen` takes it.
    """
    losses, failed_at = learning
    found = []
    for row, index in _rows(chunk):
        clip, n = people[index], len(people[index].frames)
        joints, scores = _read_off(predictions, row, clip, **how)
        result = Adapted(joints, scores, np.array(losses[row, :n]), int(failed_at[row]))
        if reasons[row]:
            result = unreadable(clip, reasons[row], joints=joints.shape[1])
        found.append((index, result))
    return found


def _read_off(
    predictions: Predictions, row: int, clip: clips.Clip, **how
) -> tuple[np.ndarray, np.ndarray]:
    """The joints and scores of a row of people: each frame's own, or where they were all along."""
    mine = jax.tree.map(lambda x: np.array(x[row, : len(clip.frames)]), predictions)
    if mine.peaks is None:
        return mine.joints, mine.scores
    points, heights = mine.peaks
    return follow.chosen(points, heights, np.asarray(clip.boxes), **how)


def _timed(results: list[tuple[int, Adapted]], since: float) -> list[tuple[int, Adapted]]:
    """The results of one chunk, each with an even share of the seconds since it was begun."""
    each = (time.monotonic() - since) / len(results)
    return [(index, result._replace(seconds=each)) for index, result in results]
