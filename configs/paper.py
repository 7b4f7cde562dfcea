"""The paper's setting: ResNet-50, 128 x 128 pixels, 30 self-supervised keypoints, 140 epochs.

    python -m ttp_jax.main --config=configs/paper.py:penn_action --config.data.root=FOLDER \
        --config.perceptual.weights=vgg16.npz --config.train.encoder_weights=resnet50.pth

What the authors' release reports of Penn Action, and so what this should print (mPCK@0.2):

    before 86.283    online 87.660    offline 88.633

The release's encoder starts from ImageNet weights, torchvision's file. Variants `human36m` and
`bbc_pose` run likewise: the release has no numbers and no settings for these, so they are Penn
Action's, steps included. With data that `python -m ttp_jax.data.prepare` wrote,
`--config.data.prepared=DATA_DIR` takes the place of `--config.data.root`.
"""

from ml_collections import ConfigDict

from ttp_jax.data.sets import RECORDED

EPOCHS = 140
STEPS_PER_EPOCH = 2736  # of 32 of the 87,543 frames of Penn Action's 1,258 training videos

# One step per frame, all networks at one rate and from the first step on.
ADAPTATION = {'epochs': 1, 'images_first': 0, 'learning_rate': 1e-4, 'image_learning_rate': 1e-4}


def get_config(variant: str = 'penn_action') -> ConfigDict:
    return paper(variant, file='configs/paper.py').lock()


def paper(data_set: str, *, file: str) -> ConfigDict:
    """The release's settings. Raises ValueError for a `data_set` that `file` has no variant for."""
    if data_set not in RECORDED:
        raise ValueError(f'{file}: no variant {data_set!r}; known: {", ".join(RECORDED)}')
    return ConfigDict(
        {
            'seed': 0,
            'checkpoint': '',  # a workdir to start from; with train.steps = 0 it is only personalized
            'data': {
                'name': data_set,
                'root': '',  # the data set's own folder; each module in ttp_jax/data says its layout
                'prepared': '',  # or the data_dir that ttp_jax.data.prepare wrote
                'roots': (),
                'drawn_people': 0,
                'validation': 0.0,
                'evaluate': 'test',  # these four of mixed data only
                'train_people': 0,  # everyone
                'test_people': 0,
                'motion': '',
                'frames': 0,
                'size': 0,  # of drawn people only
                'resident_gib': 8.0,  # a split that takes more is read while it is used: Penn Action's
                'workers': 0,  # processes that then read training frames; 0: threads
            },
            'crop': {'size': 128, 'bgr': True},  # the release's checkpoints expect BGR
            'model': {
                'variant': 'transformer',
                'keypoints': 30,
                'depth': 50,
                'stages': 4,
                'width': 64,
                'stem_pool': True,
                'deconvolutions': 3,
                'features': 256,
                'image_width': 32,
                'image_stride': 1,  # images are rebuilt at their own size
                'heads': 4,
                'feedforward': 1024,
                'dropout': 0.1,
                'sigma': 2.0,
            },
            'perceptual': {'kind': 'vgg16', 'weights': '', 'seed': 0},
            'train': {
                'encoder_weights': '',  # a file of torchvision's ResNet that the encoder starts from
                'steps': EPOCHS * STEPS_PER_EPOCH,
                'batch': 32,
                'lowering': 'auto',  # of convolutions: what suits the backend, or as in layers.py
                'dtype': 'float32',
                'learning_rate': 1e-3,
                'drops': (90 / EPOCHS, 120 / EPOCHS),
                'warmup': 0,
                'objective': '',  # the task without labels: '' for the model variant's own
                'reconstruction_weight': 1e-3,  # of that task's loss, whichever it is
                'colour_std': 0.0,  # images keep their colours
                'augment': {
                    'scale_std': 0.25,
                    'rotation_std': 30.0,
                    'rotation_prob': 0.6,
                    'flip_prob': 0.5,
                },
                'log_every': 100,
                'save_every': STEPS_PER_EPOCH,
            },
            'personalize': {
                'schedules': ('online', 'offline'),
                'objective': '',  # what people are adapted by: '' for what training used
                'batch': 32,
                'frozen': (),  # what the paper freezes
                'people_per_chunk': 0,  # as many as fit
                'lowering': 'auto',
                'dtype': 'float32',
                'online': dict(ADAPTATION),
                'offline': dict(ADAPTATION),
            },
            'pictures': 4,
        }
    )
