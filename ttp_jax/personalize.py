"""Test-time personalization: one person's inner loop, lifted over people (paper section 3.2).

Contract: `personalize_person` is a pure function of one person: shared parameters in, that person's
predictions out, no label read. A person is a clip `[T, H, W, 3]` uint8 with boxes `[T, 4]`, padded
behind `length` frames; steps on padding leave the state untouched. Parameters arrive as the flat
trainable and frozen trees of `partition`; under `vmap(in_axes=(None, None, 0, 0))` everyone gets a
private copy of the former and shares the latter. Everything runs in evaluation mode.

Online and offline are two frame schedules of one loop. A schedule says which frames a step learns
from: `schedule(t, rng, *, length, batch, augment) -> Draw`.
"""
import functools
import math
import re
import zlib
from typing import Callable, Collection, Iterator, Mapping, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ttp_jax import geometry, heatmaps, layers, losses, partition
from ttp_jax.data import clips, pairs
from ttp_jax.model import PoseModel
from ttp_jax.perceptual import Perceptual


class Person(NamedTuple):
    """One person's clip: frames `[T, H, W, 3]` uint8, size `[2]`, boxes `[T, 4]`, length `[]`."""
    frames: jax.Array
    size: jax.Array
    boxes: jax.Array
    length: jax.Array


class PersonState(NamedTuple):
    """What personalization changes: trained leaves, Adam's moments, running loss means."""
    trainable: partition.Flat
    opt_state: optax.OptState
    loss_means: jax.Array


class Predictions(NamedTuple):
    """Joints `[T, J, 2]` in image pixels (x, y), and the heatmaps' maxima `[T, J]`."""
    joints: jax.Array
    scores: jax.Array


class Draw(NamedTuple):
    """Frames of one step: target and source indices `[B]`, and augmentations with leaves `[B]`."""
    target: jax.Array
    source: jax.Array
    augmentation: geometry.Augmentation


# --- schedules -------------------------------------------------------------------------------

def online(t: jax.Array, rng: jax.Array, *, length: jax.Array, batch: int,
           augment: Mapping[str, float]) -> Draw:
    """Copies of frame t, the first as it is, the others always rotated; sources from frames 0 ... t."""
    del length  # the future is not known yet
    source_rng, augment_rng = jax.random.split(rng)
    draw = functools.partial(geometry.sample_augmentation, **{**augment, 'rotation_prob': 1.0})
    augmentation = jax.vmap(draw)(jax.random.split(augment_rng, batch))
    augmentation = jax.tree.map(lambda drawn, none: drawn.at[0].set(none), augmentation,
                                geometry.Augmentation())
    return Draw(jnp.full(batch, t), jax.random.randint(source_rng, (batch,), 0, t + 1), augmentation)


def offline(t: jax.Array, rng: jax.Array, *, length: jax.Array, batch: int,
            augment: Mapping[str, float]) -> Draw:
    """Targets and sources uniform over the whole clip, augmented as in training."""
    del t
    target_rng, source_rng, augment_rng = jax.random.split(rng, 3)
    draw = functools.partial(geometry.sample_augmentation, **augment)
    augmentation = jax.vmap(draw)(jax.random.split(augment_rng, batch))
    return Draw(jax.random.randint(target_rng, (batch,), 0, length),
                jax.random.randint(source_rng, (batch,), 0, length), augmentation)


SCHEDULES = {'online': online, 'offline': offline}


# --- one person ------------------------------------------------------------------------------

def predict_frames(params, batch_stats, person: Person, frames: jax.Array, *, model: PoseModel,
                   spec: pairs.CropSpec) -> Predictions:
    """Predictions for the frames with indices `frames` `[N]` of one person."""
    def one_crop(t):
        return pairs.crop_frame(person.frames[t], person.boxes[t], spec=spec, valid=person.size)

    def one_joint(heatmap, box):
        cells, score = heatmaps.decode(heatmap)
        return geometry.heatmap_to_image(cells, box, size=spec.cells,
                                         subtract_one=spec.subtract_one), score

    crops = jax.vmap(one_crop)(frames)
    seen = model.apply({'params': params, 'batch_stats': batch_stats}, crops, method='heatmaps')
    per_frame = jax.vmap(one_joint, in_axes=(-1, None))
    return Predictions(*jax.vmap(per_frame)(seen.supervised.astype(jnp.float32),
                                            person.boxes[frames]))


