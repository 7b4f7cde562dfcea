"""What a trace holds at most, on computations small enough to count by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from ttp_jax.personalize import liveness

N = 64
SQUARE = N * N * 4  # bytes


def held(function, *arguments, lanes=1):
    return liveness.most_held(jax.make_jaxpr(function)(*arguments), lanes=lanes)


@pytest.fixture
def x():
    return jnp.ones((N, N))


def test_what_is_given_is_not_counted_and_results_are(x):
    assert held(lambda x: x, x) == 0
    assert held(lambda x: x @ x, x) == SQUARE


def test_what_nobody_reads_any_more_is_gone(x):
    def powers(x):
        for _ in range(5):
            x = x @ x
        return x

    assert held(powers, x) == 2 * SQUARE


def test_what_is_read_again_at_the_end_is_held_until_then(x):
    def sums(x):
        first = x @ x
        last = first @ x @ x @ x
        return first @ last

    assert held(sums, x) == 3 * SQUARE


def test_elementwise_chains_make_nothing_but_keep_what_they_read(x):
    assert held(lambda x: jnp.tanh(2 * x + 1), x) == 0
    assert held(lambda x: jnp.tanh(x @ x) @ x, x) == 2 * SQUARE

    def late(x):
        chain = jnp.tanh(x @ x)
        return chain @ (x @ x @ x)

    assert held(late, x) == 3 * SQUARE


def test_a_gradient_holds_what_the_backward_pass_reads(x):
    def depth(n):
        def loss(x):
            y = x
            for _ in range(n):
                y = jnp.tanh(y @ x)
            return y.sum()

        return held(jax.grad(loss), x)

    assert depth(8) - depth(4) == 4 * SQUARE


def test_a_loop_holds_its_body_once_and_carries_in_place(x):
    def body(y, _):
        return jnp.tanh(y @ y @ y), None

    once = held(lambda x: body(x, None)[0], x)
    assert held(lambda x: lax.scan(body, x, length=100)[0], x) == once == 2 * SQUARE
    assert held(lambda x: lax.fori_loop(0, 9, lambda _, y: body(y, None)[0], x), x) == once


def test_what_a_loop_gathers_and_what_it_reads_is_made(x):
    assert held(lambda x: lax.scan(lambda c, _: (c, c @ c), x, length=3)[1], x) == 4 * SQUARE
    read = held(lambda x: lax.scan(lambda c, _: (c + y_of(x), None), x, length=3)[0], x)
    outside = held(lambda x, y: lax.scan(lambda c, _: (c + y, None), x, length=3)[0], x, x)
    assert read - outside == 0  # computed in the body

    def before(x):
        y = y_of(x)
        return lax.scan(lambda c, _: (c + y, None), x, length=3)[0]

    assert held(before, x) - outside == SQUARE


def y_of(x):
    return jnp.tanh(2 * x)


def test_of_branches_the_largest_counts(x):
    def either(x):
        return lax.cond(x[0, 0] > 0, lambda x: x @ x @ x @ x, lambda x: x, x)

    assert 2 * SQUARE <= held(either, x) <= 4 * SQUARE


def test_rows_are_filled_up():
    narrow = jnp.ones((8, 3))
    assert held(lambda x: x @ jnp.ones((3, 3)), narrow) - 9 * 4 <= 8 * 3 * 4
    assert held(lambda x: x @ jnp.ones((3, 3)), narrow, lanes=128) == 8 * 128 * 4
    assert liveness.size_of(narrow, lanes=128) == 8 * 128 * 4
    assert liveness.size_of({'a': narrow, 'b': jnp.float32(1)}) == 8 * 3 * 4


def test_what_is_called_counts_as_if_it_stood_there(x):
    def powers(x):
        return x @ x @ x

    assert held(jax.jit(powers), x) == held(powers, x) == held(jax.checkpoint(powers), x)
