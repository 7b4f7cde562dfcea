"""Joint training of both tasks (paper sections 3.1 and 4.2).

Contract: `train_step` is a pure function of a `TrainState` and a batch of pairs; with
`axis_name=None` it runs under jit, with a name under pmap, and computes the same step. The state is
arrays only and has no device axis: pmap broadcasts it and returns one copy, so it saves as it is.

How many devices share a batch changes nothing but rounding in what a sample sees and draws, except
for the Transformer's dropout: its masks are drawn for a device's whole share of the batch, from a
key of that device. So with `model.dropout` > 0, another number of devices draws other masks.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ttp_jax import geometry
from ttp_jax.data import pairs
from ttp_jax.networks.model import PoseModel
from ttp_jax.networks.perceptual import Perceptual
from ttp_jax.objectives import balance
from ttp_jax.objectives.objective import Context, Objective
from ttp_jax.objectives.supervised import supervised

Metrics = dict[str, jax.Array]


@flax.struct.dataclass
class TrainState:
    """Everything training changes.

    loss_means `[1 + terms]`: running means of the reconstruction terms; people start from them.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    loss_means: jax.Array


def create_state(rng: jax.Array, **networks: Any) -> TrainState:
    """`initial_state`, as one program, without the forward pass that nobody looks at."""
    # It runs once and has a kernel for every parameter: on a CPU, LLVM's optimisation of these
    # would take most of the time.
    quick = {'xla_backend_optimization_level': 0} if jax.default_backend() == 'cpu' else None
    return jax.jit(functools.partial(initial_state, **networks), compiler_options=quick)(rng)


def initial_state(
    rng: jax.Array,
    *,
    model: PoseModel,
    tx: optax.GradientTransformation,
    perceptual: Perceptual,
    size: int,
) -> TrainState:
    """A fresh state for images of side `size`."""
    image = jnp.zeros((1, size, size, 3))
    variables = model.clone(train=False).init(rng, image, image)
    params = variables['params']
    return TrainState(
        jnp.zeros((), jnp.int32),
        params,
        variables.get('batch_stats', {}),
        tx.init(params),
        jnp.asarray(perceptual.means, jnp.float32),
    )


def learning_rates(
    *,
    learning_rate: float,
    steps: int,
    drops: tuple[float, ...] = (90 / 140, 120 / 140),
    factor: float = 0.1,
    warmup: int = 0,
) -> optax.Schedule:
    """The rate of every step: it falls by `factor` at each of `drops`, in fractions of `steps`.

    Without drops it rises from nothing in the first `warmup` steps, and falls to nothing along half
    a cosine in the others.
    """
    if not drops and steps > warmup:
        return optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, steps)
    boundaries = {round(steps * drop): factor for drop in drops}
    return optax.piecewise_constant_schedule(learning_rate, boundaries)


def optimizer(**rates) -> optax.GradientTransformation:
    """Adam, with the rates of `learning_rates`."""
    return optax.adam(learning_rates(**rates))


