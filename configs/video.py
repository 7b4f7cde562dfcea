"""Somebody's video in, keypoints out, before and after personalization.

    python -m ttp_jax.main --config=configs/video.py --config.checkpoint=MODEL \
        --config.input=clip.mp4 --config.boxes=boxes.csv

MODEL is a file of `ttp_jax.files.pack` or a workdir; networks, crops and the steps of
personalization are those of its run. `input` may be a folder or a pattern of videos or of frames.
The workdir then holds keypoints.csv, keypoints for COCO and DeepLabCut, before_after.mp4 and
report.html: docs/video.md.
"""

from ml_collections import ConfigDict

from ttp_jax.personalize.schedules import SCHEDULES
from ttp_jax.run import defaults


def get_config(variant: str = 'offline') -> ConfigDict:
    if variant not in SCHEDULES:
        raise ValueError(f'configs/video.py: no variant {variant!r}; known: {", ".join(SCHEDULES)}')
    return defaults.video(variant)
