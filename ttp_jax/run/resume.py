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
        theirs, now = standard | flat(read_config(path)), flat(mine)
        for name in filter(affects, sorted({*now, *theirs})):
            if now.get(name) != theirs.get(name):
                raise ValueError(
                    f'{path}: config.{name} is {theirs.get(name)!r} there and '
                    f'{now.get(name)!r} now; choose another --workdir'
                )


def read_config(path: pathlib.Path) -> dict[str, Any]:
    """A workdir's `config.json`; raises ValueError, naming it, where it cannot be read."""
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        found = error
    if not isinstance(found, dict):
        raise ValueError(f'{path}: holds no config ({found!r:.80}); choose another --workdir')
    return found


def check_same_model(path: str, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Raises ValueError where a checkpoint's config is of another model, saying what to set.

    Args:
      theirs, mine: as `flat` gives them. Dropout may differ: it is of training, not of the model.
    """
    name, expected = mine['data.name'], len(joints_of(mine))
    if (found := theirs.get('model.joints', len(joints_of({**mine, **theirs})))) != expected:
        known = {n: len(sets.labels(n)[0].joints) for n in sets.LOADERS if n not in sets.OWN}
        fitting = ' or '.join(n for n, joints in known.items() if joints == found) or 'another'
        raise ValueError(
            f'checkpoint {path}: its model has {found} joints, config.data.name='
            f'{name} has {expected}; set it to {fitting}'
        )
    of_model = [n for n in mine if n.startswith('model.') or n == 'crop.bgr']
    other = [n for n in of_model if theirs.get(n, mine[n]) != mine[n] and n != 'model.dropout']
    if other:
        raise ValueError(
            f'checkpoint {path}: its model is not the one of this config; set '
            + ' '.join(f'--config.{n}={theirs[n]}' for n in other)
            + f' (found {", ".join(str(mine[n]) for n in other)})'
        )


def joints_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the joints of a run, by its config as `flat` gives it."""
    text, root = values.get('data.skeleton', ''), values.get('data.root', '')
    return sets.labels(values['data.name'], skeleton=text, root=root)[0].joints


def settings_of(config: ConfigDict, phase: str) -> dict[str, Any]:
    """The values that a phase's results depend on, by key."""
    return {key: v for key, v in flat(config.to_dict()).items() if phase in affects(key)}
