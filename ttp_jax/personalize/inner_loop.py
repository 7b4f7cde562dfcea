"""Test-time personalization: the inner loop of one person (paper section 3.2).

Contract: what happens to a person is a pure function of the shared weights, that person's frames
and a random key; no label is read. A person is a clip `[T, H, W, 3]` uint8 with boxes `[T, 4]`,
padded behind `length` frames; steps on padding leave everything as it is. Everybody starts from the
shared trainable leaves, gets a private copy of them and shares the frozen ones (`partition`).
Networks run in evaluation mode.

A clip is worked off in segments of frames, so that one compiled program serves clips of every
length and somebody waiting sees it move. `one_person` gives the three functions that do it (start,
learn, predict), `many_people.lift_loop` the same three for many people on many devices, and
`personalize_person` is the loop over segments with either.

Online and offline are two schedules of this loop: which frames a step learns from, and whether a
frame is predicted right after its own steps or after all of them.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from chex import Array
from jax import lax

from ttp_jax import geometry, heatmaps
from ttp_jax.data import pairs
from ttp_jax.networks.model import PoseModel
from ttp_jax.networks.perceptual import Perceptual
from ttp_jax.objectives import balance, flips
from ttp_jax.objectives.objective import Context, Objective, Outcome, sample_keys
from ttp_jax.personalize import partition
from ttp_jax.personalize.schedules import SCHEDULES, Draw

HEALTHY = -1  # `Progress.failed_at` of a person whose losses have all been finite


class Person(NamedTuple):
    """One person's clip: frames `[T, H, W, 3]` uint8, size `[2]`, boxes `[T, 4]`, length `[]`.

    taught: joints `[T, J, 3]` that a `taught` objective learns from, (x, y) in image pixels and
    what each weighs: the shared network's own, and nobody's labels.
    """

    frames: Array
    size: Array
    boxes: Array
    length: Array
    taught: Array | None = None


class Shared(NamedTuple):
    """What people have in common: where private copies start, and what is never copied.

    trainable, frozen: flat trees of `partition`; features: weights of the perceptual network.
    """

    trainable: partition.Flat
    frozen: partition.Flat
    batch_stats: Any
    loss_means: jax.Array
    features: Any


class PersonState(NamedTuple):
    """What a step changes: trained leaves, Adam's moments, running loss means."""

    trainable: partition.Flat
    opt_state: optax.OptState
    loss_means: jax.Array


class Peaks(NamedTuple):
    """A heatmap's highest peaks, the maximum first: `[T, J, K, 2]` image pixels, `[T, J, K]`."""

    points: jax.Array
    heights: jax.Array


class Predictions(NamedTuple):
    """Joints `[T, J, 2]` in image pixels (x, y), and the heatmaps' maxima `[T, J]`.

    peaks: what joints may be chosen from when all frames are there, where that is wanted.
    """

    joints: jax.Array
    scores: jax.Array
    peaks: Peaks | None = None


class Progress(NamedTuple):
    """How far one person is: rows of frames that were not reached yet are NaN.

    losses `[T, epochs]`: before each step. failed_at `[]`: the first step whose loss or gradient
    was not finite, after which the state stays as it is; `HEALTHY` if there was none.
    """

    state: PersonState
    predictions: Predictions
    losses: jax.Array
    failed_at: jax.Array


class Crops(NamedTuple):
    """What a step learns from: normalised crops `[B, S, S, 3]` of target and source frames.

    labels: heatmaps and weights of a `taught` objective, as `Context` has them; there are no
    others.
    """

    target: Array
    source: Array
    labels: tuple[jax.Array, jax.Array] | None = None


class Method(NamedTuple):
    """How a person is adapted; static, the same for everyone.

    objective: None where nobody can be adapted to, and people are only predicted. augment is what
    training used: arguments of `geometry.sample_augmentation`. epochs: steps for each frame of the
    clip. mirror: of the skeleton, for objectives that flip images. flip_test:
    whether a prediction is the mean over an image and its mirror image. test_scales: of more crops
    that it is a mean over. decoding: of `heatmaps.DECODINGS`, how a heatmap's maximum becomes a
    joint. peaks: how many of each heatmap are predicted besides; 0 for none.
    parts: of a step's batch, worked off one after the other, which changes rounding alone. falls:
    whether steps become smaller along a line, to nothing behind the clip's end.
    """

    model: PoseModel
    perceptual: Perceptual
    objective: Objective
    tx: optax.GradientTransformation
    spec: pairs.CropSpec
    schedule: str
    batch: int
    augment: Mapping[str, float]
    epochs: int = 1
    mirror: tuple[int, ...] = ()
    flip_test: bool = False
    test_scales: tuple[float, ...] = ()
    decoding: str = 'quarter'
    peaks: int = 0
    parts: int = 1
    falls: bool = False

    @property
    def test_mirror(self) -> tuple[int, ...]:
        """The mirror that predictions are made with; () for none."""
        return self.mirror if self.flip_test else ()

    @property
    def looks(self) -> dict[str, Any]:
        """How a frame is looked at: arguments of `predict_frames`."""
        return dict(
            mirror=self.test_mirror,
            scales=self.test_scales,
            decoding=self.decoding,
            peaks=self.peaks,
        )

    @property
    def predicts_while_learning(self) -> bool:
        """Whether frame t is predicted right after its own steps, from the past alone."""
        return self.schedule == 'online'


