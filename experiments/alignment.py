"""Would learning to rebuild a person move their joints the right way? A cheap look ahead.

    python experiments/alignment.py WORKDIR [--people=12] [--frames=16] [--wait=64]

WORKDIR is a finished run. For people it was trained on and people it was not, prints the cosine
between the gradients of the reconstruction loss and of the supervised loss, both with respect to
encoder and self-supervised head, averaged over people, and for how many it is positive. `--wait` asks
again for the test people after so many steps of their image networks alone, which move no keypoint.
Personalization follows the first gradient; labels, which it never sees, are in the second.
"""
import argparse
import functools
import itertools
import json
import math
import pathlib
from typing import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ttp_jax import capacity, geometry, losses, main, partition, personalize
from ttp_jax.data import clips, pairs

SEEING = ('encoder/', 'self_supervised_head/')


def cosine(a: partition.Flat, b: partition.Flat) -> jax.Array:
    """Of two flat trees, as one vector each."""
    def dot(x, y):
        return sum(jnp.vdot(x[path], y[path]) for path in x)
    return dot(a, b) / jnp.sqrt(dot(a, a) * dot(b, b))


def alignment(run: main.Run) -> Callable:
    """A compiled `(trainable, pairs [F], ...) -> cosine` for crops of one person."""
    model, frozen = run.model.clone(train=False), split(run)[1]
    upright = functools.partial(pairs.crop_pair, augmentation=geometry.Augmentation(), spec=run.spec)
    labels = functools.partial(pairs.targets, flip=jnp.array(False), spec=run.spec,
                               mirror=run.data.skeleton.mirror)

    def supervised(trainable, target, maps, weights):
        variables = {'params': partition.merge(trainable, frozen), 'batch_stats': run.state.batch_stats}
        seen = model.apply(variables, target, method='heatmaps').supervised
        return losses.supervised(seen, maps, weights)

    def reconstruction(trainable, target, source):
        return personalize.self_supervised_loss(
            trainable, frozen, run.state.batch_stats, run.state.loss_means, target, source, None,
            model=model, perceptual=run.perceptual)[0]

    @jax.jit
    def of_person(trainable, batch: pairs.Pairs):
        target, source, affine = jax.vmap(lambda pair: upright(
            pair.target, pair.source, pair.box, valid=pair.size))(batch)
        maps, weights = jax.vmap(labels)(batch.joints, batch.visibility, affine)
        gradients = (jax.grad(supervised)(trainable, target, maps, weights),
                     jax.grad(reconstruction)(trainable, target, source))
        return cosine(*({path: leaf for path, leaf in gradient.items() if path.startswith(SEEING)}
                        for gradient in gradients))
    return of_person


def split(run: main.Run) -> tuple[partition.Flat, partition.Flat]:
    """What the paper trains and freezes, whatever the run's config says."""
    return partition.split(run.state.params, frozen=partition.FROZEN[run.model.variant])


def samples(people: list[clips.Clip], frames: int) -> Iterator[pairs.Pairs]:
    """Of each person frames evenly spread over the clip, each with the one half a clip away as its source.

    All are padded to one size, so that one compiled program serves everyone.
    """
    bank, start = jax.device_put(clips.stack_clips(people)), 0
    for length in (len(clip.frames) for clip in people):
        target = np.linspace(0, length - 1, frames).round().astype(int)
        yield pairs.take(bank, start + target, start + (target + length // 2) % length)
        start += length


def waited(run: main.Run, steps: int, people: int) -> list[partition.Flat]:
    """The test people's private weights after steps of the image networks alone."""
    schedule = run.config.personalize.offline
    longest = max(len(clip.frames) for clip in run.people)
    schedule.update({'epochs': math.ceil(steps / longest), 'images_first': 0, 'learning_rate': 0.0})
    return [a.trainable for a in main.personalize_phase(run, 'offline', range(people))]


def show(name: str, cosines: list[float]) -> None:
    positive = sum(value > 0 for value in cosines)
    print(f'{name:<28} {np.mean(cosines):+.3f}  positive for {positive} of {len(cosines)}', flush=True)


def study() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('workdir', type=pathlib.Path)
    parser.add_argument('--people', type=int, default=12)
    parser.add_argument('--frames', type=int, default=16)
    parser.add_argument('--wait', type=int, default=0)
    arguments = parser.parse_args()
    main.keep_compiled_programs()
    capacity.one_device_per_core()
    config = ConfigDict(json.loads((arguments.workdir / 'config.json').read_text()))
    config.data.test_people = arguments.people
    run = main.Run(config, arguments.workdir)
    of_person, shared = alignment(run), split(run)[0]
    cases = {'people trained on': (run.data.train[:arguments.people], itertools.repeat(shared)),
             'unseen people': (run.people, itertools.repeat(shared))}
    if arguments.wait:
        cases[f'... after {arguments.wait} image steps'] = (
            run.people, waited(run, arguments.wait, len(run.people)))
    for name, (people, weights) in cases.items():
        show(name, [float(of_person(*person)) for person in zip(weights, samples(people, arguments.frames))])


if __name__ == '__main__':
    study()
