"""A run, built from its config: data, model, optimiser, state; checked before any long work starts.

Only this package reads the config; everything below it takes plain arguments.
"""

import contextlib
import copy
import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from ttp_jax import convert, train
from ttp_jax.data import clips, pairs, sets, skeletons, stream
from ttp_jax.files import checkpoint, digest
from ttp_jax.networks import joints, layers, perceptual
from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives import registry
from ttp_jax.personalize import (
    capacity,
    guard,
    inner_loop,
    many_people,
    partition,
    placement,
    verdict,
)
from ttp_jax.run import check_config, isolation, marks, method, progress
from ttp_jax.run.hosts import ALONE, Hosts
from ttp_jax.run.ledger import Ledger
from ttp_jax.run.resume import check_same_model, flat, joints_of, settings_of
from ttp_jax.run.store import Store


class Run:
    """What every phase needs, built from the config, checked before any long work starts.

    hosts: with several, a run has nobody to personalize to until it is told whom: `of_share`.
    """

    def __init__(self, config: ConfigDict, workdir: pathlib.Path, *, hosts: Hosts = ALONE):
        self.config, self.workdir, self.hosts = config, workdir, hosts
        self.seconds: dict[str, float] = {}
        self.ledger = Ledger(workdir)
        check_config.check(config, devices=len(capacity.training_devices()))
        skeleton, _ = check_config.labels_of(config)
        self.rules = guard.read(config.personalize.guard) if config.personalize.guard else {}
        self.bones = skeleton.bones
        self.perceptual = perceptual.load(
            config.perceptual.kind,
            seed=config.perceptual.seed,
            weights=config.perceptual.weights or None,
        )
        self.model = check_config.model_of(config)
        self.trains_by = registry.choose(config.train.objective, self.model)
        self.adapts_by = check_config.adapting_objective(config, self.model)
        self.spec = check_config.crop_spec(config)
        rates = dict(
            learning_rate=config.train.learning_rate,
            steps=config.train.steps,
            drops=tuple(config.train.drops),
            warmup=config.train.warmup,
        )
        self.rates, self.tx = train.learning_rates(**rates), train.optimizer(**rates)
        self.checkpoints = checkpoint.Checkpoints(workdir / 'checkpoints')
        self.state = self.first_state()
        _ = self.shared  # raises for frozen patterns that match nothing
        with self.phase('data'):
            self.load_data()

    def load_data(self) -> None:
        """The splits that are used: in memory if they fit, else with frames decoded when used.

        Without a step left to train there is no training split to read.
        """
        config, training = self.config.data, int(self.state.step) < self.config.train.steps
        self.data = sets.load(
            seed=self.config.seed,
            training=training,
            watch=progress.watched,
            **check_config.data_options(self.config),
        )
        self.bank = None
        if training and clips.fit_in(self.data.train, gib=config.resident_gib):
            self.bank = clips.stack_clips(self.data.train)
        clips.check_ids(self.data.test)
        self.people: list[clips.Clip] = []
        self.refused: isolation.Refused = {}
        if self.hosts.count == 1:
            self.people, self.refused = isolation.usable(self.data.test, **self.reading)

    @property
    def reading(self) -> dict[str, Any]:
        """How people are read, as `isolation` takes it."""
        return dict(gib=self.config.data.resident_gib, strict=self.config.strict)

    def of_share(self, share: Sequence[int], folder: pathlib.Path) -> 'Run':
        """This run for some of the test people alone; their lines of results go to `folder`.

        Only their frames are read.
        """
        part = copy.copy(self)
        for of_people in ('placement', 'clip_marks'):
            part.__dict__.pop(of_people, None)
        part.seconds, part.ledger = dict(self.seconds), Ledger(folder)
        with part.phase('data'):
            own = [self.data.test[index] for index in share]
            part.people, part.refused = isolation.sorted_out(own, **self.reading)
        return part

    def batches(self, first: int) -> Iterator[pairs.Pairs]:
        """The batches of the steps from `first` on, the same whether in memory or not.

        Of several processes that train together each has its own part of every batch.
        """
        config = self.config.train
        which: dict[str, Any] = dict(first=first, steps=config.steps, batch=config.batch)
        which |= dict(seed=self.config.seed, part=self.part)
        if first >= config.steps:
            return iter(())
        if self.bank is None:
            return stream.batches(self.data.train, workers=self.config.data.workers, **which)
        return pairs.batches(self.bank, **which)

    @property
    def part(self) -> tuple[int, int]:
        """The part of a training batch that this process sees, as `pairs.rows_of` takes it."""
        return jax.process_index(), jax.process_count()

    def first_state(self) -> train.TrainState:
        """This workdir's newest state; or a fresh one, maybe with weights from elsewhere."""
        path, encoder = self.config.checkpoint, self.config.train.encoder_weights
        if self.checkpoints.latest() is not None:
            return self.checkpoints.restore(self.fresh_state())
        if path:
            return self.load_checkpoint(path)
        return convert.load_encoder(encoder, self.fresh_state()) if encoder else self.fresh_state()

    def fresh_state(self, model: PoseModel | None = None) -> train.TrainState:
        """Weights drawn from the seed, and an optimiser that has seen nothing.

        model: another one than the run's own.
        """
        return train.create_state(
            jax.random.key(self.config.seed),
            model=model or self.model,
            tx=self.tx,
            perceptual=self.perceptual,
            size=self.spec.size,
        )

    def load_checkpoint(self, path: str) -> train.TrainState:
        """A fresh state with what another run's checkpoint holds, if that is of the same model."""
        mine, theirs = flat(self.config.to_dict()), flat(checkpoint.config_beside(path))
        if self.config.data.name in sets.OWN and self.config.train.steps and 'data.name' in theirs:
            check_same_model(path, theirs | {'model.joints': len(self.joints)}, mine)
            return self.taken_over(path, theirs)
        check_same_model(path, theirs, mine)
        # Loss means say how large one network's terms are; another's have to be found anew.
        kind = mine['perceptual.kind']
        return checkpoint.load_model(
            path, self.fresh_state(), loss_means=theirs.get('perceptual.kind', kind) == kind
        )

    def taken_over(self, path: str, theirs: Mapping[str, Any]) -> train.TrainState:
        """A fresh state with another network in it, which may have learned other joints."""
        known, fresh = joints_of(theirs), self.fresh_state()
        if self.joints == known:
            return checkpoint.load_model(path, fresh)
        old = self.fresh_state(self.model.clone(joints=len(known)))
        old = checkpoint.load_model(path, old)
        params = joints.with_joints(
            old.params, fresh.params, source=skeletons.sources(self.joints, known)
        )
        return dataclasses.replace(
            fresh, params=params, batch_stats=old.batch_stats, loss_means=old.loss_means
        )

    @property
    def joints(self) -> tuple[str, ...]:
        """The names of the joints, in order."""
        return check_config.labels_of(self.config)[0].joints

    def computing(self, phase: str, weights: str) -> dict[str, Any]:
        """The model's `lowering` and `dtype` in a phase; weights: of `layers.suited_lowering`."""
        config = self.config[phase]
        lowering = config.lowering
        if lowering == 'auto':
            lowering = layers.suited_lowering(weights, platform=jax.local_devices()[0].platform)
        return dict(lowering=lowering, dtype=method.COMPUTE[config.dtype])

    @contextlib.contextmanager
    def phase(self, name: str):
        """Measures the seconds spent inside."""
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start

    @property
    def shared(self) -> inner_loop.Shared:
        """What people have in common; frozen is what the config says, or else the objective."""
        objective = self.adapts_by
        paper = objective.frozen if objective else ()
        trainable, frozen = partition.split(
            self.state.params, frozen=self.config.personalize.frozen or paper
        )
        return inner_loop.Shared(
            trainable,
            frozen,
            self.state.batch_stats,
            self.state.loss_means,
            self.perceptual.weights,
        )

    @functools.cached_property
    def placement(self) -> placement.Placement:
        """Who is adapted side by side, where and how: as the config says, or as suits and fits."""
        config, platform = self.config.personalize, jax.local_devices()[0].platform
        lowering = self.computing('personalize', 'private')['lowering']
        features = placement.shared_lowering(lowering, platform=platform)
        needs = capacity.needs(
            self.shared,
            method=self._method('online', lowering, features),  # which predicts as well
            platform=platform,
            at_once=many_people.at_once(self.model.clone(lowering=lowering)),
        )
        return placement.place(
            self.people,
            needs=needs,
            people_per_chunk=config.people_per_chunk,
            lowering=config.lowering,
        )

    @functools.cached_property
    def clip_marks(self) -> list[str]:
        """What tells each person's clip from others (`marks.of_clip`)."""
        return [marks.of_clip(clip) for clip in self.people]

    @property
    def pictured(self) -> list[str]:
        """The ids of those who are drawn, the same for all hosts."""
        everyone = self.people if self.hosts.count == 1 else self.data.test
        return [clip.id for clip in everyone[: self.config.pictures]]

    def mark(self, phase: str) -> str:
        """What makes the predictions of a phase, whosever they are (`marks`)."""
        return marks.together(
            phase,
            marks.of_code(),
            marks.of_settings(settings_of(self.config, phase)),
            guard.text({phase: self.rules[phase]}) if phase in self.rules else '',
            digest.of_tree((self.state.params, self.state.batch_stats, self.state.loss_means)),
        )

    def store(self, phase: str) -> Store:
        """Where the results of a phase are, with the marks that they have now."""
        of_run, pictured = self.mark(phase), set(self.pictured)
        return Store(
            self.workdir,
            phase,
            [clip.id for clip in self.people],
            [marks.of_person(of_run, of_clip) for of_clip in self.clip_marks],
            self.data.skeleton.joints,
            [index for index, clip in enumerate(self.people) if clip.id in pictured],
            check_config.saved_form(self.config) if phase != 'before' else None,
        )

    def method(self, schedule: str) -> inner_loop.Method:
        """How a person is adapted under a schedule."""
        return self._method(schedule, self.placement.lowering, self.placement.features_lowering)

    def _method(self, schedule: str, lowering: str, features: str) -> inner_loop.Method:
        return method.of(
            self.config,
            schedule,
            perceptual=self.perceptual._replace(lowering=features),
            lowering=lowering,
            spec=self.spec,
        )

    def judge(self, schedule: str) -> verdict.Judge:
        """Who decides, after a schedule, whether a person's own predictions count."""
        rule = self.rules.get(schedule)
        judge = guard.judge(rule, bones=self.bones) if rule else verdict.finite
        least = self.config.personalize.least_gap
        if not least:
            return judge
        # A sum of terms, each divided by its mean over training people.
        terms = len(self.state.loss_means)
        return verdict.strangers(judge, least_gap=least, training_loss=terms)

    def gain_error(self, schedule: str) -> float:
        """Deviation of true gains from those that are estimated, points; NaN where none are."""
        return self.rules[schedule].gain_error if schedule in self.rules else math.nan

    def runner(self, schedule: str) -> many_people.Runner:
        """The compiled pieces of personalization for one schedule."""
        return many_people.make_runner(self.method(schedule), devices=self.placement.devices)
