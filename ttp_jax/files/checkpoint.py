"""Orbax checkpoints of the training state: save, resume, start from another run's.

Contract: a checkpoint folder holds one numbered folder per saved step, each a tree of named arrays
without any device axis; in an object store one object for each step (`checkpoint_store`). Loading
never guesses: every array is checked by name and shape against the model that asks for it, before
anything is read.
"""

import contextlib
import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import flax.serialization
import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp

from ttp_jax import places
from ttp_jax.files import checkpoint_store, packed, whole_file
from ttp_jax.train import TrainState

Flat = dict[str, jax.ShapeDtypeStruct]


class Checkpoints:
    """The checkpoints of one run, under `folder`; keeps the newest `keep`.

    Raises ValueError for a folder whose checkpoints cannot be told apart.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 2):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self.folder, self.keep, self._local = folder, keep, None
        if places.in_store(folder):
            self._local = tempfile.TemporaryDirectory()
        else:
            self.folder = folder.absolute()
        near = pathlib.Path(self._local.name) if self._local else self.folder
        try:
            self._manager = ocp.CheckpointManager(near, options=options)
        except (ValueError, TypeError, KeyError) as error:
            told = f'{self.folder}: cannot be read as checkpoints ({_first_line(error)})'
            raise ValueError(told) from error

    def latest(self) -> int | None:
        """The newest saved step, or None."""
        return newest_step(self.folder) if self._local else self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Saves in the background what `state` is now; the same step is saved once.

        Raises ValueError, and saves nothing, where an array of it is not finite, naming it.
        """
        step = int(state.step)
        if step != self.latest():
            tree = jax.tree.map(np.asarray, flax.serialization.to_state_dict(state))
            self._check_finite(step, tree)
            with whole_file.telling(self.folder / str(step)):
                self._manager.save(step, args=ocp.args.StandardSave(_without_empty(tree)))
            self._upload(step)

    def _upload(self, step: int) -> None:
        """Stores a step that is saved here, where the folder is in a store; the first process."""
        if self._local:
            self.wait()
            if jax.process_index() == 0:
                near = pathlib.Path(self._local.name) / str(step)
                checkpoint_store.upload(near, self.folder, keep=self.keep)

    def _check_finite(self, step: int, tree: Any) -> None:
        for name, array in flat(_without_empty(tree)).items():
            if not np.isfinite(np.asarray(array)).all():
                raise ValueError(
                    f'{self.folder / str(step)}: not saved, {name} is not finite after this step; '
                    f'the newest checkpoint is of step {self.latest()}'
                )

    def wait(self) -> None:
        """Returns when everything is on disk. Raises ValueError where that is full."""
        with whole_file.telling(self.folder):
            self._manager.wait_until_finished()

    def restore(self, like: TrainState) -> TrainState:
        """The newest state, in the shape of `like`.

        Raises:
          ValueError: as `read` does.
        """
        tree = read(self.folder, flax.serialization.to_state_dict(like))
        return flax.serialization.from_state_dict(like, tree)

    def close(self) -> None:
        """Waits, and lets go of the folder."""
        self._manager.close()


def load_model(path: str, like: TrainState, *, loss_means: bool = True) -> TrainState:
    """`like` with the parameters, batch statistics and loss means of another run's checkpoint.

    Args:
      path: a workdir, its `checkpoints` folder, one step's folder, or a file of `packed`. The
        optimiser's state stays that of `like`, and so do the loss means unless `loss_means`.

    Raises:
      ValueError: as `read` does.
    """
    parts = ('params', 'batch_stats') + ('loss_means',) * loss_means
    wanted = {k: v for k, v in flax.serialization.to_state_dict(like).items() if k in parts}
    if packed.is_packed(path):
        return dataclasses.replace(like, **packed.read(path, wanted))
    return dataclasses.replace(like, **read(places.place(path), wanted))


def newest_step(folder: pathlib.Path) -> int | None:
    """The newest step that is saved in a folder of checkpoints; nothing of Orbax is started."""
    if places.in_store(folder):
        return max(checkpoint_store.steps(folder), default=None)
    steps = [int(path.name) for path in folder.glob('*') if path.name.isdigit()]
    return max(steps, default=None)


def config_beside(path: str) -> dict[str, Any]:
    """The `config.json` of the workdir that `path` is, or is in; empty where there is none.

    Args:
      path: as for `load_model`.

    Raises:
      ValueError: when it has no checkpoint or the file is not JSON.
    """
    if packed.is_packed(path):
        return packed.read_config(path)
    checkpoints = _folder(places.place(path))
    file = checkpoints.parent / 'config.json'
    if checkpoints.name != 'checkpoints' or not file.is_file():
        return {}
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f'{file}: cannot be read ({_first_line(error)})') from None


