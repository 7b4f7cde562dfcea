"""Whether a config can be run, found out before anything is loaded, drawn or compiled.

`check` tries every value by itself against the table of `keys`, then the rules that join several.
Whatever is wrong is told in one line: the key, what was found, and what is allowed.
"""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from ttp_jax.data import pairs, sets, skeletons
from ttp_jax.data.skeletons import Skeleton
from ttp_jax.files import personal
from ttp_jax.networks import perceptual
from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives import registry
from ttp_jax.objectives.objective import Objective
from ttp_jax.run import hosts
from ttp_jax.run.keys import KEYS, flat, shown

# How frames come into memory, which is the run's business and no data set's.
READING = ('resident_gib', 'workers')
# A drawn clip needs a source beside its target, and pixels to draw on.
DRAWN_AT_LEAST = {'frames': 2, 'size': 32}


def check(config: ConfigDict, *, devices: int = 1) -> None:
    """Raises ValueError for a config that cannot be run; devices: among which training is split."""
    check_keys(flat(config.to_dict()))
    hosts.check(config)
    check_data(config)
    check_start(config)
    check_features(config)
    check_networks(config)
    check_objectives(config)
    check_parts(config)
    check_steps(config, devices=devices)


def check_keys(values: dict[str, Any]) -> None:
    """Raises ValueError unless `values` has the table's keys, no others, with allowed values."""
    for key, (rule, _) in KEYS.items():
        if key not in values:
            raise ValueError(f'config.{key} is missing; ttp_jax/run/defaults.py has it')
        if wrong := rule(values[key]):
            raise ValueError(f'config.{key}{wrong}')
    for key in values:
        if key not in KEYS:
            raise ValueError(f'config.{key} is set, but no such key is read')


def data_options(config: ConfigDict) -> dict[str, Any]:
    """The options of the data set, as `sets.load` takes them."""
    return {key: value for key, value in config.data.items() if key not in READING}


def check_data(config: ConfigDict) -> None:
    """Raises for a folder that is missing, options that would be ignored, and empty splits."""
    sets.check(**data_options(config))
    at_least = {}
    if config.data.name == 'drawn':
        at_least = DRAWN_AT_LEAST | {'test_people': 1, 'train_people': min(1, config.train.steps)}
    elif config.data.drawn_people:
        at_least = DRAWN_AT_LEAST
    for key, low in at_least.items():
        if config.data[key] < low:
            raise ValueError(
                f'config.data.{key} is {config.data[key]}, expected at least {low} for drawn people'
            )
    if config.data.evaluate == 'validation' and not config.data.validation:
        raise ValueError(
            "config.data.evaluate is 'validation', expected config.data.validation above 0: "
            'a part of the source videos that is kept for it'
        )


def check_start(config: ConfigDict) -> None:
    """Raises for weights to start from that cannot be taken."""
    weights, steps = config.train.encoder_weights, config.train.steps
    if config.checkpoint and weights:
        raise ValueError(
            f'config.checkpoint is {shown(config.checkpoint)} and config.train.encoder_weights '
            f'{shown(weights)}: both set, expected one; a checkpoint has an encoder already'
        )
    if not config.checkpoint and not steps:
        raise ValueError(
            'config.train.steps is 0 and config.checkpoint is not set, expected steps to train or '
            'a checkpoint that was trained'
        )


def check_features(config: ConfigDict) -> None:
    """Raises for weights that the perceptual network lacks or would ignore."""
    kind, weights = config.perceptual.kind, config.perceptual.weights
    if kind in perceptual.FROM_FILE and not weights:
        raise ValueError(
            f'config.perceptual.weights is not set, expected a file of the weights that '
            f'config.perceptual.kind={kind} needs'
        )
    if kind not in perceptual.FROM_FILE and weights:
        raise ValueError(
            f'config.perceptual.weights is {shown(weights)}, which config.perceptual.kind={kind} '
            "has no use for, expected ''"
        )


def labels_of(config: ConfigDict) -> tuple[Skeleton, bool]:
    """(joints, box convention) of the config's data."""
    data = config.data
    return sets.labels(data.name, skeleton=data.skeleton, root=data.root)


def with_own_labels(config: ConfigDict, workdir: pathlib.Path) -> ConfigDict:
    """The config with what the data name themselves: joints and bones travel with the model.

    workdir: for frames of videos, where they have no folder.
    """
    if config.data.name not in sets.OWN:
        return config
    whole = config.copy_and_resolve_references()
    if not config.data.skeleton:
        sets.check(**data_options(config))  # raises where there is nothing to read
        whole.data.skeleton = skeletons.to_text(labels_of(config)[0])
    if config.data.name == 'deeplabcut' and not config.data.cut_outs:
        whole.data.cut_outs = str(workdir / 'cut_outs')
    return whole