class Loop(NamedTuple):
    """The pure functions that the loop over a clip's segments is made of.

    start `(shared, person) -> Progress`; learn `(progress, shared, person, rng, frames) ->
    Progress` takes the steps of the frames with indices `frames` `[F]`; predict `(progress, shared,
    person, frames) -> Progress` predicts them with the weights of now.
    """

    start: Callable[..., Progress]
    learn: Callable[..., Progress]
    predict: Callable[..., Progress]
    predicts_while_learning: bool


def one_person(method: Method) -> Loop:
    """The loop's functions for one person, to be compiled or lifted over people."""
    return Loop(
        functools.partial(start, method=method),
        functools.partial(learn, method=method),
        functools.partial(predict, method=method),
        method.predicts_while_learning,
    )


def personalize_person(
    shared: Shared,
    person: Person,
    rng: jax.Array,
    *,
    loop: Loop,
    segments: Iterable[Array],
    watch: Callable[[Progress, Any], None] | None = None,
) -> Progress:
    """Adapts a private copy to one person and predicts their clip (paper section 3.2).

    Args:
      shared: what people have in common.
      person: a clip; with a lifted loop several, with a leading axis on every leaf.
      rng: a random key, or one per person.
      loop: of `one_person`, or lifted over people.
      segments: frame indices `[F]`, in order, which together are all frames.
      watch: is told, after each segment's steps, the progress and the segment. A compiled `learn`
        may reuse the progress' memory, so whoever wants to keep something copies it.
    """
    segments = list(segments)
    progress = loop.start(shared, person)
    for frames in segments:
        progress = loop.learn(progress, shared, person, rng, frames)
        if watch:
            watch(progress, frames)
    if not loop.predicts_while_learning:
        for frames in segments:
            progress = loop.predict(progress, shared, person, frames)
    return progress


def start(shared: Shared, person: Person, *, method: Method) -> Progress:
    """Where one person starts: the shared weights, an optimiser and loss means of their own."""
    frames, joints = person.frames.shape[0], method.model.joints
    nothing = functools.partial(jnp.full, fill_value=jnp.nan, dtype=jnp.float32)
    return Progress(
        fresh_state(shared.trainable, shared.loss_means, tx=method.tx),
        Predictions(
            nothing((frames, joints, 2)),
            nothing((frames, joints)),
            Peaks(
                nothing((frames, joints, method.peaks, 2)), nothing((frames, joints, method.peaks))
            )
            if method.peaks
            else None,
        ),
        nothing((frames, method.epochs)),
        jnp.int32(HEALTHY),
    )


def fresh_state(
    trainable: partition.Flat, loss_means: jax.Array, *, tx: optax.GradientTransformation
) -> PersonState:
    """The shared weights with an optimiser that has seen nothing."""
    return PersonState(trainable, tx.init(trainable), loss_means)


def learn(
    progress: Progress,
    shared: Shared,
    person: Person,
    rng: jax.Array,
    frames: jax.Array,
    *,
    method: Method,
) -> Progress:
    """The steps of `frames` `[F]`, in order; online, each frame is predicted after its own.

    Frames at or behind the clip's length leave the state untouched.
    """
    with jax.named_scope('crop'):  # once, not in every step
        person = person._replace(frames=pairs.laid_out(person.frames, spec=method.spec))
    step = functools.partial(_step, shared=shared, person=person, rng=rng, method=method)

    def frame(carry, t):
        carry, losses = lax.scan(step, carry, t * method.epochs + jnp.arange(method.epochs))
        if not method.predicts_while_learning:
            return carry, (losses, None)
        seen = _predict(carry[0], shared, person, t[None], method=method)
        return carry, (losses, jax.tree.map(lambda x: x[0], seen))

    (state, failed_at), (losses, seen) = lax.scan(
        frame, (progress.state, progress.failed_at), frames
    )
    predictions = progress.predictions
    if method.predicts_while_learning:
        predictions = _written(predictions, frames, seen)
    return Progress(state, predictions, _written(progress.losses, frames, losses), failed_at)


