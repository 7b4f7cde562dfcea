"""How many people are adapted at once follows from the memory there is."""

import functools
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


def test_what_a_step_holds_is_there_for_those_alone_who_are_worked_for():
    needs = capacity.Needs(GIB, step=5 * GIB, turn=GIB, at_once=4)
    assert capacity.people_at_once(needs, [accelerator(100 * GIB)]) == 80 - 4 * (5 + 1)
    assert capacity.people_at_once(needs, [accelerator(20 * GIB)]) == 2  # nobody waits
    alone = capacity.Needs(GIB, step=5 * GIB)
    assert capacity.people_at_once(alone, [accelerator(100 * GIB)]) == 80 // 6


@pytest.mark.parametrize('at_once', [0, 1, 4])
@pytest.mark.parametrize('gib', [3, 16, 40, 100])
def test_as_many_people_as_fit_and_not_one_more(at_once, gib):
    needs = capacity.Needs(GIB, step=2 * GIB, turn=GIB / 2, waiting=GIB / 4, at_once=at_once)
    people = needs.people(gib * GIB)
    assert needs.bytes(people) <= gib * GIB < needs.bytes(people + 1)


def test_a_clip_is_there_as_it_is_and_as_steps_want_it():
    needs = capacity.Needs(GIB, step=GIB, at_once=2, clip=1.5).with_clips(GIB)
    assert needs.bytes(2) == 2 * 2 * GIB + 2 * 2.5 * GIB
    assert needs.bytes(10) == 10 * 3 * GIB + 2 * 2.5 * GIB  # who waits has it laid out otherwise


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
    variables = jax.eval_shape(model.init, jax.random.key(0), image, image)
    trainable, frozen = partition.split(variables['params'], frozen=RECONSTRUCTION.frozen)
    return model, perceptual.load('random'), trainable, frozen, variables['batch_stats']


def method_of(problem, batch=8, lowering='matmul', dtype=None, parts=1):
    model, network, *_ = problem
    return inner_loop.Method(
        model=model.clone(lowering=lowering, dtype=dtype),
        perceptual=network,
        objective=RECONSTRUCTION,
        tx=optax.adam(1e-4),
        schedule='offline',
        batch=batch,
        parts=parts,
        spec=pairs.CropSpec(32, model.cells(32)),
        augment={},
    )


def shared_of(problem):
    _, network, trainable, frozen, batch_stats = problem
    return inner_loop.Shared(trainable, frozen, batch_stats, jnp.ones(4), network.weights)


def needs_of(problem, at_once=0, platform='cpu', **how):
    method = method_of(problem, **how)
    return capacity.needs(shared_of(problem), method=method, platform=platform, at_once=at_once)


@pytest.fixture(scope='module')
def planned_bytes(problem):
    return functools.cache(functools.partial(by_xla, problem))


def by_xla(problem, people, **how):
    """What XLA means to hold while it adapts `people` people."""
    runner = many_people.make_runner(
        method_of(problem, **how), segment=2, devices=jax.local_devices()[:1]
    )
    loop, shared = runner.loop, shared_of(problem)
    person = inner_loop.Person(
        jnp.zeros((people, 2, 40, 40, 3), jnp.uint8),
        jnp.full((people, 2), 40),
        jnp.tile(jnp.float32([4, 4, 30, 30]), (people, 2, 1)),
        jnp.full(people, 2),
    )
    progress = jax.eval_shape(loop.start, shared, person)
    keys = jax.random.split(jax.random.key(0), people)
    compiled = loop.learn.lower(progress, shared, person, keys, jnp.arange(2)).compile()
    plan = compiled.memory_analysis()
    return plan.temp_size_in_bytes + plan.argument_size_in_bytes


def test_a_person_takes_no_more_than_estimated_and_not_much_less(problem, planned_bytes):
    added = planned_bytes(3) - planned_bytes(2)
    assert added < needs_of(problem).bytes(1) < 3 * added


def test_people_who_take_turns_add_what_is_theirs_alone(problem, planned_bytes):
    needs = needs_of(problem, at_once=4, lowering='tpu')
    eight, twelve = (planned_bytes(people, lowering='tpu') for people in (8, 12))
    assert 0.9 * needs.each < (twelve - eight) / 4 < 1.1 * needs.each + 2**16  # and a clip
    assert eight < needs.bytes(8)


def test_a_step_in_parts_holds_less(problem, planned_bytes):
    assert planned_bytes(2, parts=4) < 0.7 * planned_bytes(2)
    assert needs_of(problem, parts=4).step < 0.7 * needs_of(problem).step


def test_bfloat16_keeps_about_half(problem):
    half, full = (needs_of(problem, lowering='tpu', dtype=d).step for d in (jnp.bfloat16, None))
    assert 0.4 < half / full < 0.8


def test_nobody_who_is_not_adapted_takes_a_step(problem):
    method = method_of(problem)._replace(objective=None)
    assert capacity.needs(shared_of(problem), method=method, platform='cpu').step == 0


def test_a_tpu_fills_rows_of_numbers_up(problem):
    assert needs_of(problem, platform='tpu', lowering='tpu').each > needs_of(problem).each
