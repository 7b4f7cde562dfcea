"""The supervised baseline: the paper's encoder and labels alone, nothing to personalize with.

    python -m ttp_jax.main --config=configs/baseline.py:penn_action --config.data.root=FOLDER \
        --config.train.encoder_weights=resnet50.pth

What the authors' release reports of Penn Action, and so what this should print (mPCK@0.2):

    before 85.233

Everything else is as in configs/paper.py, as are the variants.
"""

from ml_collections import ConfigDict

from ttp_jax.run import defaults


def get_config(variant: str = 'penn_action') -> ConfigDict:
    config = defaults.paper(variant, file='configs/baseline.py')
    config.model.variant = 'baseline'
    config.perceptual.kind = 'none'  # nothing is reconstructed
    config.personalize.schedules = ()
    return config