def read(folder: pathlib.Path, wanted: Any) -> Any:
    """The newest checkpoint under `folder` as a tree shaped like `wanted`.

    Raises:
      ValueError: when there is none, when it cannot be read, or when an array that `wanted` names
        is missing or has another shape.
    """
    with _near(folder) as step:
        return _read(step, wanted)


def _read(step: pathlib.Path, wanted: Any) -> Any:
    found = _metadata(step)
    _check(step, found, flat(_without_empty(wanted)))
    return _like(_restored(step, found), wanted)


def read_everything(folder: pathlib.Path) -> Any:
    """The newest checkpoint under `folder` as it was saved. Raises ValueError as `read` does."""
    with _near(folder) as step:
        return _restored(step, _metadata(step))


@contextlib.contextmanager
def _near(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The newest step's array folder at or under `folder`, on this machine while it is read."""
    if not places.in_store(folder):
        yield _newest(folder.absolute())
        return
    stored = _folder(folder)
    with tempfile.TemporaryDirectory() as target:
        step = checkpoint_store.steps(stored)[-1]
        yield checkpoint_store.download(stored, step, pathlib.Path(target)) / 'default'


def _folder(path: pathlib.Path) -> pathlib.Path:
    """The folder of checkpoints that `path` is, or has, or is a step of. Raises ValueError."""
    if not places.in_store(path):
        return _newest(path.absolute()).parents[1]
    for base in (path, path / 'checkpoints'):
        if checkpoint_store.steps(base):
            return base
    raise ValueError(f'checkpoint {path}: no checkpoint there, expected a workdir in the store')


def _metadata(step: pathlib.Path) -> Flat:
    """The shapes and types of a checkpoint's arrays, by name."""
    try:
        return flat(ocp.StandardCheckpointer().metadata(step).item_metadata.tree)
    except Exception as error:  # Orbax raises whatever its storage layer does
        raise ValueError(f'checkpoint {step}: cannot be read ({_first_line(error)})') from None


def _restored(step: pathlib.Path, found: Flat) -> Any:
    arrays = flax.traverse_util.unflatten_dict(
        {tuple(k.split('/')): jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in found.items()}
    )
    try:
        return ocp.StandardCheckpointer().restore(step, arrays)
    except Exception as error:
        raise ValueError(f'checkpoint {step}: cannot be read ({_first_line(error)})') from None


def _newest(folder: pathlib.Path) -> pathlib.Path:
    """The newest step's array folder at or under `folder`."""
    for base in (folder, folder / 'checkpoints'):
        if (base / 'default').is_dir():
            return base / 'default'
        if (base / '_METADATA').is_file():
            return base
        steps = [p for p in base.glob('*') if p.name.isdigit()] if base.is_dir() else []
        if steps:
            return max(steps, key=lambda p: int(p.name)) / 'default'
    raise ValueError(
        f'checkpoint {folder}: no checkpoint there, expected a workdir with '
        "checkpoints/<step>, or one step's folder"
    )


def _check(step: pathlib.Path, found: Flat, wanted: Flat) -> None:
    for name, array in wanted.items():
        if name not in found:
            raise ValueError(
                f'checkpoint {step.parent}: {name} is missing; '
                'it was made by a model of another shape'
            )
        if tuple(found[name].shape) != tuple(array.shape):
            raise ValueError(
                f'checkpoint {step.parent}: {name} has shape '
                f'{tuple(found[name].shape)}, this model expects {tuple(array.shape)}'
            )


def flat(tree: Any) -> Flat:
    """A tree of arrays as one dict, by names joined with `/`."""
    return flax.traverse_util.flatten_dict(tree, sep='/')


def _without_empty(tree: Any) -> Any:
    """The tree without its empty nodes, which a checkpoint does not store."""
    return flax.traverse_util.unflatten_dict(flax.traverse_util.flatten_dict(tree))


def _like(tree: Any, wanted: Any) -> Any:
    """`tree` cut to what `wanted` names, with the empty nodes that `wanted` has."""
    flat = flax.traverse_util.flatten_dict(tree)
    empty = flax.traverse_util.empty_node
    shape = flax.traverse_util.flatten_dict(wanted, keep_empty_nodes=True)
    return flax.traverse_util.unflatten_dict(
        {k: v if v is empty else flat[k] for k, v in shape.items()}
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
