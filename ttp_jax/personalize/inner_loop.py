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
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from ttp_jax import geometry, heatmaps
from ttp_jax.data import pairs
from ttp_jax.networks.model import PoseModel
from ttp_jax.networks.perceptual import Perceptual
from ttp_jax.objectives.objective import Context, Objective
from ttp_jax.personalize import partition
from ttp_jax.personalize.schedules import SCHEDULES


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


def predict_frames(
    params,
    batch_stats,
    person: Person,
    frames: jax.Array,
    *,
    model: PoseModel,
    spec: pairs.CropSpec,
) -> Predictions:
    """Predictions for the frames with indices `frames` `[N]` of one person."""

    def one_crop(t):
        return pairs.crop_frame(person.frames[t], person.boxes[t], spec=spec, valid=person.size)

    def one_joint(heatmap, box):
        cells, score = heatmaps.decode(heatmap)
        return geometry.heatmap_to_image(
            cells, box, size=spec.cells, subtract_one=spec.subtract_one
        ), score

    crops = jax.vmap(one_crop)(frames)
    seen = model.apply({'params': params, 'batch_stats': batch_stats}, crops, method='heatmaps')
    per_frame = jax.vmap(one_joint, in_axes=(-1, None))
    return Predictions(
        *jax.vmap(per_frame)(seen.supervised.astype(jnp.float32), person.boxes[frames])
    )


def self_supervised_loss(
    trainable,
    frozen,
    batch_stats,
    loss_means,
    target,
    source,
    rng,
    *,
    model: PoseModel,
    perceptual: Perceptual,
    objective: Objective,
) -> tuple[jax.Array, jax.Array]:
    """(loss, new running means) of crops `[B, S, S, 3]`; no label is read (paper section 3.1)."""
    variables = {'params': partition.merge(trainable, frozen), 'batch_stats': batch_stats}
    loss = nn.apply(objective.loss, model)
    outcome = loss(variables, target, source, loss_means, rng, Context(perceptual))
    return outcome.loss, outcome.loss_means


def adapt_step(
    state: PersonState,
    frozen,
    batch_stats,
    target,
    source,
    rng,
    *,
    tx: optax.GradientTransformation,
    loss: Callable,
) -> tuple[PersonState, jax.Array]:
    """One gradient step on one batch of crops; returns the loss before the step."""
    grad = jax.value_and_grad(loss, has_aux=True)
    (value, loss_means), grads = grad(
        state.trainable, frozen, batch_stats, state.loss_means, target, source, rng
    )
    updates, opt_state = tx.update(grads, state.opt_state, state.trainable)
    return PersonState(optax.apply_updates(state.trainable, updates), opt_state, loss_means), value


def adapt_frames(
    state: PersonState,
    frozen,
    batch_stats,
    person: Person,
    rng: jax.Array,
    frames: jax.Array,
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
) -> tuple[PersonState, jax.Array, Predictions | None]:
    """The inner loop: `epochs` steps for each of `frames` `[N]`, in order.

    augment is what training used: arguments of `geometry.sample_augmentation`. Online, each frame is
    predicted right after its own steps, by the weights of that moment.
    Frames at or behind the clip's length leave the state untouched. Returns the state, the losses
    `[N, epochs]` and, online, predictions `[N, ...]`.
    """
    loss = functools.partial(
        self_supervised_loss, model=model, perceptual=perceptual, objective=objective
    )
    draw = functools.partial(
        SCHEDULES[schedule], length=person.length, batch=batch, augment=augment
    )
    crop = functools.partial(pairs.crop_pair, spec=spec, valid=person.size)

    def step(state, index):
        t = index // epochs
        draw_rng, loss_rng = jax.random.split(jax.random.fold_in(rng, index))
        target, source, augmentation = draw(t, draw_rng)
        seen, looks, _ = jax.vmap(crop)(
            person.frames[target], person.frames[source], person.boxes[target], augmentation
        )
        new, value = adapt_step(state, frozen, batch_stats, seen, looks, loss_rng, tx=tx, loss=loss)
        return jax.tree.map(functools.partial(jnp.where, t < person.length), new, state), value

    def frame(state, t):
        state, losses = lax.scan(step, state, t * epochs + jnp.arange(epochs))
        if schedule != 'online':
            return state, (losses, None)
        params = partition.merge(state.trainable, frozen)
        now = predict_frames(params, batch_stats, person, t[None], model=model, spec=spec)
        return state, (losses, jax.tree.map(lambda x: x[0], now))

    state, (losses, predictions) = lax.scan(frame, state, frames)
    return state, losses, predictions


def optimizer(
    *, learning_rate: float, image_learning_rate: float, images_first: int = 0
) -> optax.GradientTransformation:
    """Adam for the inner loop; the paper's (section 3.2) has one rate for all and nobody waits.

    image_learning_rate: of the image networks (both image encoders and the renderer).
    images_first: steps in which they learn alone. Networks that cannot draw this person yet have
    nothing true to say about where the keypoints should be.
    """
    seeing = optax.join_schedules(
        [optax.constant_schedule(0.0), optax.constant_schedule(learning_rate)], [images_first]
    )
    parts = {'draw': optax.adam(image_learning_rate), 'see': optax.adam(seeing)}
    return optax.multi_transform(
        parts,
        lambda trainable: {
            path: 'draw' if re.fullmatch(partition.IMAGE_NETWORKS, path) else 'see'
            for path in trainable
        },
    )


def fresh_state(
    trainable: partition.Flat, loss_means: jax.Array, *, tx: optax.GradientTransformation
) -> PersonState:
    """Where every person starts: the shared weights, an optimiser and loss means of their own."""
    return PersonState(trainable, tx.init(trainable), loss_means)


def personalize_person(
    trainable: partition.Flat,
    frozen: partition.Flat,
    batch_stats,
    loss_means: jax.Array,
    person: Person,
    rng: jax.Array,
    *,
    model: PoseModel,
    tx: optax.GradientTransformation,
    spec: pairs.CropSpec,
    schedule: str,
    **how,
) -> tuple[Predictions, jax.Array, PersonState]:
    """Adapts a private copy to one person and predicts their clip (paper section 3.2).

    schedule: 'online' predicts frame t right after the step on frame t; 'offline' takes all steps
    first. `how`: see `adapt_frames`. Returns predictions `[T, ...]` (meaningless behind `length`),
    losses `[T, epochs]` and the person's last state.
    """
    everything = jnp.arange(person.frames.shape[0])
    state, loss, predictions = adapt_frames(
        fresh_state(trainable, loss_means, tx=tx),
        frozen,
        batch_stats,
        person,
        rng,
        everything,
        model=model,
        tx=tx,
        spec=spec,
        schedule=schedule,
        **how,
    )
    if schedule != 'online':
        params = partition.merge(state.trainable, frozen)
        predictions = predict_frames(
            params, batch_stats, person, everything, model=model, spec=spec
        )
    return predictions, loss, state