def prepare(
    batch: pairs.Pairs,
    keys: jax.Array,
    *,
    spec: pairs.CropSpec,
    mirror: tuple[int, ...],
    augment: dict[str, float],
    colour_std: float = 0.0,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Raw pairs to (target `[B, S, S, 3]`, source, heatmaps `[B, h, w, J]`, weights `[B, J]`).

    keys `[B]`: one per sample, so that a sample's augmentation does not depend on how many devices
    share the batch.
    """

    def one(pair, key):
        augmentation = geometry.sample_augmentation(key, **augment)
        target, source, affine = pairs.crop_pair(
            pair.target, pair.source, pair.box, augmentation, spec=spec, valid=pair.size
        )
        if colour_std:
            target, source = pairs.recolour(
                jax.random.fold_in(key, 1), target, source, std=colour_std
            )
        maps, weights = pairs.targets(
            pair.joints, pair.visibility, affine, augmentation.flip, spec=spec, mirror=mirror
        )
        return target, source, maps, weights

    return jax.vmap(one)(batch, keys)


def joint_loss(
    params,
    batch_stats,
    loss_means,
    crops,
    task_keys,
    dropout_rng,
    *,
    model: PoseModel,
    perceptual: Perceptual,
    objective: Objective | None,
    reconstruction_weight: float,
    rebuilt_every: int,
    covered: float,
    mirror: tuple[int, ...],
    axis_name: str | None,
):
    """Labelled loss + weight x the objective's, and (batch_stats, loss_means, metrics).

    Args:
      objective: the task without labels; None trains on labels alone.
      task_keys: `[B]`, one per sample, for what the task draws.
      rebuilt_every: that task learns from every so many-th sample, which makes a step cheaper.
      covered: the share of the targets of which the encoder does not see a part, as
        `pairs.covered` hides it; it is rebuilt all the same.
    """
    target, source, maps, weights = crops
    shown = _covered(task_keys, target, share=covered) if covered else target
    context = Context(perceptual._replace(lowering=model.lowering), mirror=mirror)

    def forward(model: PoseModel):
        seen = model.heatmaps(shown)
        labelled = supervised(seen.supervised, maps, weights)
        if objective is None:
            return labelled, loss_means, {'supervised': labelled}
        samples = (target, source, task_keys, seen)
        *of_task, seen = jax.tree.map(lambda x: x[::rebuilt_every], samples)
        alone = objective.loss(model, *of_task, context._replace(seen=seen))
        loss, means, of_alone = balance.total(alone, loss_means, axis_name=axis_name)
        total = labelled + reconstruction_weight * loss
        return total, means, {'supervised': labelled} | of_alone

    (total, means, metrics), updates = nn.apply(forward, model, mutable='batch_stats')(
        {'params': params, 'batch_stats': batch_stats}, rngs={'dropout': dropout_rng}
    )
    batch_stats = updates.get('batch_stats', batch_stats)
    return total, (batch_stats, means, metrics | {'loss': total})


def _covered(keys, images, *, share):
    """`pairs.covered` of every image `[B, S, S, 3]`, from its own key `[B]`."""
    own = jax.vmap(jax.random.fold_in, (0, None))(keys, 3)  # the task draws from `keys`
    return jax.vmap(functools.partial(pairs.covered, share=share))(own, images)


def train_step(
    state: TrainState,
    batch: pairs.Pairs,
    keys: jax.Array,
    rng: jax.Array,
    *,
    model: PoseModel,
    perceptual: Perceptual,
    tx: optax.GradientTransformation,
    spec: pairs.CropSpec,
    mirror: tuple[int, ...],
    augment: dict[str, float],
    colour_std: float = 0.0,
    objective: Objective | None,
    reconstruction_weight: float,
    rebuilt_every: int = 1,
    covered: float = 0.0,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """One step of joint optimisation; `batch` and `keys` are this device's share.

    Metrics: the loss, its terms and its gradient's norm, of all devices' samples together.
    """
    crops = prepare(batch, keys, spec=spec, mirror=mirror, augment=augment, colour_std=colour_std)
    task_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, 2)  # augmentation draws from `keys`
    rng = jax.random.fold_in(rng, lax.axis_index(axis_name)) if axis_name else rng
    grad = jax.grad(joint_loss, has_aux=True)
    grads, (batch_stats, loss_means, metrics) = grad(
        state.params,
        state.batch_stats,
        state.loss_means,
        crops,
        task_keys,
        jax.random.split(rng)[1],
        model=model,
        perceptual=perceptual,
        objective=objective,
        reconstruction_weight=reconstruction_weight,
        rebuilt_every=rebuilt_every,
        covered=covered,
        mirror=mirror,
        axis_name=axis_name,
    )
    if axis_name:
        grads, metrics = lax.pmean((grads, metrics), axis_name)
    metrics |= {'gradient_norm': optax.tree.norm(grads)}
    with jax.named_scope('optimizer'):
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, batch_stats, opt_state, loss_means), metrics


def pmap_step(
    *,
    model: PoseModel,
    perceptual: Perceptual,
    axis_name: str = 'devices',
    devices: Sequence[jax.Device] | None = None,
    check_replicas: bool = False,
    **dependencies,
) -> Callable:
    """`train_step` over all devices, or those given: `(state, batch, keys, rng) -> state, metrics`.

    Takes the whole batch, or of several processes each its own part, and splits it; the number of
    samples must be a multiple of the number of the process's devices. The perceptual weights are
    passed as an argument, not baked into the program.

    check_replicas: to be sure that everything was averaged over devices, for it is the first one's
    outputs that are returned. Compares all devices' after every step, which is slow; the step
    raises AssertionError where they differ, naming the array.
    """
    mapped = mapped_step(
        model=model,
        perceptual=perceptual,
        axis_name=axis_name,
        devices=devices,
        check_replicas=check_replicas,
        **dependencies,
    )
    outputs = _the_same_everywhere if check_replicas else lambda outputs: outputs
    every = devices or jax.devices()
    local = [device for device in every if device.process_index == jax.process_index()]
    # Where pmap leaves its output: a state that starts anywhere else is compiled for twice.
    everywhere = NamedSharding(Mesh(np.array(every), (axis_name,)), PartitionSpec())
    weights = _on_all(perceptual.weights, everywhere)
    split = functools.partial(_split, devices=len(local))
    return lambda state, batch, keys, rng: outputs(
        mapped(weights, _on_all(state, everywhere), split(batch), split(keys), rng)
    )


def mapped_step(
    *,
    model: PoseModel,
    perceptual: Perceptual,
    axis_name: str,
    devices: Sequence[jax.Device] | None,
    spec: pairs.CropSpec,
    check_replicas: bool = False,
    **dependencies,
) -> jax.stages.Wrapped:
    """The program of `pmap_step`, which can be lowered for devices that are not here.

    `(perceptual weights, state, batch, keys, rng) -> (state, metrics)`; `batch` and `keys` with a
    leading axis of devices.
    """
    model = model.clone(train=True, axis_name=axis_name)
    spec = spec.suited_to((devices or jax.local_devices())[0].platform)

    def step(weights, state, batch, keys, rng):
        return train_step(
            state,
            batch,
            keys,
            rng,
            model=model,
            perceptual=perceptual._replace(weights=weights),
            spec=spec,
            axis_name=axis_name,
            **dependencies,
        )

    return jax.pmap(
        step,
        axis_name,
        in_axes=(None, None, 0, 0, None),
        out_axes=0 if check_replicas else None,
        donate_argnums=() if check_replicas else 1,
        devices=devices,
    )


def _on_all(tree, everywhere: NamedSharding):
    """The tree, a copy of it on every device, those of other processes too, which have the same."""
    if jax.process_count() == 1:
        return jax.device_put(tree, everywhere)

    def one(leaf):
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf  # is there
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, everywhere, lambda index: array[index])

    return jax.tree.map(one, tree)


def _the_same_everywhere(outputs):
    """The first of all devices' outputs `[devices, ...]`. Raises AssertionError if they differ."""

    def one(path, copies):
        first, *others = np.asarray(copies)
        if not all(np.array_equal(first, other, equal_nan=True) for other in others):
            raise AssertionError(
                f'{jax.tree_util.keystr(path)} is not the same on all devices: it was not averaged'
            )
        return first

    return jax.tree_util.tree_map_with_path(one, outputs)


def _split(batch, *, devices: int):
    """Gives every leaf `[B, ...]` a leading device axis: `[devices, B / devices, ...]`."""

    def one(x):
        if x.shape[0] % devices:
            raise ValueError(f'a batch of {x.shape[0]} cannot be split over {devices} devices')
        return x.reshape(devices, x.shape[0] // devices, *x.shape[1:])

    return jax.tree.map(one, batch)


def fit(
    state: TrainState,
    batches: Iterable[pairs.Pairs],
    *,
    step: Callable,
    seed: int,
    part: tuple[int, int] = (0, 1),
) -> Iterator[tuple[int, TrainState, Metrics]]:
    """Trains on one batch after another, yielding (step, state, metrics) after each.

    What a step sees and draws depends on its number and the seed alone, so a run that was stopped
    and resumed equals one that was not.

    Args:
      batches: those of the steps from the state's own on, of `pairs.batches` or `stream.batches`.
      part: which part of each batch they are, as `pairs.rows_of` takes it.
    """
    root = jax.random.key(seed)
    for index, batch in enumerate(batches, start=int(state.step)):
        augment_rng, step_rng = jax.random.split(jax.random.fold_in(root, index))
        total = len(batch.size) * part[1]
        keys = jax.random.split(augment_rng, total)[pairs.rows_of(part, total)]
        state, metrics = step(state, batch, keys, step_rng)
        yield index + 1, state, metrics
