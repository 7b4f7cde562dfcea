"""Do no harm: from what personalization did, without any label, whether it had better be undone.

Contract. `features` are numbers `[len(NAMES)]` of one person's two results: joints `[T, J, 2]` in
image pixels (x, y), heatmaps' maxima `[T, J]`, losses `[T, epochs]`. A `Rule` makes of them how
likely it is that the person is hurt, and an estimate of the gain in points of PCK; its numbers are
fitted by experiments/guard.py on people with labels, and kept as JSON: a rule for each schedule,
since what a schedule does differs. `judge` is a rule as a `verdict.Judge`: it keeps the shared
network's predictions for those who are likely to be hurt.

`RULES` are in the package, each for the runs that its file names and no others. 'drawn' keeps
nobody: on drawn people the features rank gains, but do not tell whom personalization hurts. 'real',
fitted on 30 people of configs/real.py as it stands, spares two of three who are hurt offline, and
costs a quarter of the mean gain (experiments/README.md).
"""

import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

from ttp_jax.personalize import verdict
from ttp_jax.personalize.many_people import Adapted

NAMES = (
    'moved',  # how far joints moved on average, in sizes of the person
    'moved_most',  # how far the farthest twentieth of them did at least
    'jitter',  # of the shared network's joints: how far they jump from a straight path
    'jitter_change',  # logarithm of how many times that is now
    'limbs',  # of the shared network: deviation of limb lengths over the clip, in mean lengths
    'limbs_change',
    'scores',  # of the shared network: mean of the heatmaps' maxima
    'scores_change',  # difference
    'loss_change',  # logarithm of how many times the first losses the last ones are
)

RULES = {'drawn': 'drawn.json', 'real': 'real.json'}  # in the folder `rules`

Bones = Sequence[tuple[int, int]]  # pairs of joints with a limb between them

_FLOOR = 1e-3  # below it, jitter and limbs are as good as none
_LARGEST = 1e9  # no number of a rule has any reason to be larger
_FARTHEST = 4.0  # deviations: what lies farther out than anybody fitted on says no more than that


class Rule(NamedTuple):
    """A logistic rule for harm and a linear one for the gain, on standardised features.

    centre, deviation `[F]`: of the features of those it was fitted on. harm, gain `[F]`: weights;
    harm_bias, gain_bias: constants. gain_error: deviation of the true gain from the estimate,
    points, of people it was not fitted on. most_harm: the probability above which nobody is
    personalized.
    """

    centre: Sequence[float]
    deviation: Sequence[float]
    harm: Sequence[float]
    harm_bias: float
    gain: Sequence[float]
    gain_bias: float
    gain_error: float
    most_harm: float


Rules = Mapping[str, Rule]  # by schedule


class Estimate(NamedTuple):
    """gain: points of PCK; harm: the probability that it is negative."""

    gain: float
    harm: float


def features(before: Adapted, after: Adapted, *, bones: Bones) -> np.ndarray:
    """What personalization did to one person, `[len(NAMES)]` float64."""
    size = person_size(before.joints)
    distance = np.linalg.norm(after.joints - before.joints, axis=-1) / size
    shaking = [jitter(result.joints) / size for result in (before, after)]
    limbs = [limb_deviation(result.joints, bones) for result in (before, after)]
    scores = [float(np.mean(result.scores)) for result in (before, after)]
    return np.array(
        [
            distance.mean(),
            np.percentile(distance, 95),
            shaking[0],
            _log_ratio(*shaking),
            limbs[0],
            _log_ratio(*limbs),
            scores[0],
            scores[1] - scores[0],
            _log_ratio(*_ends(after.losses)),
        ]
    )


def person_size(joints: np.ndarray) -> float:
    """The diagonal of the box around all joints `[T, J, 2]`, median over frames, one pixel or more.

    Image pixels.
    """
    diagonals = np.linalg.norm(np.ptp(joints, axis=1), axis=-1)
    return max(1.0, float(np.median(diagonals)))


def jitter(joints: np.ndarray) -> float:
    """Mean distance of a joint from the middle of where it is a frame before and a frame after.

    Of joints `[T, J, 2]`, in their unit; 0 of fewer than three frames.
    """
    if len(joints) < 3:
        return 0.0
    middle = (joints[:-2] + joints[2:]) / 2
    return float(np.linalg.norm(joints[1:-1] - middle, axis=-1).mean())