def self_supervised_loss(trainable, frozen, batch_stats, loss_means, target, source, rng, *,
                         model: PoseModel, perceptual: Perceptual) -> tuple[jax.Array, jax.Array]:
    """(loss, new running means) of crops `[B, S, S, 3]`; no label is read (paper section 3.1)."""
    variables = {'params': partition.merge(trainable, frozen), 'batch_stats': batch_stats}
    if model.variant == 'shared_rotation':
        turned, turns = pairs.quarter_turns(rng, target)
        seen = model.apply(variables, turned, method='heatmaps')
        return losses.rotation(seen.rotation, turns), loss_means
    maps = model.apply(variables, target, method='self_supervised_heatmaps')
    rebuilt = model.apply(variables, maps, source, method='reconstruct')
    terms = losses.reconstruction_terms(rebuilt.image, target, perceptual=perceptual)
    return losses.balance(terms, loss_means)


def adapt_step(state: PersonState, frozen, batch_stats, target, source, rng, *,
               tx: optax.GradientTransformation, objective: Callable) -> tuple[PersonState, jax.Array]:
    """One gradient step on one batch of crops; returns the loss before the step."""
    grad = jax.value_and_grad(objective, has_aux=True)
    (loss, loss_means), grads = grad(state.trainable, frozen, batch_stats, state.loss_means,
                                     target, source, rng)
    updates, opt_state = tx.update(grads, state.opt_state, state.trainable)
    return PersonState(optax.apply_updates(state.trainable, updates), opt_state, loss_means), loss


def adapt_frames(state: PersonState, frozen, batch_stats, person: Person, rng: jax.Array,
                 frames: jax.Array, *, model: PoseModel, perceptual: Perceptual,
                 tx: optax.GradientTransformation, spec: pairs.CropSpec, schedule: str, batch: int,
                 augment: Mapping[str, float], epochs: int = 1
                 ) -> tuple[PersonState, jax.Array, Predictions | None]:
    """The inner loop: `epochs` steps for each of `frames` `[N]`, in order.

    augment is what training used: arguments of `geometry.sample_augmentation`. Online, each frame is
    predicted right after its own steps, by the weights of that moment.
    Frames at or behind the clip's length leave the state untouched. Returns the state, the losses
    `[N, epochs]` and, online, predictions `[N, ...]`.
    """
    objective = functools.partial(self_supervised_loss, model=model, perceptual=perceptual)
    draw = functools.partial(SCHEDULES[schedule], length=person.length, batch=batch,
                             augment=augment)
    crop = functools.partial(pairs.crop_pair, spec=spec, valid=person.size)

    def step(state, index):
        t = index // epochs
        draw_rng, loss_rng = jax.random.split(jax.random.fold_in(rng, index))
        target, source, augmentation = draw(t, draw_rng)
        seen, looks, _ = jax.vmap(crop)(person.frames[target], person.frames[source],
                                        person.boxes[target], augmentation)
        new, loss = adapt_step(state, frozen, batch_stats, seen, looks, loss_rng, tx=tx,
                               objective=objective)
        return jax.tree.map(functools.partial(jnp.where, t < person.length), new, state), loss

    def frame(state, t):
        state, loss = lax.scan(step, state, t * epochs + jnp.arange(epochs))
        if schedule != 'online':
            return state, (loss, None)
        params = partition.merge(state.trainable, frozen)
        now = predict_frames(params, batch_stats, person, t[None], model=model, spec=spec)
        return state, (loss, jax.tree.map(lambda x: x[0], now))

    state, (loss, predictions) = lax.scan(frame, state, frames)
    return state, loss, predictions


def optimizer(*, learning_rate: float, image_learning_rate: float, images_first: int = 0
              ) -> optax.GradientTransformation:
    """Adam for the inner loop; the paper's (section 3.2) has one rate for all and nobody waits.

    image_learning_rate: of the image networks (both image encoders and the renderer).
    images_first: steps in which they learn alone. Networks that cannot draw this person yet have
    nothing true to say about where the keypoints should be.
    """
    seeing = optax.join_schedules([optax.constant_schedule(0.0),
                                   optax.constant_schedule(learning_rate)], [images_first])
    parts = {'draw': optax.adam(image_learning_rate), 'see': optax.adam(seeing)}
    return optax.multi_transform(parts, lambda trainable: {
        path: 'draw' if re.fullmatch(partition.IMAGE_NETWORKS, path) else 'see'
        for path in trainable})


