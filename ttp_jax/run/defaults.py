"""Every key of a config, with what it means and its value; `configs/` picks from here.

`small()` is the main job: drawn people at a size for two cores. `paper(data_set)` is the paper's
setting as the release has it, told by its differences. `run/keys.py` says which values are allowed
and which phases each key has a part in.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

import ttp_jax
from ttp_jax.data.sets import RECORDED
from ttp_jax.run.keys import flat

EPOCHS = 140
STEPS_PER_EPOCH = 2736  # of 32 of the 87,543 frames of Penn Action's 1,258 training videos


def small() -> ConfigDict:
    """Drawn people at a size for two cores. Locked: a misspelt key is an error."""
    return ConfigDict(
        {
            'seed': 0,  # of everything that is drawn: people, parameters, batches, augmentation
            'checkpoint': '',  # a workdir to start from; train.steps = 0 only personalizes it
            'data': _data(),
            'crop': {
                'size': 64,  # side of what the networks see, pixels
                'bgr': False,  # channels in BGR order, as the release's checkpoints expect
            },
            'model': _model(),
            'perceptual': {
                'kind': 'random',  # what reconstructions are compared in: networks/perceptual.py
                'weights': '',  # the file of arrays that 'vgg16' and 'squeezenet' need
                'seed': 0,  # of 'random'
            },
            'train': _train(),
            'personalize': _personalize(),
            # Several processes that personalize side by side; 0 and -1: what the cluster says.
            'hosts': {
                'count': 0,
                'index': -1,  # of this one, from 0
                'coordinator': '',  # address:port of host 0, to train together; '': as found
            },
            'collect': False,  # only join what hosts have done into one report
            'strict': False,  # whether one person who fails makes the whole job one that failed
            'pictures': 4,  # test people to draw before and after
        }
    ).lock()


def completed(values: Mapping[str, Any]) -> ConfigDict:
    """A finished run's config, with defaults for keys that were not there yet, without former ones.

    values: as `flat` gives them.
    """
    config = small()
    known = flat(config.to_dict())
    config.update_from_flattened_dict(
        {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
    )
    return config


def _data() -> dict:
    return {
        'name': 'drawn',  # or a recorded data set: data/sets.py
        'root': '',  # recorded, own labels: the folder, laid out as its module in data/ says
        'skeleton': '',  # own labels: joints and bones, as read from `root`; the run fills it in
        'motion': '',  # drawn: a folder of Penn Action labels to take the motion from
        'prepared': '',  # recorded: where `python -m ttp_jax.data.prepare` put it, instead of root
        'roots': (),  # mixed: folders in penn_action's layout, the first with people's labels
        'drawn_people': 0,  # mixed: so many drawn people are trained on as well
        # mixed: share of source videos that is kept out of training; own labels: of sequences
        # (COCO, one file) or labelled images (DeepLabCut) that is tested on
        'validation': 0.0,
        'evaluate': 'test',  # mixed: or 'validation' or 'train', whom to personalize to
        'input': '',  # video: a file, or a folder or pattern of videos or frames
        'boxes': '',  # video, deeplabcut: a file of boxes; '': the whole picture, or all labels
        'box_jitter': 0.0,  # how far test boxes are moved and scaled, in shares of their side
        'seconds': 0.0,  # video: how much of it is read; 0: all of it
        'cut_outs': '',  # video, deeplabcut: a folder for pictures; deeplabcut: in the workdir
        'train_people': 16,  # 0: everyone (recorded, own labels)
        'test_people': 12,
        'frames': 24,  # drawn: per clip; video: at most; deeplabcut: about
        'size': 112,  # pixels; drawn: side of a frame; video: of what a crop is made of, at most
        'resident_gib': 8.0,  # a split that takes more is read while it is used
        'workers': 0,  # processes that then read training frames; 0: threads
    }


def _model() -> dict:
    return {
        'variant': 'transformer',  # a row of the paper's table: networks/model.py
        'keypoints': 24,  # self-supervised ones
        'depth': 18,  # of the ResNet
        'stages': 4,  # of the ResNet; 3 leave out the last one
        'width': 24,  # channels after its stem; all others of the encoder follow
        'stem_pool': False,  # torchvision's max-pool after the stem; it halves the size once more
        'deconvolutions': 3,  # each doubles the size of the features
        'features': 64,  # their channels
        'image_width': 12,  # channels of the image encoders' first layers; the renderer's follow
        'image_stride': 1,  # 2: images are rebuilt, and compared, at half their size
        'layers': 1,  # of the Transformer
        'heads': 4,  # of its attention; divides `features`
        'feedforward': 256,
        'dropout': 0.1,  # of the Transformer, in training
        'sigma': 2.0,  # of Gaussian heatmaps, cells
    }


def _train() -> dict:
    return {
        'encoder_weights': '',  # a file of torchvision's ResNet that the encoder starts from
        'steps': 1800,
        'batch': 16,
        'lowering': 'auto',  # of convolutions: what suits the backend, or as in networks/layers.py
        'dtype': 'float32',  # or 'bfloat16': what networks compute in; parameters stay float32
        'learning_rate': 1e-3,
        'drops': (90 / EPOCHS, 120 / EPOCHS),  # where the rate falls tenfold; (): along a cosine
        'warmup': 0,  # steps in which the rate rises before it falls along a cosine
        'colour_std': 0.0,  # how far brightness, contrast and tint are changed
        'covered': 0.0,  # the share of images of which the encoder does not see a rectangle
        'objective': '',  # the task without labels: '' for the model variant's own
        'reconstruction_weight': 1e-3,  # of that task's loss, whichever it is
        'rebuilt_every': 2,  # that task learns from every so many-th image of a batch
        # Half the paper's rotation and scale: a short run has no time to learn what it never meets.
        'augment': {
            'scale_std': 0.15,
            'rotation_std': 15.0,  # degrees
            'rotation_prob': 0.6,
            'flip_prob': 0.5,
        },
        'log_every': 20,  # steps
        'save_every': 500,
        'profile': (),  # (first, last): a trace of these steps, into the workdir
    }


def _personalize() -> dict:
    return {
        'schedules': ('online', 'offline'),
        'objective': '',  # what people are adapted by: '' for what training used
        'batch': 8,
        # Of a step's batch, worked off one after the other: less memory, a forward pass more.
        'parts': 1,
        # Names ('norms', 'all but encoder'; personalize/partition.py has them) or patterns of
        # parameter paths; empty: what the paper freezes.
        'frozen': (),
        # What estimates people's gains without labels, and who had better keep the shared
        # predictions: a file of experiments/guard.py, or a name of personalize/guard.py.
        'guard': '',
        # Whoever is rebuilt with less than so many times the loss of training people keeps the
        # shared predictions too: there is little to learn of them. 0: everyone is personalized.
        'least_gap': 0.0,
        'save_weights': '',  # or a kind of files/personal.py: everyone's, as differences; 'int4'
        'save_rank': 32,  # of the matrices that stand for a layer's difference; 0: all of it
        'save_layers': ('all but images',),  # named as in `frozen`: whose differences are saved
        'flip_test': False,  # whether predictions are means over an image and its mirror image
        'test_scales': (),  # of more crops that predictions are means over, such as (0.87, 1.15)
        # How a joint's place inside its heatmap's highest cell is found: 'quarter', as the paper
        # does, or 'taylor', the top of the Gaussian through its neighbours.
        'decoding': 'quarter',
        'follow': False,  # whether joints are followed through a clip; online: from the past alone
        'people_per_chunk': 0,  # adapted at once; 0: as many as fit, on a CPU one a core
        'lowering': 'auto',
        'dtype': 'float32',
        # A small model cannot draw a stranger. Until it can, keypoints had better not follow
        # what it draws: experiments/README.md.
        'online': {
            'epochs': 2,  # steps per frame
            'images_first': 16,  # steps in which only the image networks learn
            'warmup': 0,  # steps in which the rates rise from 0, each when its part begins to learn
            'learning_rate': 5e-5,
            'image_learning_rate': 3e-4,  # of the image encoders and the renderer
        },
        'offline': {
            'epochs': 4,
            'images_first': 32,
            'warmup': 0,
            'falls': False,  # whether rates fall along a line, to nothing at the clip's end
            'learning_rate': 2e-4,
            'image_learning_rate': 1e-3,
        },
    }


# Steps that suit people who learn from followed predictions: chosen on the validation part of real
# clips. Nothing is rebuilt, so nobody waits.
FOLLOWED = {
    'online': {'epochs': 2, 'images_first': 0, 'warmup': 5, 'learning_rate': 5e-5},
    'offline': {'epochs': 2, 'images_first': 0, 'warmup': 5, 'falls': True, 'learning_rate': 1e-4},
}


def adapted_by(config: ConfigDict, objective: str) -> ConfigDict:
    """The config with another objective to personalize by, and steps that suit it; '': as it is."""
    changed = config.copy_and_resolve_references()
    if objective:
        changed.personalize.objective = objective
    if objective == 'followed':
        for schedule, steps in FOLLOWED.items():
            changed.personalize[schedule].update(steps)
    return changed


def video(schedule: str) -> ConfigDict:
    """What somebody says who has a video; networks and crops are those of the checkpoint. Locked.

    schedule: 'online' or 'offline'.
    """
    return ConfigDict(
        {
            'seed': 0,
            'input': '',  # a video, folder or pattern of videos or frames; camera:0; a stream's URL
            'boxes': '',  # CSV, MOTChallenge tracks or COCO detections; '': the whole picture
            'checkpoint': str(ttp_jax.PEOPLE),  # the model to start from; this one finds people
            'schedules': (schedule,),  # 'online', 'offline'; (): only predict
            # What people are adapted by; '': what the checkpoint's run used, with its steps.
            'objective': 'followed',
            'seconds': 0.0,  # how much of it is read; 0: all of it
            'preview': 0.0,  # so many seconds come first, in a folder of their own
            'smoothing': '',  # 'one_euro' or 'savitzky_golay': keypoints_smoothed.csv as well
            'flip_test': True,  # predict from the mean over an image and its mirror image
            'follow': True,  # joints through all frames; online: through the past; not a camera's
            'longest': 600,  # frames; whoever is longer in view is personalized in several parts
            'detail': 1.5,  # pixels kept of a video for each one of a crop, along x and along y
            'pictures': 4,  # people of whom the report shows what the networks see
        }
    ).lock()


# What is taken over from a checkpoint's config: networks, what they see, how people are adapted.
TAKEN = ('model.', 'crop.', 'perceptual.', 'personalize.', 'train.augment.', 'train.objective')


def as_trained(theirs: Mapping[str, Any]) -> ConfigDict:
    """`small()` with the networks, crops and personalization of a checkpoint's config."""
    taken = (*TAKEN, 'data.skeleton')
    return completed({k: v for k, v in flat(theirs).items() if k.startswith(taken)})


