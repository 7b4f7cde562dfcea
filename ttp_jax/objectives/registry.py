"""The objectives by name, and which of them each variant of the model is trained with."""

from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives.alignment import ALIGNMENT
from ttp_jax.objectives.entropy import ENTROPY, ENTROPY_ALL
from ttp_jax.objectives.flips import FLIPS
from ttp_jax.objectives.followed import FOLLOWED
from ttp_jax.objectives.objective import Objective
from ttp_jax.objectives.pseudo_labels import PSEUDO_LABELS
from ttp_jax.objectives.reconstruction import RECONSTRUCTION
from ttp_jax.objectives.rotation import ROTATION
from ttp_jax.objectives.self_training import FOLLOWED_TRAINING, SELF_TRAINING
from ttp_jax.objectives.temporal import TEMPORAL

OBJECTIVES = {
    objective.name: objective
    for objective in (
        RECONSTRUCTION,
        ROTATION,
        ENTROPY,
        ENTROPY_ALL,
        PSEUDO_LABELS,
        SELF_TRAINING,
        FOLLOWED,
        FOLLOWED_TRAINING,
        FLIPS,
        TEMPORAL,
        ALIGNMENT,
    )
}

# The rows of the paper's table (section 4.2); 'baseline' learns from labels alone.
OF_VARIANT = {
    'transformer': RECONSTRUCTION,
    'shared_keypoint': RECONSTRUCTION,
    'shared_rotation': ROTATION,
    'baseline': None,
}


def choose(name: str, model: PoseModel) -> Objective | None:
    """The objective called `name`; '' is the one of the model's variant, None for a baseline.

    Raises:
      ValueError: for an unknown name, or when the model lacks a head that the task needs.
    """
    if not name:
        return OF_VARIANT[model.variant]
    if name not in OBJECTIVES:
        raise ValueError(f'no objective {name!r}; known: {", ".join(OBJECTIVES)}')
    OBJECTIVES[name].check(model)
    return OBJECTIVES[name]
