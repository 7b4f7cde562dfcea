"""A packed model, as small as one can be, that has learned nothing."""

import jax
from conftest import TINY
from test_main import tiny_config

from ttp_jax import train
from ttp_jax.files import packed
from ttp_jax.networks import perceptual
from ttp_jax.networks.model import PoseModel


def pack(path):
    """Writes it; returns the path."""
    state = train.create_state(
        jax.random.key(0),
        model=PoseModel(**TINY | {'deconvolutions': 3}),
        tx=train.optimizer(learning_rate=1e-3, steps=1),
        perceptual=perceptual.load('random'),
        size=32,
    )
    parts = {part: getattr(state, part) for part in packed.PARTS}
    packed.save(path, parts, tiny_config().to_dict())
    return path
