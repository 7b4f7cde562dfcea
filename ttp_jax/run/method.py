"""How people are adapted, as a config says: the one place that makes a `Method` of it."""

import jax.numpy as jnp
from ml_collections import ConfigDict

from ttp_jax.data import pairs
from ttp_jax.networks.perceptual import Perceptual
from ttp_jax.personalize import follow, inner_loop
from ttp_jax.run import check_config

# What networks compute in; parameters, statistics, losses and keypoints stay float32.
COMPUTE = {'float32': None, 'bfloat16': jnp.bfloat16}


def of(
    config: ConfigDict,
    schedule: str,
    *,
    perceptual: Perceptual,
    lowering: str,
    spec: pairs.CropSpec,
) -> inner_loop.Method:
    """How a person is adapted under a schedule.

    Args:
      perceptual: the network that images are compared in, with its own lowering.
      lowering: of the model's convolutions.
      spec: how crops are made.
    """
    model = check_config.model_of(config)
    steps = config.personalize[schedule].to_dict()
    return inner_loop.Method(
        model=model.clone(lowering=lowering, dtype=COMPUTE[config.personalize.dtype]),
        perceptual=perceptual,
        objective=check_config.adapting_objective(config, model),  # type: ignore[arg-type]  # None: nobody is adapted
        spec=spec,
        schedule=schedule,
        batch=config.personalize.batch,
        parts=config.personalize.parts,
        augment=config.train.augment.to_dict(),
        epochs=steps.pop('epochs'),
        falls=steps.pop('falls', False),
        flip_test=config.personalize.flip_test,
        test_scales=tuple(config.personalize.test_scales),
        decoding=config.personalize.decoding,
        peaks=follow.PEAKS if config.personalize.follow else 0,
        mirror=check_config.labels_of(config)[0].mirror,
        tx=inner_loop.optimizer(**steps),
    )
