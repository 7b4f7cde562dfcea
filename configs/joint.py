"""Joint training, personalization to unseen people, and the table: the main job.

    python -m ttp_jax.main --config=configs/joint.py                  # drawn people, two cores
    python -m ttp_jax.main --config=configs/joint.py:drawn_large      # a GPU, or patience
    python -m ttp_jax.main --config=configs/joint.py:penn_action --config.data.root=FOLDER

Variants `human36m` and `bbc_pose` run as `penn_action` does, all three at the small size of the
drawn people; configs/paper.py has the same three at the paper's.
"""

import functools

from ml_collections import ConfigDict

from ttp_jax.data.sets import RECORDED


def get_config(variant: str = 'drawn') -> ConfigDict:
    variants = {'drawn': drawn, 'drawn_large': drawn_large} | {
        name: functools.partial(recorded, name) for name in RECORDED
    }
    if variant not in variants:
        raise ValueError(f'configs/joint.py: no variant {variant!r}; known: {", ".join(variants)}')
    return variants[variant]().lock()


def drawn() -> ConfigDict:
    """Drawn people at a size for two cores."""
    return ConfigDict(
        {
            'seed': 0,
            'checkpoint': '',  # a workdir to start from; with train.steps = 0 it is only personalized
            'data': {
                'name': 'drawn',
                'root': '',  # penn_action: the folder with frames/ and labels/
                'motion': '',  # drawn: a folder of Penn Action labels to take the motion from
                'prepared': '',  # folders: where `python -m ttp_jax.data.prepare` put them, instead of root
                'roots': (),  # mixed: folders in penn_action's layout, the first with people's labels
                'drawn_people': 0,  # mixed: so many drawn people are trained on as well
                'validation': 0.0,  # mixed: share of source videos that is kept out of training
                'evaluate': 'test',  # mixed: or 'validation' or 'train', what is personalized to
                'train_people': 16,  # 0: everyone (folders only)
                'test_people': 12,
                'frames': 24,  # per drawn clip
                'size': 112,  # of drawn frames, pixels
                'resident_gib': 8.0,  # a split that takes more is read while it is used
                'workers': 0,  # processes that then read training frames; 0: threads
            },
            'crop': {'size': 64, 'bgr': False},
            'model': {
                'variant': 'transformer',
                'keypoints': 24,
                'depth': 18,
                'stages': 4,  # of the ResNet; 3 leave out the last one
                'width': 24,
                'stem_pool': False,
                'deconvolutions': 3,
                'features': 64,
                'image_width': 12,
                'image_stride': 1,  # 2: images are rebuilt, and compared, at half their size
                'heads': 4,
                'feedforward': 256,
                'dropout': 0.1,
                'sigma': 2.0,
            },
            'perceptual': {'kind': 'random', 'weights': '', 'seed': 0},
            'train': {
                'encoder_weights': '',  # a file of torchvision's ResNet that the encoder starts from
                'steps': 1800,
                'batch': 16,
                'lowering': 'auto',  # of convolutions: what suits the backend, or as in layers.py
                'dtype': 'float32',  # or 'bfloat16': what networks compute in; parameters stay float32
                'learning_rate': 1e-3,
                'drops': (90 / 140, 120 / 140),  # where the rate falls tenfold; (): along a cosine
                'warmup': 0,  # steps in which the rate rises before it falls along a cosine
                'objective': '',  # the task without labels: '' for the model variant's own
                'reconstruction_weight': 1e-3,  # of that task's loss, whichever it is
                'colour_std': 0.0,  # how far brightness, contrast and tint are changed in training
                # Half the paper's rotation and scale: a short run has no time to learn what it never meets.
                'augment': {
                    'scale_std': 0.15,
                    'rotation_std': 15.0,
                    'rotation_prob': 0.6,
                    'flip_prob': 0.5,
                },
                'log_every': 20,
                'save_every': 500,
            },
            'personalize': {
                'schedules': ('online', 'offline'),
                'objective': '',  # what people are adapted by: '' for what training used
                'batch': 8,
                'frozen': (),  # patterns of parameter paths; empty: what the paper freezes
                'people_per_chunk': 0,  # adapted at once; 0: as many as fit, on a CPU one a core
                'lowering': 'auto',
                'dtype': 'float32',
                # A small model cannot draw a stranger. Until it can, keypoints had better not follow
                # what it draws: experiments/README.md.
                'online': {
                    'epochs': 2,  # steps per frame
                    'images_first': 16,  # steps in which only the image networks learn
                    'learning_rate': 5e-5,
                    'image_learning_rate': 3e-4,
                },  # of the image encoders and the renderer
                'offline': {
                    'epochs': 5,
                    'images_first': 40,
                    'learning_rate': 2e-4,
                    'image_learning_rate': 1e-3,
                },
            },
            'pictures': 4,  # test people to draw before and after
        }
    )


def drawn_large() -> ConfigDict:
    """More people, a wider model, a longer run: 90.0 on 48 unseen people before personalization."""
    config = drawn()
    config.data.train_people = 1024
    config.data.test_people = 48
    config.model.width = 32
    config.model.features = 128
    config.model.image_width = 16
    config.train.steps = 8000
    # Nearly right, it has little to gain; the steps that a poorer network needs would tear it apart.
    config.personalize.offline.update(config.personalize.online.to_dict())
    return config


def recorded(name: str) -> ConfigDict:
    """A data set's own folder at the small size: a run that two cores can finish."""
    config = drawn()
    config.data.update({'name': name, 'train_people': 0, 'test_people': 0})
    config.train.steps = 1500
    config.personalize.online.epochs = 1  # clips are many, and some are long
    config.personalize.offline.update(config.personalize.online.to_dict())
    return config
