"""A joint step of a tiny network, as one of several processes; for `test_train_together`.

    python train_together.py INDEX COUNT PORT FOLDER MODEL

leaves checkpoints of before and after, and the step's metrics, in the folder. MODEL: the model's
options, as JSON. XLA_FLAGS says how many devices a process has.
"""

import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ttp_jax import train
from ttp_jax.data import clips, pairs, skeletons
from ttp_jax.data.drawn import synthetic
from ttp_jax.files import checkpoint
from ttp_jax.networks import model as networks
from ttp_jax.networks import perceptual
from ttp_jax.objectives import registry
from ttp_jax.run import hosts

BATCH = 8


def fitted(people, part, options, folder):
    """(state, metrics) after the step; SGD, since Adam would hide a gradient of a wrong scale."""
    # Networks in float64: so small ones multiply differences of rounding by thousands.
    model, tx = networks.PoseModel(**options, dtype=jnp.float64), optax.sgd(0.02)
    features = perceptual.load('random')
    step = train.pmap_step(
        model=model,
        perceptual=features,
        tx=tx,
        objective=registry.choose('', model),
        spec=pairs.CropSpec(size=32, cells=16),
        augment={},
        mirror=skeletons.PENN_ACTION.mirror,
        reconstruction_weight=0.1,
    )
    state = train.create_state(jax.random.key(0), model=model, tx=tx, perceptual=features, size=32)
    save(state, folder / 'before')
    which = dict(first=0, steps=1, batch=BATCH, seed=5, part=part)
    batches = pairs.batches(clips.stack_clips(people), **which)
    *_, (_, state, metrics) = train.fit(state, batches, step=step, seed=5, part=part)
    return state, metrics


def save(state, folder):
    """A checkpoint, as every process together writes it."""
    saved = checkpoint.Checkpoints(folder)
    saved.save(state)
    saved.close()


def main(index, count, folder, options):
    """Trains, and saves what came of it."""
    people = synthetic.drawn_clips(seed=3, split='train', people=3, frames=4, size=48)
    state, metrics = fitted(people, (index, count), options, folder)
    save(state, folder / 'after')
    (folder / f'metrics.{index}.json').write_text(
        json.dumps({name: float(np.asarray(value)) for name, value in metrics.items()})
    )


if __name__ == '__main__':
    index, count, port = map(int, sys.argv[1:4])
    folder, options = pathlib.Path(sys.argv[4]), json.loads(sys.argv[5])
    jax.config.update('jax_enable_x64', True)
    if count == 1:
        main(index, count, folder, options)
    else:
        with hosts.connected(hosts.Hosts(index, count, f'localhost:{port}')):
            main(index, count, folder, options)
        jax.jit(jnp.sin)(1.0)  # alone again
