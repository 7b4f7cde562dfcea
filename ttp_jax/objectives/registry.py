"""The objectives by name, and which of them each variant of the model is trained with."""

from ttp_jax.networks.model import PoseModel
from ttp_jax.objectives.entropy import ENTROPY
from ttp_jax.objectives.objective import Objective
from ttp_jax.objectives.reconstruction import RECONSTRUCTION
from ttp_jax.objectives.rotation import ROTATION

OBJECTIVES = {objective.name: objective for objective in (RECONSTRUCTION, ROTATION, ENTROPY)}

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
