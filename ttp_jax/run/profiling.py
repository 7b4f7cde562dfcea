"""A profile of some training steps: what the host and the devices did when.

Read it with TensorBoard's profiler or with Perfetto (https://ui.perfetto.dev).
"""

import contextlib
import pathlib

import jax

from ttp_jax.train import TrainState


class Profile(contextlib.AbstractContextManager):
    """A trace of the steps from the first to the last of `steps`, into `folder`; none for ().

    Steps count from 1.
    """

    def __init__(self, folder: pathlib.Path, steps: tuple[int, ...]):
        self.folder, self.steps, self.runs = folder, steps, False

    def before(self, step: int, state: TrainState) -> None:
        """To be called before every step, with the state it starts from, and after the last."""
        if self.runs and step > self.steps[1]:
            self.stop(state)
        if self.steps and step == self.steps[0]:
            jax.block_until_ready(state)  # earlier steps are not to be seen
            jax.profiler.start_trace(str(self.folder))
            self.runs = True

    def stop(self, state: TrainState | None = None) -> None:
        """Ends the trace, once `state` is there."""
        jax.block_until_ready(state)
        jax.profiler.stop_trace()
        self.runs = False

    def __exit__(self, *_):
        if self.runs:
            self.stop()
