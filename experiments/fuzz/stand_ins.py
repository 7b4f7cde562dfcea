"""A job whose networks see nothing: everything else of it is real.

Contract: inside `cheap()`, `job.execute` reads, checks, isolates, stores, joins and reports as
ever, decodes every frame, and takes a few milliseconds: predictions are corners of boxes.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from unittest import mock

import jax
import numpy as np
from ml_collections import ConfigDict

from ttp_jax import train
from ttp_jax.data import clips
from ttp_jax.data.sets import labels
from ttp_jax.networks import perceptual
from ttp_jax.personalize import capacity, chunks, many_people
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.run import build, check_config, defaults, gallery

TINY = dict(
    keypoints=6, depth=10, width=4, features=8, image_width=4, heads=2, feedforward=16, dropout=0.0
)


def config_of(name: str, **data) -> ConfigDict:
    """The smallest config that personalizes online to a data set, from a checkpoint."""
    config = defaults.small()
    config.model.update(TINY)
    config.crop.size = 32
    config.data.update({'name': name, 'test_people': 0, 'train_people': 0} | data)
    config.update({'checkpoint': 'somewhere', 'pictures': 0})
    config.train.steps = 0
    config.personalize.update({'guard': 'drawn', 'schedules': ('online',), 'people_per_chunk': 2})
    return config


@functools.lru_cache
def state_of(name: str) -> train.TrainState:
    """Weights of the tiny model for the joints of a data set."""
    config = config_of(name)
    return train.create_state(
        jax.random.key(0),
        model=check_config.model_of(config),
        tx=train.optimizer(learning_rate=1e-3, steps=1),
        perceptual=perceptual.load('random'),
        size=config.crop.size,
    )


def predicted(
    people: Sequence[clips.Clip], chunks_: Sequence[chunks.Chunk], *, epochs: int, joints: int
) -> Iterator[tuple[int, Adapted]]:
    """Corners of boxes for joints, once a chunk's frames have been stacked as they always are."""
    for chunk in chunks_:
        members = [people[index] for index in chunk.members]
        _, reasons = chunks.stack_readable(members, frames=chunk.frames, size=chunk.size)
        for index in dict.fromkeys(chunk.members):
            clip, reason = people[index], reasons[chunk.members.index(index)]
            if reason:
                yield index, many_people.unreadable(clip, reason, joints=joints)
                continue
            corners = np.repeat(np.asarray(clip.boxes)[:, None, :2], joints, axis=1)
            losses = np.ones((len(clip.frames), epochs))
            yield index, Adapted(corners, np.ones(corners.shape[:2]), losses, seconds=0.0)


@contextlib.contextmanager
def cheap(name: str) -> Iterator[None]:
    """Jobs on a data set without networks."""
    count = len(labels(name)[0].joints)

    def before(people, chunks_, **_):
        return predicted(people, chunks_, epochs=0, joints=count)

    def adapted(people, chunks_, **_):
        return predicted(people, chunks_, epochs=1, joints=count)

    with contextlib.ExitStack() as stack:
        for where, what, instead in (
            (build.Run, 'first_state', lambda self: state_of(name)),
            (build.Run, 'runner', lambda self, schedule: None),
            (capacity, 'needs', lambda *_, **__: capacity.Needs(1)),
            (perceptual, 'load', functools.lru_cache(perceptual.load)),
            (many_people, 'predict_people', before),
            (many_people, 'personalize_people', adapted),
            (gallery, 'draw_pictures', lambda *_: []),
        ):
            stack.enter_context(mock.patch.object(where, what, instead))
        yield
