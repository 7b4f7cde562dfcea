"""Somebody's video in, keypoints out, before and after personalization.

    python -m ttp_jax.main --config=configs/video.py --config.checkpoint=MODEL \
        --config.input=clip.mp4 --config.boxes=boxes.csv

MODEL is a file of `ttp_jax.files.pack` or a workdir; networks, crops and the steps of
personalization are those of its run. `input` may be a folder or a pattern of videos or of frames.
The workdir then holds keypoints.csv, keypoints for COCO and DeepLabCut, before_after.mp4 and
report.html: docs/video.md.
"""

from ml_collections import ConfigDict

import ttp_jax
from ttp_jax.personalize.schedules import SCHEDULES


def get_config(variant: str = 'offline') -> ConfigDict:
    if variant not in SCHEDULES:
        raise ValueError(f'configs/video.py: no variant {variant!r}; known: {", ".join(SCHEDULES)}')
    return ConfigDict(
        {
            'seed': 0,
            'input': '',  # a video; or a folder or pattern (in quotes) of videos or frames
            'boxes': '',  # CSV, MOTChallenge tracks or COCO detections; '': the whole picture
            'checkpoint': str(ttp_jax.PEOPLE),  # the model to start from; this one finds people
            'schedules': (variant,),  # 'online', 'offline'; (): only predict
            'preview': 0.0,  # so many seconds come first, in a folder of their own
            'smoothing': '',  # 'one_euro' or 'savitzky_golay': keypoints_smoothed.csv as well
            'longest': 600,  # frames; whoever is longer in view is personalized in several parts
            'detail': 1.5,  # pixels kept of a video for each one of a crop, along x and along y
            'pictures': 4,  # people of whom the report shows what the networks see
        }
    ).lock()
