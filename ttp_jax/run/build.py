"""A run, built from its config: data, model, optimiser, state; checked before any long work starts.

Only this package reads the config; everything below it takes plain arguments.
"""

import contextlib
import math
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ttp_jax import convert, train
from ttp_jax.data import clips, pairs, sets, stream
from ttp_jax.files import checkpoint
from ttp_jax.networks import layers, perceptual
from ttp_jax.networks import model as networks
from ttp_jax.objectives import registry
from ttp_jax.objectives.objective import Objective
from ttp_jax.personalize import capacity, inner_loop, many_people, partition, schedules
from ttp_jax.run.resume import check_same_model, flat

# What the networks compute in; parameters, statistics, losses and keypoints stay float32.
COMPUTE = {'float32': None, 'bfloat16': jnp.bfloat16}


class Run:
    """What every phase needs, built from the config, checked before any long work starts."""

    def __init__(self, config: ConfigDict, workdir: pathlib.Path):
        self.config, self.workdir, self.seconds = config, workdir, {}
        self.check_computing()
        sets.check(**config.data)
        skeleton, subtract_one = sets.labels(config.data.name)
        self.perceptual = perceptual.load(
            config.perceptual.kind,
            seed=config.perceptual.seed,
            weights=config.perceptual.weights or None,
        )
        self.model = networks.PoseModel(joints=len(skeleton.joints), **config.model)
        self.trains_by = self.choose_objective('train')
        self.adapts_by = self.choose_objective('personalize') or self.trains_by
        self.check_schedules()
        self.spec = pairs.CropSpec(
            config.crop.size,
            self.model.cells(config.crop.size),
            bgr=config.crop.bgr,
            subtract_one=subtract_one,
            sigma=config.model.sigma,
        )
        self.tx = train.optimizer(
            learning_rate=config.train.learning_rate,
            steps=config.train.steps,
            drops=tuple(config.train.drops),
            warmup=config.train.warmup,
        )
        self.checkpoints = checkpoint.Checkpoints(workdir / 'checkpoints')
        self.state = self.first_state()
        split(self)  # raises for frozen patterns that match nothing
        with self.phase('data'):
            self.load_data()

    def load_data(self) -> None:
        """Both splits: in memory if they fit, else with frames that are decoded when used."""
        config = self.config.data
        self.data = sets.load(seed=self.config.seed, **config)
        train_fits, test_fits = (
            clips.fit_in(people, gib=config.resident_gib)
            for people in (self.data.train, self.data.test)
        )
        self.bank = clips.stack_clips(self.data.train) if train_fits else None
        self.people = self.data.test
        if test_fits:
            self.people = [clips.decoded(clip) for clip in self.people]

    def batches(self, first: int) -> Iterator[pairs.Pairs]:
        """The batches of the steps from `first` on, the same whether in memory or not."""
        config = self.config.train
        which = dict(first=first, steps=config.steps, batch=config.batch, seed=self.config.seed)
        if self.bank is None:
            return stream.batches(self.data.train, workers=self.config.data.workers, **which)
        return pairs.batches(self.bank, **which)

    def first_state(self) -> train.TrainState:
        """This workdir's newest state; or a fresh one, maybe with weights from elsewhere."""
        path, encoder = self.config.checkpoint, self.config.train.encoder_weights
        if self.checkpoints.latest() is not None:
            return self.checkpoints.restore(self.fresh_state())
        if path and encoder:
            raise ValueError(
                'config.checkpoint and config.train.encoder_weights are both set, '
                'expected one: a checkpoint has an encoder already'
            )
        if path:
            return self.load_checkpoint(path)
        return convert.load_encoder(encoder, self.fresh_state()) if encoder else self.fresh_state()

    def fresh_state(self) -> train.TrainState:
        return train.create_state(
            jax.random.key(self.config.seed),
            model=self.model,
            tx=self.tx,
            perceptual=self.perceptual,
            size=self.spec.size,
        )

    def load_checkpoint(self, path: str) -> train.TrainState:
        """A fresh state with what another run's checkpoint holds, if that is of the same model."""
        mine, theirs = flat(self.config.to_dict()), flat(checkpoint.config_beside(path))
        check_same_model(path, theirs, mine)
        # Loss means say how large one network's terms are; another's have to be found anew.
        kind = mine['perceptual.kind']
        return checkpoint.load_model(
            path, self.fresh_state(), loss_means=theirs.get('perceptual.kind', kind) == kind
        )

    def choose_objective(self, phase: str) -> Objective | None:
        """The self-supervised task of a phase: as the config says, or the model variant's own."""
        try:
            return registry.choose(self.config[phase].objective, self.model)
        except ValueError as error:
            raise ValueError(f'config.{phase}.objective: {error}') from error

    def check_schedules(self) -> None:
        """Raises now what would otherwise be raised after training."""
        wanted, variant = self.config.personalize.schedules, self.config.model.variant
        if wanted and self.adapts_by is None:
            raise ValueError(
                f'config.personalize.schedules is {wanted}, but model.variant '
                f'{variant!r} has no task of its own to learn from without labels; set '
                "--config.personalize.schedules='()' or --config.personalize.objective=entropy"
            )
        for name in wanted:
            if name not in schedules.SCHEDULES:
                raise ValueError(
                    f'config.personalize.schedules: no schedule {name!r}; '
                    f'known: {", ".join(schedules.SCHEDULES)}'
                )

    def check_computing(self) -> None:
        """Likewise, of dtypes and lowerings."""
        for phase in ('train', 'personalize'):
            for key, known in (
                ('dtype', tuple(COMPUTE)),
                ('lowering', ('auto', *layers.LOWERINGS)),
            ):
                if (found := self.config[phase][key]) not in known:
                    raise ValueError(
                        f'config.{phase}.{key} is {found!r}, expected one of '
                        f'{", ".join(map(repr, known))}'
                    )

    def computing(self, phase: str, weights: str) -> dict[str, Any]:
        """The model's `lowering` and `dtype` in a phase; weights: of `layers.suited_lowering`."""
        config = self.config[phase]
        lowering = config.lowering if config.lowering != 'auto' else layers.suited_lowering(weights)
        return dict(lowering=lowering, dtype=COMPUTE[config.dtype])

    @contextlib.contextmanager
    def phase(self, name: str):
        """Measures the seconds spent inside."""
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


