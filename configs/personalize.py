"""Only personalization, of a checkpoint that is there already, such as the authors' own.

    python -m ttp_jax.convert final_state.pth joint
    python -m ttp_jax.main --config=configs/personalize.py:online --config.checkpoint=joint \
        --config.data.root=FOLDER --config.perceptual.weights=vgg16.npz

What the authors' release reports of Penn Action, and so what this should print (mPCK@0.2):

    :online     before 86.283    online 87.660
    :offline    before 86.283    offline 88.633

The settings are those of configs/paper.py. For another data set, add `--config.data.name=human36m`
or `--config.data.name=bbc_pose`.
"""

from ml_collections import ConfigDict

from ttp_jax.personalize.schedules import SCHEDULES
from ttp_jax.run import defaults


def get_config(variant: str = 'online') -> ConfigDict:
    if variant not in SCHEDULES:
        raise ValueError(
            f'configs/personalize.py: no variant {variant!r}; known: {", ".join(SCHEDULES)}'
        )
    config = defaults.paper('penn_action', file='configs/personalize.py')
    config.train.steps = 0
    config.personalize.schedules = (variant,)
    return config
