"""Whose predictions count: the one place that sees a person before and after, and decides.

Contract: a judge is a function `judge(before, after) -> Verdict` of one person's two results, made
without any label. A person who failed, or whom a judge would rather leave alone, keeps what the
shared weights predict.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ttp_jax.personalize.inner_loop import HEALTHY
from ttp_jax.personalize.many_people import FAILED, Adapted

PERSONALIZED, KEPT = 'personalized', 'kept'


class Verdict(NamedTuple):
    """status: 'personalized', 'kept' (the shared weights' predictions) or 'failed'; and why.

    gain: what personalization is estimated to change in the person's score, points of PCK; NaN
    where nobody estimates it.
    """

    status: str
    reason: str = ''
    gain: float = math.nan


Judge = Callable[[Adapted, Adapted], Verdict]


def finite(before: Adapted, after: Adapted) -> Verdict:
    """Failed where frames, a loss, a gradient or a prediction were no good; else personalized."""
    for result in (before, after):
        if result.status == FAILED:
            return Verdict(FAILED, result.reason)
    if after.failed_at != HEALTHY:
        return Verdict(FAILED, f'loss or gradient of step {after.failed_at} is not finite')
    bad = np.argwhere(~np.isfinite(after.joints))
    if bad.size:
        return Verdict(FAILED, f'prediction of frame {bad[0, 0]} is not finite')
    return Verdict(PERSONALIZED)


def strangers(judge: Judge, *, least_gap: float, training_loss: float) -> Judge:
    """`judge`, but nobody is personalized whom the network rebuilds as training people are.

    There is little to learn of such a person, and steps lead away from what labels taught. What a
    network gains follows how much worse it rebuilds strangers (RESULTS.md).

    Args:
      least_gap: the least loss before any step that counts as a stranger's, in `training_loss`es.
      training_loss: what training people's loss was in the end.
    """

    def decide(before: Adapted, after: Adapted) -> Verdict:
        found = judge(before, after)
        if found.status != PERSONALIZED or after.losses.size == 0:
            return found
        gap = float(after.losses.flat[0]) / training_loss
        if gap >= least_gap:
            return found
        reason = f'rebuilt with {gap:.2f} times the loss of training people, no stranger'
        return Verdict(KEPT, reason, found.gain)

    return decide


def settled(before: Adapted, after: Adapted, *, judge: Judge = finite) -> Adapted:
    """The result that counts, with its status: `after`, or else the predictions of `before`."""
    verdict = judge(before, after)
    if verdict.status != PERSONALIZED:
        after = after._replace(joints=before.joints, scores=before.scores)
    return after._replace(status=verdict.status, reason=verdict.reason, gain=verdict.gain)
