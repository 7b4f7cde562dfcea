"""Whoever else is there, in whatever order, chunks and padding: everyone gets what they get alone.

The loop here is a pure function of one person that costs nothing to compile, in place of networks;
how it is lifted, fed and taken apart again is what runs for real.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh

from ttp_jax.data import clips
from ttp_jax.personalize import chunks, many_people
from ttp_jax.personalize.inner_loop import (
    Loop,
    PersonState,
    Predictions,
    Progress,
    Shared,
    personalize_person,
)

SHARED = Shared({'w': np.zeros((), np.int32)}, {}, {}, np.zeros(1), {})
MANY = settings(max_examples=10, deadline=None)


def clip(index):
    rng = np.random.default_rng(index)
    frames, height, width = rng.integers(2, 7), *rng.integers(3, 9, 2)
    boxes = np.tile(np.float32([0, 0, 2, index + 1]), (frames, 1))
    return clips.Clip(
        f'p{index}', rng.integers(0, 255, (frames, height, width, 3), np.uint8), boxes
    )


PEOPLE = [clip(index) for index in range(5)]


def start(shared, person):
    frames = person.frames.shape[0]
    return Progress(
        PersonState(dict(shared.trainable), (), shared.loss_means),
        Predictions(jnp.full((frames, 1, 2), jnp.nan), jnp.full((frames, 1), jnp.nan)),
        jnp.full((frames, 1), jnp.nan),
        jnp.int32(-1),
    )


def learn(progress, shared, person, rng, frames):
    """Whole numbers alone, so that nothing depends on the order of sums."""

    def step(w, t):
        drawn = jax.random.randint(jax.random.fold_in(rng, t), (), 1, 50)
        seen = person.frames[t].astype(jnp.int32).sum() * drawn + person.boxes[t, 3].astype(int)
        return jnp.where(t < person.length, w * 3 + seen % 1009, w) % 100_003, w

    w, before = jax.lax.scan(step, progress.state.trainable['w'], frames)
    losses = progress.losses.at[frames, 0].set(before.astype(jnp.float32))
    return progress._replace(state=progress.state._replace(trainable={'w': w}), losses=losses)


def predict(progress, shared, person, frames):
    w = progress.state.trainable['w'] + person.frames[frames].astype(jnp.int32).sum((1, 2, 3))
    joints = jnp.stack([w, person.boxes[frames, 3].astype(int)], -1)[:, None]
    predictions = progress.predictions
    return progress._replace(
        predictions=Predictions(
            predictions.joints.at[frames].set(joints.astype(jnp.float32)),
            predictions.scores.at[frames].set(w[:, None].astype(jnp.float32)),
        )
    )


LOOP = Loop(start, learn, predict, False)


@pytest.fixture(scope='module')
def expected():
    """Everyone alone: no lift, no padding, one segment."""

    def alone(person):
        frames = len(person.frames)
        stacked = chunks.stack_people([person], frames=frames, size=person.frames.shape[1:3])
        return personalize_person(
            SHARED,
            jax.tree.map(lambda x: jnp.asarray(x[0]), stacked),
            many_people.person_keys([person], 7)[0],
            loop=LOOP,
            segments=[jnp.arange(frames)],
        )

    return [alone(person) for person in PEOPLE]


@MANY
@given(
    order=st.permutations(range(len(PEOPLE))).flatmap(
        lambda order: st.integers(1, len(order)).map(lambda n: order[:n])
    ),
    count=st.sampled_from([1, 2, 4]),
    each=st.integers(1, 4),
    at_once=st.integers(0, 3),
    segment=st.integers(1, 4),
    frames=st.integers(0, 3),
    size=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_nobody_depends_on_the_others(expected, order, count, each, at_once, segment, frames, size):
    people = [PEOPLE[index] for index in order]
    devices, together = jax.local_devices()[:count], count * each
    mesh = Mesh(np.array(devices), (many_people.PEOPLE,))
    loop = many_people.lift_loop(LOOP, mesh=mesh, at_once=at_once)
    runner = many_people.Runner(None, loop, segment, mesh)
    bucket = chunks.Bucket(
        tuple(range(len(people))), 6 + frames, (9 + size[0], 9 + size[1]), together
    )
    found = dict(
        many_people.personalize_people(
            people, chunks.chunks(bucket), runner=runner, shared=SHARED, seed=7, keep_learned=True
        )
    )
    assert found.keys() == set(range(len(people)))
    for row, index in enumerate(order):
        alone = expected[index]
        np.testing.assert_array_equal(found[row].joints, alone.predictions.joints)
        np.testing.assert_array_equal(found[row].losses, alone.losses)
        assert found[row].learned['w'] == alone.state.trainable['w']


CLIPS = st.lists(
    st.tuples(st.integers(2, 5000), st.integers(8, 2000), st.integers(8, 2000)),
    min_size=1,
    max_size=40,
)


@given(CLIPS, st.sets(st.integers(0, 39)), st.integers(1, 8))
def test_everyone_who_is_left_is_in_one_chunk_that_holds_them(shapes, done, together):
    lengths, sizes = [shape[0] for shape in shapes], [shape[1:] for shape in shapes]
    found = [
        chunk
        for bucket in chunks.buckets(lengths, sizes)
        for chunk in chunks.chunks(bucket._replace(together=together), done)
    ]
    members = [index for chunk in found for index in dict.fromkeys(chunk.members)]
    assert sorted(members) == sorted({*range(len(shapes))} - done)
    for chunk in found:
        assert len(chunk.members) == together
        for index in chunk.members:
            assert lengths[index] <= chunk.frames < max(2 * lengths[index], 65)
            assert sizes[index][0] <= chunk.size[0] and sizes[index][1] <= chunk.size[1]


@given(CLIPS, st.randoms(use_true_random=False))
def test_whom_somebody_is_padded_like_does_not_depend_on_the_order(shapes, rng):
    order = list(range(len(shapes)))
    rng.shuffle(order)

    def shape_of_each(shapes):
        found = chunks.buckets([s[0] for s in shapes], [s[1:] for s in shapes])
        return {i: (bucket.frames, bucket.size) for bucket in found for i in bucket.members}

    straight, shuffled = shape_of_each(shapes), shape_of_each([shapes[i] for i in order])
    assert [shuffled[row] for row in range(len(order))] == [straight[i] for i in order]


@given(st.lists(st.sampled_from(PEOPLE), min_size=1, unique_by=lambda clip: clip.id))
@MANY
def test_what_somebody_draws_follows_from_their_name(people):
    keys = jax.random.key_data(many_people.person_keys(people, 3))
    for key, person in zip(keys, people):
        own = jax.random.key_data(many_people.person_keys([person], 3))[0]
        np.testing.assert_array_equal(key, own)
