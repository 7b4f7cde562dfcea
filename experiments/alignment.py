"""Would learning to rebuild a person move their joints the right way? A cheap forecast.

    python experiments/alignment.py WORKDIR [--people=12] [--frames=16] [--wait=64]

WORKDIR is a finished run. For people it was trained on and people it was not, prints the cosine
between the gradients of the reconstruction loss and of the supervised loss, both with respect to
encoder and self-supervised head, averaged over people, and for how many it is positive. `--wait`
asks again for the test people after so many steps of their image networks alone, which move no
keypoint. Everyone gets equally many steps per frame, so that only the longest clip gets all of
them. Personalization follows the first gradient; labels, which it never sees, are in the second.
"""

import argparse
import functools
import itertools
import math
import pathlib
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from adaptation import finished_run

from ttp_jax import geometry
from ttp_jax.data import clips, pairs
from ttp_jax.objectives.supervised import supervised as labelled_loss
from ttp_jax.personalize import inner_loop, partition
from ttp_jax.run import adaptation, build

SEEING = ('encoder/', 'self_supervised_head/')


def cosine(a: partition.Flat, b: partition.Flat) -> jax.Array:
    """The cosine between two flat trees, each taken as one vector."""

    def dot(x, y):
        return sum(jnp.vdot(x[path], y[path]) for path in x)

    return dot(a, b) / jnp.sqrt(dot(a, a) * dot(b, b))


def alignment(run: build.Run) -> Callable:
    """A compiled `(trainable, pairs [F]) -> cosine` for crops of one person."""
    model, frozen = run.model.clone(train=False), run.shared.frozen
    upright = functools.partial(
        pairs.crop_pair, augmentation=geometry.Augmentation(), spec=run.spec
    )
    labels = functools.partial(
        pairs.targets, flip=jnp.array(False), spec=run.spec, mirror=run.data.skeleton.mirror
    )

    def supervised(trainable, target, maps, weights):
        variables = {
            'params': partition.merge(trainable, frozen),
            'batch_stats': run.state.batch_stats,
        }
        seen = model.apply(variables, target, method='heatmaps').supervised
        return labelled_loss(seen, maps, weights)

    def reconstruction(trainable, target, source):
        return inner_loop.self_supervised_loss(
            trainable,
            frozen,
            run.state.batch_stats,
            run.state.loss_means,
            inner_loop.Crops(target, source),
            None,
            model=model,
            perceptual=run.perceptual,
            objective=run.adapts_by,
        )[0]

    @jax.jit
    def of_person(trainable, batch: pairs.Pairs):
        target, source, affine = jax.vmap(
            lambda pair: upright(pair.target, pair.source, pair.box, valid=pair.size)
        )(batch)
        maps, weights = jax.vmap(labels)(batch.joints, batch.visibility, affine)
        gradients = (
            jax.grad(supervised)(trainable, target, maps, weights),
            jax.grad(reconstruction)(trainable, target, source),
        )
        return cosine(
            *(
                {path: leaf for path, leaf in gradient.items() if path.startswith(SEEING)}
                for gradient in gradients
            )
        )

    return of_person


def samples(people: list[clips.Clip], frames: int) -> Iterator[pairs.Pairs]:
    """For each person, frames evenly spread over the clip; sources are half a clip away.

    All are padded to one size, so that one compiled program serves everyone.
    """
    bank, start = jax.device_put(clips.stack_clips(people)), 0
    for length in (len(clip.frames) for clip in people):
        target = np.linspace(0, length - 1, frames).round().astype(int)
        yield pairs.take(bank, start + target, start + (target + length // 2) % length)
        start += length


def waited(run: build.Run, steps: int) -> list[partition.Flat]:
    """The test people's private weights after steps of the image networks alone."""
    schedule = run.config.personalize.offline
    longest = max(len(clip.frames) for clip in run.people)
    schedule.update({'epochs': math.ceil(steps / longest), 'images_first': 0, 'learning_rate': 0.0})
    keep = dict.fromkeys(range(len(run.people)), 0)  # offline, weights are those after all steps
    results = adaptation.personalize(run, 'offline', keep=keep)
    return [adapted.trainable for adapted in adaptation.in_order(dict(results))]


def show(name: str, cosines: Iterable[jax.Array]) -> None:
    """A line of the table."""
    cosines = [float(value) for value in cosines]
    positive = sum(value > 0 for value in cosines)
    print(
        f'{name:<28} {np.mean(cosines):+.3f}  positive for {positive} of {len(cosines)}', flush=True
    )


def study() -> None:
    """Prints the table: people trained on, test people, and these after waiting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('workdir', type=pathlib.Path)
    parser.add_argument('--people', type=int, default=12)
    parser.add_argument('--frames', type=int, default=16)
    parser.add_argument('--wait', type=int, default=0)
    arguments = parser.parse_args()
    run = finished_run(arguments.workdir, people=arguments.people)
    of_person, shared = alignment(run), itertools.repeat(run.shared.trainable)
    known, unseen = (
        list(samples(people, arguments.frames))
        for people in (run.data.train[: arguments.people], run.people)
    )
    show('people trained on', map(of_person, shared, known))
    show('unseen people', map(of_person, shared, unseen))
    if arguments.wait:
        show(
            f'... after {arguments.wait} image steps',
            map(of_person, waited(run, arguments.wait), unseen),
        )


if __name__ == '__main__':
    study()
