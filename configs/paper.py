"""The paper's setting: ResNet-50, 128 x 128 pixels, 30 self-supervised keypoints, 140 epochs.

    python -m ttp_jax.main --config=configs/paper.py:penn_action --config.data.root=FOLDER \
        --config.perceptual.weights=vgg16.npz --config.train.encoder_weights=resnet50.pth

What the authors' release reports of Penn Action, and so what this should print (mPCK@0.2):

    before 86.283    online 87.660    offline 88.633

The release's encoder starts from ImageNet weights, torchvision's file. Variants `human36m` and
`bbc_pose` run likewise: the release has no numbers and no settings for these, so they are Penn
Action's, steps included. With data that `python -m ttp_jax.data.prepare` wrote,
`--config.data.prepared=DATA_DIR` takes the place of `--config.data.root`. All values:
`paper` in ttp_jax/run/defaults.py.
"""

from ml_collections import ConfigDict

from ttp_jax.run import defaults


def get_config(variant: str = 'penn_action') -> ConfigDict:
    return defaults.paper(variant, file='configs/paper.py')