def _step(carry, index: jax.Array, *, shared: Shared, person: Person, rng, method: Method):
    """Step `index` of one person; ((state, failed_at), its loss)."""
    state, failed_at = carry
    t = index // method.epochs
    draw_rng, loss_rng = jax.random.split(jax.random.fold_in(rng, index))
    drawn = SCHEDULES[method.schedule](
        t, draw_rng, length=person.length, batch=method.batch, augment=method.augment
    )
    loss = functools.partial(
        self_supervised_loss,
        model=method.model,
        perceptual=method.perceptual._replace(weights=shared.features),
        objective=method.objective,
        mirror=method.mirror,
        parts=method.parts,
        crops_of=functools.partial(_crops_of, person=person, method=method),
    )
    steps = person.length * method.epochs
    new, value = adapt_step(
        state,
        shared.frozen,
        shared.batch_stats,
        drawn,
        loss_rng,
        tx=method.tx,
        loss=loss,
        share=1 - index / steps if method.falls else None,
    )
    inside = t < person.length
    failed_at = jnp.where(
        inside & (failed_at == HEALTHY) & ~jnp.isfinite(value), index.astype(jnp.int32), failed_at
    )
    taken = inside & (failed_at == HEALTHY)
    state = jax.tree.map(functools.partial(jnp.where, taken), new, state)
    return (state, failed_at), value


def _crops_of(drawn: Draw, *, person: Person, method: Method) -> Crops:
    """What a step learns from of each frame that was drawn, and its labels, if it is taught any."""
    crop = functools.partial(pairs.crop_pair, spec=method.spec, valid=person.size)
    with jax.named_scope('crop'):
        target, source, affine = jax.vmap(crop)(
            person.frames[drawn.target],
            person.frames[drawn.source],
            person.boxes[drawn.target],
            drawn.augmentation,
        )
    if person.taught is None:
        return Crops(target, source)
    joints, weights = jnp.split(person.taught[drawn.target], [2], axis=-1)
    label = functools.partial(pairs.targets, spec=method.spec, mirror=method.mirror)
    labels = jax.vmap(label)(joints, weights[..., 0], affine, drawn.augmentation.flip)
    return Crops(target, source, labels)


def self_supervised_loss(
    trainable,
    frozen,
    batch_stats,
    loss_means,
    samples,
    rng,
    *,
    model: PoseModel,
    perceptual: Perceptual,
    objective: Objective,
    mirror: tuple[int, ...] = (),
    parts: int = 1,
    crops_of: Callable[[Any], Crops] = lambda samples: samples,
) -> tuple[jax.Array, jax.Array]:
    """(loss, new running means) of a batch (paper section 3.1).

    samples: `Crops`, or that of which `crops_of` makes them; its leaves' first axis is the batch's.
    parts: as in `Method`.
    """
    variables = {'params': partition.merge(trainable, frozen), 'batch_stats': batch_stats}
    loss = nn.apply(objective.loss, model)

    def outcome_of(samples, rng) -> Outcome:
        crops = crops_of(samples)
        context = Context(perceptual, mirror=mirror, labels=crops.labels)
        return loss(variables, crops.target, crops.source, rng, context)

    if parts == 1:
        outcome = outcome_of(samples, rng)
    else:
        batch = len(jax.tree.leaves(samples)[0])
        outcome = in_parts(outcome_of, (samples, sample_keys(rng, batch)), parts)
    return balance.total(outcome, loss_means)[:2]


def in_parts(outcome_of: Callable[..., Outcome], batch, parts: int) -> Outcome:
    """The outcome of a batch from those of its parts, one after the other.

    Nothing of a part's forward pass is kept: the backward pass computes it once more. So a step
    holds the crops and activations of one part, for a forward pass more.
    """
    cut = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
    found = lax.map(jax.checkpoint(lambda part: outcome_of(*part)), cut)
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), found)


def adapt_step(
    state: PersonState,
    frozen,
    batch_stats,
    samples,
    rng,
    *,
    tx: optax.GradientTransformation,
    loss: Callable,
    share: jax.Array | None = None,
) -> tuple[PersonState, jax.Array]:
    """One gradient step on one batch of `samples`, whatever `loss` takes for them.

    share: `[]`, how much of the step is taken, the optimiser none the wiser; None: all of it.

    Returns the new state and the loss before the step, which is NaN where the gradient is not
    finite: such a state must not be used.
    """
    grad = jax.value_and_grad(loss, has_aux=True)
    (value, loss_means), grads = grad(
        state.trainable, frozen, batch_stats, state.loss_means, samples, rng
    )
    with jax.named_scope('optimizer'):
        updates, opt_state = tx.update(grads, state.opt_state, state.trainable)
        if share is not None:
            updates = optax.tree.scale(share, updates)
        value = jnp.where(jnp.isfinite(optax.tree.norm(grads)), value, jnp.nan)
        trainable = optax.apply_updates(state.trainable, updates)
    return PersonState(trainable, opt_state, loss_means), value


