"""One number from what a task finds: reconstruction terms, each by its running mean (paper 3.1)."""

import jax
import jax.numpy as jnp
from jax import lax

from ttp_jax.objectives.objective import Outcome

MOMENTUM = 0.01


def balance(
    terms: jax.Array, means: jax.Array, *, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """The sum of terms `[T]`, each divided by its running mean; and the new running means.

    The mean is updated first, by a hundredth of the difference, and no gradient goes through it. A
    mean of zero has not been set yet: it becomes the first value. With `axis_name` the running
    means follow the terms' average over the devices.
    """
    now = lax.stop_gradient(terms)
    now = lax.pmean(now, axis_name) if axis_name else now
    means = jnp.where(means > 0, means + MOMENTUM * (now - means), now)
    return jnp.sum(terms / means), means


def total(
    outcome: Outcome, means: jax.Array, *, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
    """A task's loss `[]`, the new running means of its terms, and its metrics."""
    if outcome.terms is None:
        return outcome.loss, means, outcome.metrics
    balanced, means = balance(outcome.terms, means, axis_name=axis_name)
    metrics = outcome.metrics | {'reconstruction': balanced}
    return outcome.loss + outcome.weight * balanced, means, metrics