def model_of(config: ConfigDict) -> PoseModel:
    """The model that the config describes; nothing is computed."""
    skeleton, _ = labels_of(config)
    return PoseModel(joints=len(skeleton.joints), **config.model)


def crop_spec(config: ConfigDict) -> pairs.CropSpec:
    """How crops are made, as the config says."""
    _, subtract_one = labels_of(config)
    return pairs.CropSpec(
        config.crop.size,
        model_of(config).cells(config.crop.size),
        bgr=config.crop.bgr,
        subtract_one=subtract_one,
        sigma=config.model.sigma,
    )


def saved_form(config: ConfigDict) -> personal.Form | None:
    """How personal weights are saved; None where they are not."""
    how = config.personalize
    kept = how.save_weights
    return personal.Form(kept, how.save_rank, tuple(how.save_layers)) if kept else None


def adapting_objective(config: ConfigDict, model: PoseModel) -> Objective | None:
    """What people are adapted by: the config's choice, or else what training used."""
    chosen = registry.choose(config.personalize.objective, model)
    return chosen or registry.choose(config.train.objective, model)


def check_networks(config: ConfigDict) -> None:
    """Raises for sizes that do not go together."""
    model = model_of(config)
    try:
        model.cells(config.crop.size)
    except ValueError as error:
        raise ValueError(
            f'config.crop.size: {error} (config.model.stages is {model.stages}, '
            f'config.model.stem_pool {model.stem_pool}, config.model.image_stride '
            f'{model.image_stride})'
        ) from None
    heads, features = config.model.heads, config.model.features
    if config.model.variant == 'transformer' and features % heads:
        raise ValueError(
            f'config.model.heads is {heads}, expected a divisor of config.model.features, '
            f'which is {features}'
        )


def check_objectives(config: ConfigDict) -> None:
    """Raises for tasks that the model has no heads for, or schedules without any task."""
    chosen = {}
    for phase in ('train', 'personalize'):
        try:
            chosen[phase] = registry.choose(config[phase].objective, model_of(config))
        except ValueError as error:
            raise ValueError(f'config.{phase}.objective: {error}') from None
    schedules, variant = config.personalize.schedules, config.model.variant
    task = chosen['personalize'] or chosen['train']
    if schedules and not task:
        raise ValueError(
            f'config.personalize.schedules is {tuple(schedules)}, but config.model.variant '
            f'{variant!r} has no task of its own to learn from without labels; set '
            "--config.personalize.schedules='()' or --config.personalize.objective=entropy"
        )
    if config.personalize.least_gap and task and task.name != 'reconstruction':
        raise ValueError(
            f'config.personalize.least_gap is {config.personalize.least_gap}, expected 0: only of '
            f"rebuilding is training people's loss known, not of objective {task.name!r}"
        )
    if config.train.steps and chosen['train'] and chosen['train'].taught:
        raise ValueError(
            f'config.train.objective is {config.train.objective!r}, expected one of training: it '
            "learns from predictions of a test person's whole clip"
        )


def check_parts(config: ConfigDict) -> None:
    """Raises for parts that a batch cannot be cut into, and a task that needs a batch whole."""
    how, task = config.personalize, adapting_objective(config, model_of(config))
    if how.batch % how.parts:
        raise ValueError(
            f'config.personalize.parts is {how.parts}, expected a divisor of '
            f'config.personalize.batch, which is {how.batch}'
        )
    if how.parts > 1 and task and not task.by_image:
        raise ValueError(
            f'config.personalize.parts is {how.parts}, expected 1: objective {task.name!r} '
            'compares statistics of a whole batch'
        )


def check_steps(config: ConfigDict, *, devices: int) -> None:
    """Raises for a warmup that is ignored or never ends, and a batch that devices cannot split."""
    train = config.train
    if train.warmup and train.drops:
        raise ValueError(
            f'config.train.warmup is {train.warmup}, which config.train.drops={tuple(train.drops)} '
            'has no use for, expected 0, or no drops: ()'
        )
    if train.warmup and train.warmup >= train.steps > 0:
        raise ValueError(
            f'config.train.warmup is {train.warmup}, expected less than config.train.steps, '
            f'which is {train.steps}'
        )
    if train.steps and train.batch % (devices * train.rebuilt_every):
        raise ValueError(
            f'config.train.batch is {train.batch}, expected a multiple of '
            f'{devices * train.rebuilt_every}, the number of devices that share it times '
            'config.train.rebuilt_every'
        )