def predict(
    progress: Progress, shared: Shared, person: Person, frames: jax.Array, *, method: Method
) -> Progress:
    """Predicts the frames with indices `frames` `[F]` with the person's weights of now."""
    seen = _predict(progress.state, shared, person, frames, method=method)
    return progress._replace(predictions=_written(progress.predictions, frames, seen))


def _predict(state: PersonState, shared: Shared, person: Person, frames, *, method: Method):
    params = partition.merge(state.trainable, shared.frozen)
    return predict_frames(
        params,
        shared.batch_stats,
        person,
        frames,
        model=method.model,
        spec=method.spec,
        **method.looks,
    )


def _written(kept: Any, frames: jax.Array, new: Any) -> Any:
    """What is kept of every frame, with what is new of `frames` in their rows, as their type."""
    return jax.tree.map(lambda rows, own: rows.at[frames].set(own.astype(rows.dtype)), kept, new)


def predict_frames(
    params,
    batch_stats,
    person: Person,
    frames: jax.Array,
    *,
    model: PoseModel,
    spec: pairs.CropSpec,
    mirror: tuple[int, ...] = (),
    scales: tuple[float, ...] = (),
    decoding: str = 'quarter',
    peaks: int = 0,
) -> Predictions:
    """Predictions for the frames with indices `frames` `[F]` of one person.

    mirror: of the skeleton, to predict from the mean with the mirror image's heatmaps; () for not.
    scales: of more crops, in sides of the usual one, over whose heatmaps the mean is taken as well.
    decoding: of `heatmaps.DECODINGS`.
    peaks: how many of each heatmap are wanted besides.
    """
    variables = {'params': params, 'batch_stats': batch_stats}

    def see(images) -> jax.Array:
        seen: Any = model.apply(variables, images, method='heatmaps')
        return seen.supervised

    def look(scale: float) -> jax.Array:
        crop = functools.partial(pairs.crop_frame, spec=spec, valid=person.size, scale=scale)
        crops = jax.vmap(crop)(person.frames[frames], person.boxes[frames])
        maps = see(crops)
        if mirror:
            maps = (maps + flips.unmirrored(see(flips.mirrored(crops)), mirror)) / 2
        return jax.vmap(functools.partial(heatmaps.zoomed, scale=scale))(maps)

    def one_joint(heatmap, box):
        to_image = functools.partial(
            geometry.heatmap_to_image, box=box, size=spec.cells, subtract_one=spec.subtract_one
        )
        if not peaks:
            cells, score = heatmaps.decode(heatmap, decoding=decoding)
            return Predictions(to_image(cells), score)
        cells, heights = heatmaps.peaks(heatmap, count=peaks, decoding=decoding)
        points = to_image(cells)
        return Predictions(points[0], heights[0], Peaks(points, heights))

    maps = jnp.mean(jnp.stack([look(scale) for scale in (1.0, *scales)]), axis=0)
    per_frame = jax.vmap(one_joint, in_axes=(-1, None))
    return jax.vmap(per_frame)(maps.astype(jnp.float32), person.boxes[frames])


def optimizer(
    *, learning_rate: float, image_learning_rate: float, images_first: int = 0, warmup: int = 0
) -> optax.GradientTransformation:
    """Adam for the inner loop; the paper's (section 3.2) has one rate for all and nobody waits.

    Args:
      image_learning_rate: of the image networks (both image encoders and the renderer).
      images_first: steps in which they learn alone. Networks that cannot draw this person yet have
        nothing true to say about where the keypoints should be.
      warmup: steps in which each part's rate rises from 0. At first Adam does not know how
        large gradients are, and makes all of them as long as the rate lets it.
    """
    drawing = rising(image_learning_rate, warmup)
    seeing = optax.join_schedules(
        [optax.constant_schedule(0.0), rising(learning_rate, warmup)], [images_first]
    )
    parts = {'draw': optax.adam(drawing), 'see': optax.adam(seeing)}
    return optax.multi_transform(
        parts,
        lambda trainable: {
            path: 'draw' if re.fullmatch(partition.IMAGE_NETWORKS, path) else 'see'
            for path in trainable
        },
    )


def rising(rate: float, warmup: int) -> optax.Schedule:
    """A rate that rises to `rate` along a line in `warmup` steps, and then stays."""
    if not warmup:
        return optax.constant_schedule(rate)
    return optax.linear_schedule(rate / (warmup + 1), rate, warmup)
