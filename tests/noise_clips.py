"""Clips of noise with labels in them, and predictions with known errors, for tests of results."""

import numpy as np

from ttp_jax.data.clips import Clip, Labels
from ttp_jax.data.skeletons import PENN_ACTION

PHASES = ('before', 'online', 'offline')


def make_clip(rng, name, *, frames, size=(48, 40), skeleton=PENN_ACTION):
    """A clip of noise whose joints are well inside of it."""
    height, width = size
    count = len(skeleton.joints)
    return Clip(
        id=name,
        frames=rng.integers(0, 256, (frames, height, width, 3), np.uint8),
        labels=Labels(
            joints=rng.uniform(4, min(size) - 4, (frames, count, 2)).astype(np.float32),
            visibility=(rng.random((frames, count)) < 0.8).astype(np.float32),
        ),
        boxes=np.tile(np.float32([2, 2, width - 3, height - 3]), (frames, 1)),
    )


def predict(rng, people, phases=PHASES, error=8.0):
    return {
        phase: [
            clip.labels.joints + rng.normal(0, error, clip.labels.joints.shape) for clip in people
        ]
        for phase in phases
    }


def shift(clip, wrong):
    """The truth, with the joints `wrong` far away from it."""
    moved = clip.labels.joints.copy()
    moved[:, wrong] += 1000
    return moved
