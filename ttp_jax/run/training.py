"""The phase `train`: joint optimisation, with checkpoints and logged metrics.

Steps are started ahead of the devices that compute them. The host waits for results only where it
logs or saves, and sees only there whether a step's numbers were finite: if not, training ends with
the step named, and nothing is saved that came after it.

Several processes that are connected train together: each reads its own part of a batch, all hold
the same state, and the first of them logs and, through Orbax, writes checkpoints.
"""

import contextlib
import json
import math
import pathlib
import time
from typing import Any, NoReturn

import jax
import numpy as np
import tensorboardX
from jax.experimental import multihost_utils

from ttp_jax import places, train
from ttp_jax.files import whole_file
from ttp_jax.files.checkpoint import Checkpoints
from ttp_jax.files.lines import Lines
from ttp_jax.personalize import capacity
from ttp_jax.run import interrupt, progress
from ttp_jax.run.build import Run
from ttp_jax.run.profiling import Profile


def train_phase(run: Run) -> None:
    """Joint training from the run's state to its last step, with checkpoints and metrics.

    What it saves is on disk when it returns: nothing that comes later can lose it. Raises
    ValueError, in one line, for a step whose loss or gradient is not finite.
    """
    config, first = run.config.train, int(run.state.step)
    window = Window(batch=config.batch)
    writes = jax.process_index() == 0
    log = MetricsLog(run.workdir, first) if writes else NoLog()
    profiled = writes and not places.in_store(run.workdir)  # JAX writes to disks alone
    profile = Profile(run.workdir / 'profile', tuple(config.profile) if profiled else ())
    steps = progress.bar('train', total=config.steps, initial=first, shown=writes)
    stopping = interrupt.heeded()
    with finishing_saves(run.checkpoints), log, profile, steps as bar, stopping as stop:
        profile.before(first + 1, run.state)
        for index, state, metrics in train.fit(
            run.state,
            run.batches(first),
            step=training_step(run),
            seed=run.config.seed,
            part=run.part,
        ):
            run.state = state
            window.add(index, metrics)
            if index % config.log_every == 0 or index in (1, config.steps):
                values = window.close() | {'learning_rate': float(run.rates(index - 1))}
                log.write(index, values)
                bar.set_postfix(loss=f'{values["loss"]:.5f}', refresh=False)
            if index % config.save_every == 0 and index < config.steps:
                window.finite_rows()  # or nothing is saved
                run.checkpoints.save(state)
            bar.update()
            if asked_anywhere(stop, often=index % config.log_every == 0):
                save_and_stop(run, window, stop.name or 'another host')
            profile.before(index + 1, state)
    run.checkpoints.save(run.state)
    run.checkpoints.wait()


def asked_anywhere(stop: interrupt.Flag, *, often: bool) -> bool:
    """Whether any of the processes was asked to stop: they can only save together.

    often: whether to ask the others now, which takes time; a process alone needs not.
    """
    if jax.process_count() == 1:
        return stop.asked
    return often and bool(multihost_utils.process_allgather(np.array(stop.asked)).any())


def save_and_stop(run: Run, window: 'Window', why: str) -> NoReturn:
    """Saves the state as it is, and raises `interrupt.Stopped`; why: who asked."""
    window.finite_rows()  # or nothing is saved
    run.checkpoints.save(run.state)
    run.checkpoints.wait()
    raise interrupt.Stopped(
        f'stopped after training step {int(run.state.step)}, as {why} asked; it is saved, and '
        'the same command goes on from there'
    )


def training_step(run: Run):
    """The joint step of `train.pmap_step`, as the config has it."""
    config = run.config.train
    return train.pmap_step(
        model=run.model.clone(**run.computing('train', 'joint')),
        perceptual=run.perceptual,
        tx=run.tx,
        spec=run.spec,
        mirror=run.data.skeleton.mirror,
        augment=config.augment.to_dict(),
        colour_std=config.colour_std,
        objective=run.trains_by,
        reconstruction_weight=config.reconstruction_weight,
        rebuilt_every=config.rebuilt_every,
        covered=config.covered,
        devices=capacity.training_devices(),
    )


@contextlib.contextmanager
def finishing_saves(checkpoints: Checkpoints):
    """An error has to wait until the checkpoints that were begun are on disk."""
    try:
        yield
    except BaseException:
        checkpoints.wait()
        raise


class Window:
    """The metrics of the steps since the last log, left on the devices until they are asked for."""

    def __init__(self, *, batch: int):
        self.batch = batch
        self.waiting: dict[int, train.Metrics] = {}
        self.since: float | None = None

    def add(self, step: int, metrics: train.Metrics) -> None:
        """One more step; does not wait for it."""
        self.waiting[step] = metrics

    def finite_rows(self) -> list[dict[str, np.ndarray]]:
        """Every waiting step's metrics. Raises ValueError for the first that is not finite."""
        rows = jax.device_get(self.waiting)
        for step, row in rows.items():
            for name, value in row.items():
                if not math.isfinite(value):
                    raise ValueError(
                        f'training step {step}: {name} is {value}; checkpoints of earlier steps '
                        'are kept; try a smaller --config.train.learning_rate, or check the labels'
                    )
        return list(rows.values())

    def close(self) -> dict[str, float]:
        """The mean of every metric, and images per second; begins a new window.

        The first window has no such rate: the program was compiled in it. Raises as `finite_rows`.
        """
        rows, now = self.finite_rows(), time.monotonic()
        values = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        if self.since is not None:
            values['images_per_second'] = self.batch * len(rows) / (now - self.since)
        self.waiting, self.since = {}, now
        return values


class NoLog(contextlib.nullcontext):
    """Of a process that writes no metrics."""

    def __enter__(self):
        return self

    def write(self, step: int, values: dict[str, float]) -> None:
        """Does nothing."""


class MetricsLog(contextlib.AbstractContextManager):
    """Metrics to `metrics.jsonl` and TensorBoard, behind those of the first `done` steps.

    In a store there are no files for TensorBoard, which have to be appended to.
    What a run that was stopped has logged of later steps goes: they are trained again.
    """

    def __init__(self, workdir: pathlib.Path, done: int):
        drop_lines_after(done, workdir / 'metrics.jsonl')
        self.lines = Lines(workdir / 'metrics.jsonl')
        self.board: Any = None
        if not places.in_store(workdir):
            self.board = tensorboardX.SummaryWriter(
                str(workdir / 'tensorboard'), purge_step=done + 1 if done else None
            )

    def write(self, step: int, values: dict[str, float], prefix: str = 'train') -> None:
        """One line, one point per curve."""
        self.lines.add(json.dumps({'step': step, **values}) + '\n')
        for name, value in values.items() if self.board else ():
            self.board.add_scalar(f'{prefix}/{name}', value, step)

    def __exit__(self, *_):
        self.lines.flush()
        if self.board:
            self.board.close()


def drop_lines_after(step: int, path: pathlib.Path) -> None:
    """Keeps the lines of `metrics.jsonl` up to `step`; a last line cut short goes too."""
    if not path.is_file():
        return
    *whole, _ = path.read_text().split('\n')
    kept = [line for line in whole if json.loads(line)['step'] <= step]
    with whole_file.replacing(path) as temporary:
        temporary.write_text(''.join(f'{line}\n' for line in kept))
