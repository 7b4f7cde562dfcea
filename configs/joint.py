"""Joint training, personalization to unseen people, and the table: the main job.

    python -m ttp_jax.main --config=configs/joint.py                  # drawn people, two cores
    python -m ttp_jax.main --config=configs/joint.py:drawn_large      # a GPU, or patience
    python -m ttp_jax.main --config=configs/joint.py:penn_action --config.data.root=FOLDER

Variants `human36m` and `bbc_pose` run as `penn_action` does, all three at the small size of the
drawn people; configs/paper.py has the same three at the paper's. ttp_jax/run/defaults.py says what
each key means.
"""

import functools

from ml_collections import ConfigDict

from ttp_jax.data.sets import RECORDED
from ttp_jax.run import defaults


def get_config(variant: str = 'drawn') -> ConfigDict:
    variants = {'drawn': drawn, 'drawn_large': drawn_large} | {
        name: functools.partial(recorded, name) for name in RECORDED
    }
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
