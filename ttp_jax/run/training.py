"""The phase `train`: joint optimisation, with checkpoints and logged metrics."""

import contextlib
import json
import pathlib

import tensorboardX

from ttp_jax import train
from ttp_jax.personalize import capacity
from ttp_jax.run import progress
from ttp_jax.run.build import Run


def train_phase(run: Run) -> None:
    """Joint training from the run's state to its last step, with checkpoints and metrics."""
    config = run.config.train
    step = train.pmap_step(
        model=run.model.clone(**run.computing('train', 'joint')),
        perceptual=run.perceptual,
        tx=run.tx,
        spec=run.spec,
        mirror=run.data.skeleton.mirror,
        augment=config.augment.to_dict(),
        colour_std=config.colour_std,
        objective=run.trains_by,
        reconstruction_weight=config.reconstruction_weight,
        devices=capacity.training_devices(),
    )
    log = metrics_log(run.workdir)
    first = int(run.state.step)
    with log, progress.bar('train', total=config.steps, initial=first) as bar:
        for index, state, metrics in train.fit(
            run.state, run.batches(first), step=step, seed=run.config.seed
        ):
            run.state = state
            if index % config.log_every == 0 or index in (1, config.steps):
                values = {name: float(value) for name, value in metrics.items()}
                log.write(index, values)
                bar.set_postfix(loss=f'{values["loss"]:.5f}', refresh=False)
            if index % config.save_every == 0 and index < config.steps:
                run.checkpoints.save(state)
            bar.update()
    run.checkpoints.save(run.state)


class metrics_log(contextlib.AbstractContextManager):
    """Metrics to `metrics.jsonl` and TensorBoard."""

    def __init__(self, workdir: pathlib.Path):
        self.lines = open(workdir / 'metrics.jsonl', 'a', buffering=1)
        self.board = tensorboardX.SummaryWriter(str(workdir / 'tensorboard'))

    def write(self, step: int, values: dict[str, float], prefix: str = 'train') -> None:
        """One line, one point per curve."""
        self.lines.write(json.dumps({'step': step, **values}) + '\n')
        for name, value in values.items():
            self.board.add_scalar(f'{prefix}/{name}', value, step)

    def __exit__(self, *_):
        self.lines.close()
        self.board.close()