def fresh_state(trainable: partition.Flat, loss_means: jax.Array, *,
                tx: optax.GradientTransformation) -> PersonState:
    """Where every person starts: the shared weights, an optimiser and loss means of their own."""
    return PersonState(trainable, tx.init(trainable), loss_means)


def personalize_person(trainable: partition.Flat, frozen: partition.Flat, batch_stats,
                       loss_means: jax.Array, person: Person, rng: jax.Array, *,
                       model: PoseModel, tx: optax.GradientTransformation, spec: pairs.CropSpec,
                       schedule: str, **how) -> tuple[Predictions, jax.Array, PersonState]:
    """Adapts a private copy to one person and predicts their clip (paper section 3.2).

    schedule: 'online' predicts frame t right after the step on frame t; 'offline' takes all steps
    first. `how`: see `adapt_frames`. Returns predictions `[T, ...]` (meaningless behind `length`),
    losses `[T, epochs]` and the person's last state.
    """
    everything = jnp.arange(person.frames.shape[0])
    state, loss, predictions = adapt_frames(
        fresh_state(trainable, loss_means, tx=tx), frozen, batch_stats, person, rng, everything,
        model=model, tx=tx, spec=spec, schedule=schedule, **how)
    if schedule != 'online':
        params = partition.merge(state.trainable, frozen)
        predictions = predict_frames(params, batch_stats, person, everything, model=model, spec=spec)
    return predictions, loss, state


# --- many people -----------------------------------------------------------------------------

class Runner(NamedTuple):
    """The compiled pieces of personalization, each for a chunk of people at a time.

    A clip is worked off in segments of `segment` frames, so that one compiled program serves clips
    of every length, and so that somebody waiting sees it move.
    """
    before: Callable  # (params, batch_stats, people, frames) -> Predictions
    start: Callable   # (trainable, loss_means, people) -> everyone's PersonState
    adapt: Callable   # (states, frozen, batch_stats, weights, people, keys, frames) -> ...
    after: Callable   # (states, frozen, batch_stats, people, frames) -> Predictions
    weights: dict[str, jax.Array]
    schedule: str
    segment: int
    mesh: Mesh

    def everywhere(self, tree):
        """The tree on all of the runner's devices: what people share may come from fewer."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))


def make_runner(*, model: PoseModel, perceptual: Perceptual, tx: optax.GradientTransformation,
                spec: pairs.CropSpec, schedule: str, batch: int,
                augment: Mapping[str, float], epochs: int = 1,
                segment: int = 8, lowering: str = 'matmul',
                devices: Sequence[jax.Device] | None = None) -> Runner:
    """Lifts one person's loop over people and spreads them over the local devices, or those given.

    No collective is needed: people are independent. `lowering` is for layers whose weights differ
    per person; predictions before adaptation share theirs.
    """
    shared = model.clone(train=False)
    private = shared.clone(lowering=lowering)
    # What people share takes whole layers too, unless each core works for itself.
    network = perceptual._replace(
        lowering='blocked' if lowering == 'blocked' else layers.suited_lowering('joint'))
    mesh = Mesh(np.array(devices or jax.local_devices()), ('people',))
    lift = functools.partial(_lift, mesh=mesh)

    def before(params, batch_stats, person, frames):
        return predict_frames(params, batch_stats, person, frames, model=shared, spec=spec)

    def start(trainable, loss_means, person):
        del person  # there to say how many states are wanted
        return fresh_state(trainable, loss_means, tx=tx)

    def adapt(state, frozen, batch_stats, weights, person, key, frames):
        return adapt_frames(state, frozen, batch_stats, person, key, frames, model=private,
                            perceptual=network._replace(weights=weights), tx=tx, spec=spec,
                            schedule=schedule, batch=batch, augment=augment, epochs=epochs)

    def after(state, frozen, batch_stats, person, frames):
        params = partition.merge(state.trainable, frozen)
        return predict_frames(params, batch_stats, person, frames, model=private, spec=spec)

    return Runner(lift(before, (None, None, 0, None)), lift(start, (None, None, 0)),
                  lift(adapt, (0, None, None, None, 0, 0, None), donate_argnums=0),
                  lift(after, (0, None, None, 0, None)),
                  perceptual.weights, schedule, segment, mesh)


def _lift(function: Callable, in_axes: tuple[int | None, ...], *, mesh: Mesh, **jit) -> Callable:
    """The compiled function over people (axis 0, or None for what they share), spread over the mesh."""
    specs = tuple(PartitionSpec(*('people',) * (axis == 0)) for axis in in_axes)
    mapped = jax.shard_map(_over_people(function, in_axes), mesh=mesh, in_specs=specs,
                           out_specs=PartitionSpec('people'), check_vma=False)
    # Where each core is a device, splitting an operation over cores only takes them from others.
    alone = mesh.size > 1 and jax.default_backend() == 'cpu'
    return jax.jit(mapped, compiler_options={'xla_cpu_multi_thread_eigen': False} if alone else None,
                   **jit)


def _over_people(function: Callable, in_axes: tuple[int | None, ...]) -> Callable:
    """`jax.vmap(function, in_axes)`; of one person the function itself, which is traced in half the time."""
    def apply(*arguments):
        people = {len(leaf) for tree, axis in zip(arguments, in_axes) if axis == 0
                  for leaf in jax.tree.leaves(tree)}
        if people != {1}:
            return jax.vmap(function, in_axes)(*arguments)
        alone = (tree if axis is None else jax.tree.map(lambda leaf: leaf[0], tree)
                 for tree, axis in zip(arguments, in_axes))
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
    return [(order[i:i + size] * size)[:size] for i in range(0, len(order), size)]


def person_keys(people: Sequence[clips.Clip], seed: int) -> jax.Array:
    """One random key each, from the seed and the clip's name: the company does not matter."""
    names = jnp.array([zlib.crc32(clip.id.encode()) for clip in people], jnp.uint32)
    return jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(names)


