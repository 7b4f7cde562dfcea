"""How many people are adapted at once follows from the memory there is."""

import types

import jax
import jax.numpy as jnp
import optax
import pytest
from conftest import TINY

from ttp_jax.data import pairs
from ttp_jax.networks import model as networks
from ttp_jax.networks import perceptual
from ttp_jax.objectives.reconstruction import RECONSTRUCTION
from ttp_jax.personalize import capacity, inner_loop, many_people, partition

GIB = 2**30


def accelerator(limit, in_use=0):
    return types.SimpleNamespace(
        platform='gpu', memory_stats=lambda: {'bytes_limit': limit, 'bytes_in_use': in_use}
    )


def test_accelerators_take_as_many_people_as_fit_into_the_least_free_of_them():
    assert capacity.people_at_once(capacity.Needs(GIB), [accelerator(100 * GIB)]) == 80
    assert (
        capacity.people_at_once(capacity.Needs(GIB), [accelerator(100 * GIB, in_use=50 * GIB)])
        == 40
    )
    assert (
        capacity.people_at_once(
            capacity.Needs(GIB), [accelerator(100 * GIB), accelerator(10 * GIB)]
        )
        == 2 * 8
    )


def test_one_person_per_device_is_tried_where_none_fits():
    assert capacity.people_at_once(capacity.Needs(GIB), [accelerator(GIB // 2)] * 3) == 3


def test_what_people_take_in_turn_is_there_once():
    needs = capacity.Needs(GIB, once=20 * GIB)
    assert capacity.people_at_once(needs, [accelerator(100 * GIB)]) == 60


def test_cores_take_one_person_each_while_memory_lasts(monkeypatch):
    cores = jax.local_devices()
    monkeypatch.setattr(capacity, 'free_bytes', lambda: 100 * GIB)
    assert capacity.people_at_once(capacity.Needs(GIB), cores) == len(cores)
    monkeypatch.setattr(capacity, 'free_bytes', lambda: 3 * GIB)
    assert capacity.people_at_once(capacity.Needs(GIB), cores) == 2
    monkeypatch.setattr(capacity, 'free_bytes', lambda: 0)
    assert capacity.people_at_once(capacity.Needs(GIB), cores) == 1


def test_training_takes_one_cpu_device():
    assert capacity.training_devices() == jax.local_devices()[:1]


@pytest.fixture(scope='module')
def problem():
    model = networks.PoseModel(**TINY | dict(width=8, image_width=8))
    image = jnp.zeros((1, 32, 32, 3))
    variables = model.init(jax.random.key(0), image, image)
    trainable, frozen = partition.split(variables['params'], frozen=RECONSTRUCTION.frozen)
    return model, perceptual.load('random'), trainable, frozen, variables['batch_stats']


def planned_bytes(problem, people, batch, parts=1, lowering='matmul'):
    """What XLA means to hold while it adapts `people` people."""
    model, network, trainable, frozen, batch_stats = problem
    method = inner_loop.Method(
        model=model.clone(lowering=lowering),
        perceptual=network,
        objective=RECONSTRUCTION,
        tx=optax.adam(1e-4),
        schedule='offline',
        batch=batch,
        parts=parts,
        spec=pairs.CropSpec(32, model.cells(32)),
        augment={},
    )
    loop = many_people.make_runner(method, segment=2, devices=jax.local_devices()[:1]).loop
    shared = inner_loop.Shared(trainable, frozen, batch_stats, jnp.ones(4), network.weights)
    person = inner_loop.Person(
        jnp.zeros((people, 2, 40, 40, 3), jnp.uint8),
        jnp.full((people, 2), 40),
        jnp.tile(jnp.float32([4, 4, 30, 30]), (people, 2, 1)),
        jnp.full(people, 2),
    )
    progress = loop.start(shared, person)
    keys = jax.random.split(jax.random.key(0), people)
    compiled = loop.learn.lower(progress, shared, person, keys, jnp.arange(2)).compile()
    plan = compiled.memory_analysis()
    return plan.temp_size_in_bytes + plan.argument_size_in_bytes


def test_a_person_takes_no_more_than_estimated_and_not_much_less(problem):
    model, network, *variables = problem
    estimate = capacity.needs(
        *variables,
        model=model.clone(lowering='matmul'),
        perceptual=network,
        objective=RECONSTRUCTION,
        size=32,
        batch=8,
    ).each
    added = planned_bytes(problem, 3, 8) - planned_bytes(problem, 2, 8)
    assert added < estimate < 3 * added


def test_people_who_take_turns_add_what_is_theirs_alone(problem):
    model, network, *variables = problem
    needs = capacity.needs(
        *variables,
        at_once=4,
        model=model.clone(lowering='tpu'),
        perceptual=network,
        objective=RECONSTRUCTION,
        size=32,
        batch=8,
    )
    eight, twelve = (planned_bytes(problem, people, 8, lowering='tpu') for people in (8, 12))
    assert 0.9 * needs.each < (twelve - eight) / 4 < 1.1 * needs.each + 2**16  # and a clip
    assert eight < 8 * needs.each + needs.once


def test_a_step_in_parts_holds_less(problem):
    assert planned_bytes(problem, 2, 8, parts=4) < 0.7 * planned_bytes(problem, 2, 8)


def test_frames_and_weights_may_be_shapes_alone(problem):
    model, network, *variables = problem
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    known, again = (
        capacity.activation_bytes(
            *v, model=model, perceptual=network, objective=RECONSTRUCTION, size=32, batch=4
        )
        for v in (variables, shapes)
    )
    assert known == again > 0


def test_bfloat16_keeps_about_half(problem):
    model, network, *variables = problem
    full, half = (
        capacity.activation_bytes(
            *variables,
            model=model.clone(lowering='matmul', dtype=dtype),
            perceptual=network,
            objective=RECONSTRUCTION,
            size=32,
            batch=8,
        )
        for dtype in (None, jnp.bfloat16)
    )
    assert 0.4 < half / full < 0.8