def paper(data_set: str, *, file: str) -> ConfigDict:
    """The release's settings: ResNet-50, 128 pixels, 140 epochs.

    Raises:
      ValueError: for a `data_set` that the config file `file` has no variant for.
    """
    if data_set not in RECORDED:
        raise ValueError(f'{file}: no variant {data_set!r}; known: {", ".join(RECORDED)}')
    config = small()
    config.data.update(
        {'name': data_set, 'train_people': 0, 'test_people': 0, 'frames': 0, 'size': 0}
    )
    config.crop.update({'size': 128, 'bgr': True})
    config.model.update(
        {
            'keypoints': 30,
            'depth': 50,
            'width': 64,
            'stem_pool': True,
            'features': 256,
            'image_width': 32,
            'feedforward': 1024,
        }
    )
    config.perceptual.kind = 'vgg16'
    config.train.update(
        {
            'steps': EPOCHS * STEPS_PER_EPOCH,
            'batch': 32,
            'rebuilt_every': 1,
            'augment': {'scale_std': 0.25, 'rotation_std': 30.0},
            'log_every': 100,
            'save_every': STEPS_PER_EPOCH,
        }
    )
    config.personalize.batch = 32
    for schedule in ('online', 'offline'):  # one step per frame, all networks at one rate
        config.personalize[schedule].update(
            {'epochs': 1, 'images_first': 0, 'learning_rate': 1e-4, 'image_learning_rate': 1e-4}
        )
    return config