def split(run: Run) -> tuple[partition.Flat, partition.Flat]:
    """(trainable, frozen) parameters, as the config or else the paper has it."""
    objective = run.adapts_by
    paper = objective.frozen if objective else ()
    return partition.split(run.state.params, frozen=run.config.personalize.frozen or paper)


def people_together(run: Run) -> tuple[int, list[jax.Device]]:
    """How many people to adapt at once, and on which devices: as the config says, or as fit."""
    config, devices = run.config.personalize, jax.local_devices()
    count = config.people_per_chunk
    if not count:
        private = run.model.clone(**run.computing('personalize', 'private'))
        each = capacity.person_bytes(
            *split(run),
            run.state.batch_stats,
            model=private,
            perceptual=run.perceptual,
            objective=run.adapts_by,
            size=run.spec.size,
            batch=config.batch,
        )
        frames = max(len(clip.frames) for clip in run.people)
        clip_bytes = 3 * frames * math.prod(clips.largest_frame(run.people))
        count = capacity.people_at_once(each + clip_bytes, devices)
    count = min(count, len(run.people))
    return count, devices[:count]


def runner(run: Run, schedule: str, count: int, devices: list[jax.Device]) -> many_people.Runner:
    """The compiled pieces of personalization for one schedule, `count` people on the devices."""
    config = run.config.personalize
    weights = 'private' if count > len(devices) else 'alone' if len(devices) > 1 else 'joint'
    computing = run.computing('personalize', weights)
    steps = config[schedule]
    tx = inner_loop.optimizer(
        learning_rate=steps.learning_rate,
        images_first=steps.images_first,
        image_learning_rate=steps.image_learning_rate,
    )
    return many_people.make_runner(
        model=run.model.clone(dtype=computing['dtype']),
        perceptual=run.perceptual,
        objective=run.adapts_by,
        tx=tx,
        spec=run.spec,
        schedule=schedule,
        batch=config.batch,
        epochs=steps.epochs,
        augment=run.config.train.augment.to_dict(),
        lowering=computing['lowering'],
        devices=devices,
    )