def limb_deviation(joints: np.ndarray, bones: Bones) -> float:
    """Standard deviation of a limb's length over the clip, in mean lengths; mean over limbs.

    0 of a skeleton without any.
    """
    if not bones:
        return 0.0
    start, end = np.array(bones).T
    lengths = np.linalg.norm(joints[:, start] - joints[:, end], axis=-1)
    return float((lengths.std(axis=0) / np.maximum(lengths.mean(axis=0), _FLOOR)).mean())


def _ends(losses: np.ndarray) -> tuple[float, float]:
    """Mean of the first and of the last tenth of the steps' losses; (1, 1) of none."""
    steps = np.ravel(losses)
    tenth = max(1, steps.size // 10)
    return (steps[:tenth].mean(), steps[-tenth:].mean()) if steps.size else (1.0, 1.0)


def _log_ratio(before: float, after: float) -> float:
    return math.log(max(after, _FLOOR) / max(before, _FLOOR))


def standardised(found: np.ndarray, rule: Rule) -> np.ndarray:
    """Features `[..., F]` in deviations from the mean of those the rule was fitted on."""
    z = (found - np.asarray(rule.centre)) / np.asarray(rule.deviation)
    return np.clip(z, -_FARTHEST, _FARTHEST)


def estimate(found: np.ndarray, rule: Rule) -> Estimate:
    """What the rule makes of one person's features `[F]`."""
    z = standardised(found, rule)
    gain = float(z @ np.asarray(rule.gain)) + rule.gain_bias
    harm = scipy.special.expit(float(z @ np.asarray(rule.harm)) + rule.harm_bias)
    return Estimate(gain, float(harm))


def judge(rule: Rule, *, bones: Bones) -> verdict.Judge:
    """The rule as a judge: failed as `verdict.finite` has it, kept where harm is too likely."""

    def decide(before: Adapted, after: Adapted) -> verdict.Verdict:
        found = verdict.finite(before, after)
        if found.status != verdict.PERSONALIZED:
            return found
        gain, harm = estimate(features(before, after, bones=bones), rule)
        if harm > rule.most_harm:
            reason = f'harm is {harm:.0%} likely, estimated gain {gain:+.1f} points'
            return verdict.Verdict(verdict.KEPT, reason, gain)
        return found._replace(gain=gain)

    return decide


def text(rules: Rules, *, made_of: str = '') -> str:
    """Rules as JSON; made_of: whom they were fitted on."""
    by_schedule = {schedule: rule._asdict() for schedule, rule in rules.items()}
    content = {'made_of': made_of, 'features': NAMES, 'rules': by_schedule}
    return json.dumps(content, indent=2) + '\n'


def read(name: str | os.PathLike) -> dict[str, Rule]:
    """The rules of a name in `RULES`, or of a file that `text` made.

    Raises:
      ValueError: for a file that cannot be read, that lacks a number, or that was fitted on other
        features.
    """
    path = pathlib.Path(name)
    if str(name) in RULES:
        path = pathlib.Path(__file__).parent / 'rules' / RULES[str(name)]
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
        names = tuple(found['features'])
        rules = {schedule: Rule(**rule) for schedule, rule in found['rules'].items()}
    except OSError as error:
        raise ValueError(
            f'{path}: cannot be read ({error.strerror}), expected a file of experiments/guard.py '
            f'or one of {", ".join(RULES)}'
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path}: {error!r}, expected rules of experiments/guard.py') from None
    if names != NAMES:
        raise ValueError(f'{path}: fitted on {", ".join(names)}; expected {", ".join(NAMES)}')
    for schedule, rule in rules.items():
        _check(f'{path}: {schedule}', rule)
    return rules


def _check(where: str, rule: Rule) -> None:
    """Raises ValueError unless every field is finite numbers, as many as there should be."""
    many = ('centre', 'deviation', 'harm', 'gain')
    for name, value in rule._asdict().items():
        try:
            numbers = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            numbers = np.array(math.nan)
        expected = (len(NAMES),) if name in many else ()
        if numbers.shape != expected or not (np.abs(numbers) <= _LARGEST).all():
            raise ValueError(f'{where}: {name} is {value!r}, expected finite numbers {expected}')
    if np.min(rule.deviation) <= 0:
        raise ValueError(f'{where}: deviation holds {np.min(rule.deviation)}, expected above 0')
