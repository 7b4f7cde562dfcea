"""Whether a workdir or a checkpoint goes with a config."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ttp_jax.data import sets
from ttp_jax.run import defaults
from ttp_jax.run.keys import affects, flat


def check_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Makes the folder; raises ValueError where a run of another config has begun in it.

    Keys that change no result may differ; one that was not there yet counts as at its default.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    path, mine = workdir / 'config.json', json.loads(config.to_json())
    if path.is_file():
        standard = flat(json.loads(defaults.small().to_json()))
        theirs, now = standard | flat(json.loads(path.read_text())), flat(mine)
        for name in filter(affects, sorted({*now, *theirs})):
            if now.get(name) != theirs.get(name):
                raise ValueError(
                    f'{path}: config.{name} is {theirs.get(name)!r} there and '
                    f'{now.get(name)!r} now; choose another --workdir'
                )


def check_same_model(path: str, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Raises ValueError where a checkpoint's config is of another model, saying what to set.

    Args:
      theirs, mine: as `flat` gives them. Dropout may differ: it is of training, not of the model.
    """
    joints = {name: len(sets.labels(name)[0].joints) for name in sets.LOADERS}
    name = mine['data.name']
    if (found := theirs.get('model.joints', joints[name])) != joints[name]:
        fitting = ' or '.join(n for n in joints if joints[n] == found) or 'another'
        raise ValueError(
            f'checkpoint {path}: its model has {found} joints, config.data.name='
            f'{name} has {joints[name]}; set it to {fitting}'
        )
    of_model = [n for n in mine if n.startswith('model.') or n == 'crop.bgr']
    other = [n for n in of_model if theirs.get(n, mine[n]) != mine[n] and n != 'model.dropout']
    if other:
        raise ValueError(
            f'checkpoint {path}: its model is not the one of this config; set '
            + ' '.join(f'--config.{n}={theirs[n]}' for n in other)
            + f' (found {", ".join(str(mine[n]) for n in other)})'
        )


def settings_of(config: ConfigDict, phase: str) -> dict[str, Any]:
    """The values that a phase's results depend on, by key."""
    return {key: v for key, v in flat(config.to_dict()).items() if phase in affects(key)}
