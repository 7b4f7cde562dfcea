"""Joint training, personalization to unseen people, and the table: the main job.

    python -m ttp_jax.main --config=configs/joint.py                  # drawn people, two cores
    python -m ttp_jax.main --config=configs/joint.py:drawn_large      # a GPU, or patience
    python -m ttp_jax.main --config=configs/joint.py:penn_action --config.data.root=FOLDER
    python -m ttp_jax.main --config=configs/joint.py:coco --config.data.root=LABELS
    python -m ttp_jax.main --config=configs/joint.py:deeplabcut --config.data.root=PROJECT

The last two take labels of your own, of any joints, people or animals, and start from the network
of people that comes with the package: docs/own_labels.md. Variants `human36m` and `bbc_pose` run as
`penn_action` does, all three at the small size of the drawn people; configs/paper.py has the same
three at the paper's. ttp_jax/run/defaults.py says what each key means.
"""

import functools

from ml_collections import ConfigDict

import ttp_jax
from ttp_jax.data.sets import OWN, RECORDED
from ttp_jax.files import checkpoint
from ttp_jax.run import defaults


def get_config(variant: str = 'drawn') -> ConfigDict:
    variants = {'drawn': drawn, 'drawn_large': drawn_large} | {
        name: functools.partial(recorded, name) for name in RECORDED
    }
    variants |= {name: functools.partial(own_labels, name) for name in OWN}
    if variant not in variants:
        raise ValueError(f'configs/joint.py: no variant {variant!r}; known: {", ".join(variants)}')
    return variants[variant]()


def drawn() -> ConfigDict:
    """The main job; its guard was fitted on four runs of it, and only estimates."""
    config = defaults.small()
    config.personalize.guard = 'drawn'
    return config


def drawn_large() -> ConfigDict:
    """More people, a wider model, a longer run: 90.0 on 48 unseen people before personalization."""
    config = defaults.small()
    config.data.update({'train_people': 1024, 'test_people': 48})
    config.model.update({'width': 32, 'features': 128, 'image_width': 16})
    config.train.update({'steps': 8000, 'rebuilt_every': 1})
    # Nearly right, it has little to gain; steps that a poorer network needs would tear it apart.
    config.personalize.offline.update(config.personalize.online.to_dict())
    return config


def recorded(name: str) -> ConfigDict:
    """A data set's own folder at the small size: a run that two cores can finish."""
    config = defaults.small()
    config.data.update({'name': name, 'train_people': 0, 'test_people': 0})
    config.train.update({'steps': 1500, 'rebuilt_every': 1})
    config.personalize.online.epochs = 1  # clips are many, and some are long
    config.personalize.offline.update(config.personalize.online.to_dict())
    return config


def own_labels(name: str) -> ConfigDict:
    """Labels that somebody brings, few of them: the network of people learns their joints."""
    config = defaults.as_trained(checkpoint.config_beside(str(ttp_jax.PEOPLE)))
    config.checkpoint = str(ttp_jax.PEOPLE)
    config.data.update({'name': name, 'train_people': 0, 'test_people': 0, 'validation': 0.2})
    config.data.frames = 100 if name == 'deeplabcut' else 0
    config.train.update(
        {'steps': 600, 'rebuilt_every': 1, 'learning_rate': 3e-4, 'drops': (), 'warmup': 30}
    )
    config.train.save_every = 200
    config.personalize.schedules = ('online', 'offline')
    return config
