"""Real people: several folders of clips and drawn people in one training, then the test clips.

    python experiments/unfold_encoder.py FOLDED.npz ROOT runs/encoder.pth
    python -m ttp_jax.main --config=configs/real.py --workdir=runs/real \
        --config.data.roots="('ROOT', 'TEACHER_ROOT')" \
        --config.data.motion=PENN_ACTION/labels --config.train.encoder_weights=runs/encoder.pth

ROOT holds clips that people labelled, TEACHER_ROOT clips that a pose estimator labelled, both laid
out as ttp_jax/data/mixed.py says, and so may further folders, such as the photographs that
experiments/stills.py lays out; FOLDED.npz is ResNet-18's ImageNet features up to its third
stage. The second command goes on where it was stopped, and ends in the table of the test clips.

People are adapted to the shared network's own predictions (`objectives/followed.py`); with
`--config=configs/real.py:rebuilding` as the paper does.

Whatever is chosen is chosen with `--config.data.evaluate=validation`: clips of the source videos
that training leaves out. 9,000 steps take an hour and a half of one core, on which
`--config.train.lowering=blocked` is the fastest.
"""

from ml_collections import ConfigDict

from ttp_jax.run import defaults

VARIANTS = ('followed', 'rebuilding')  # what people are adapted by


def get_config(variant: str = 'followed') -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f'configs/real.py: no variant {variant!r}; known: {", ".join(VARIANTS)}')
    return defaults.adapted_by(mixed(), '' if variant == 'rebuilding' else variant)


def mixed() -> ConfigDict:
    """A ResNet-18 without its last stage, 4.9 million numbers in all, on crops of 128 pixels."""
    config = defaults.small()
    config.data.update(
        {
            'name': 'mixed',
            'drawn_people': 192,
            'frames': 24,
            'size': 144,
            'validation': 0.15,
            'train_people': 0,
            'test_people': 0,
        }
    )
    config.crop.size = 128
    config.model.update(
        {
            'stages': 3,
            'width': 64,
            'stem_pool': True,
            'deconvolutions': 2,
            'features': 120,
            'image_width': 16,
            'image_stride': 2,
        }
    )
    config.train.update(
        {
            'steps': 9000,
            'rebuilt_every': 1,
            'learning_rate': 5e-4,
            'drops': (),
            'warmup': 300,
            'colour_std': 0.25,
        }
    )
    config.train.augment.update(scale_std=0.25, rotation_std=30.0)
    config.personalize.decoding = 'taylor'
    # A good network has little to gain; the steps that a poorer one needs would tear it apart.
    config.personalize.online.epochs = 1
    config.personalize.offline.update(config.personalize.online.to_dict())
    return config