def predict_people(people: Sequence[clips.Clip], *, runner: Runner, params, batch_stats,
                   people_per_chunk: int) -> Iterator[tuple[int, Adapted]]:
    """(index, predictions) of everyone with the shared weights, before any adaptation."""
    params, batch_stats = runner.everywhere((params, batch_stats))
    for members, batch, frames in _batches(people, runner=runner, people_per_chunk=people_per_chunk):
        segments = [runner.before(params, batch_stats, batch, f) for f in frames]
        yield from _unpack(people, members, segments, [])


def personalize_people(people: Sequence[clips.Clip], *, runner: Runner, trainable: partition.Flat,
                       frozen: partition.Flat, batch_stats, loss_means: jax.Array, seed: int,
                       people_per_chunk: int, keep: Collection[int] = (),
                       on_segment: Callable = lambda loss, frames: None
                       ) -> Iterator[tuple[int, Adapted]]:
    """(index, adapted predictions) of everyone, a chunk of people at a time.

    A person's result depends on the person, the weights and the seed, not on who else is there.
    keep: indices of those whose adapted weights are wanted. on_segment is told, after each segment,
    the mean loss `[]` and how many frames of how many people it worked off.
    """
    trainable, frozen, batch_stats, loss_means, weights = runner.everywhere(
        (trainable, frozen, batch_stats, loss_means, runner.weights))
    for members, batch, frames in _batches(people, runner=runner, people_per_chunk=people_per_chunk):
        states = runner.start(trainable, loss_means, batch)
        keys = person_keys([people[i] for i in members], seed)
        segments, history = [], []
        for f in frames:
            states, loss, predictions = runner.adapt(states, frozen, batch_stats, weights,
                                                     batch, keys, f)
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
        yield members, jax.device_put(batch), [start + jnp.arange(runner.segment) for start in
                                               range(0, longest, runner.segment)]


def _unpack(people, members: list[int], segments: list[Predictions], history: list[jax.Array]):
    """Joins a chunk's segments and cuts every person to their own length, each person once."""
    joined = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *jax.device_get(segments))
    loss = np.concatenate(jax.device_get(history), axis=1) if history else None
    for row, index in enumerate(dict.fromkeys(members)):
        n = len(people[index].frames)
        yield index, Adapted(joined.joints[row, :n], joined.scores[row, :n],
                             loss[row, :n] if history else np.zeros((0, 0)))


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
