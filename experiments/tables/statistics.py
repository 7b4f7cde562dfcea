"""Means over seeds, and intervals over people nested in seeds. Numbers in, numbers out.

Contract: `gains` is one `[people]` array per seed, in points, NaN for people without a score. Drawn
people are others for each seed, so they are nested in it; recorded people are the same for all
seeds (crossed), in the same order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 10_000


class Estimate(NamedTuple):
    """A mean over seeds of means over people, and its 95 % interval by the bootstrap."""

    mean: float
    low: float
    high: float
    seeds: int
    better: int  # people, of all seeds
    worse: int


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (n - 1) over seeds; None for the deviation of one value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return float(np.mean(values)), deviation


def estimate(
    gains: Sequence[np.ndarray], *, crossed: bool, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Mean gain with its interval: seeds are drawn anew, then people of each.

    Crossed people are drawn once for all seeds, since who is easy for one is so for the others.

    Raises:
      ValueError: when a seed has nobody with a score, or crossed seeds differ in their people.
    """
    if crossed and len({len(each) for each in gains}) > 1:
        raise ValueError(f'seeds have {[len(g) for g in gains]} people, expected the same people')
    if crossed:
        scored = np.isfinite(np.stack(gains)).all(axis=0)
        gains = [each[scored] for each in gains]
    else:
        gains = [each[np.isfinite(each)] for each in gains]
    if not gains or not all(each.size for each in gains):
        raise ValueError('a seed has nobody with a score on both sides')
    rng = np.random.default_rng(seed)
    draws = (_crossed if crossed else _nested)(gains, resamples, rng)
    low, high = np.percentile(draws, (2.5, 97.5))
    everyone = np.concatenate(gains)
    return Estimate(
        float(np.mean([each.mean() for each in gains])),
        float(low),
        float(high),
        len(gains),
        int((everyone > 0).sum()),
        int((everyone < 0).sum()),
    )


def _nested(gains: Sequence[np.ndarray], resamples: int, rng: np.random.Generator) -> np.ndarray:
    """`[resamples]`: means over as many seeds as there are, each with people of its own drawn."""
    total = np.zeros(resamples)
    for _ in gains:
        chosen = rng.integers(len(gains), size=resamples)
        for index, each in enumerate(gains):
            here = np.flatnonzero(chosen == index)
            total[here] += rng.choice(each, (len(here), len(each))).mean(axis=1)
    return total / len(gains)


def _crossed(gains: Sequence[np.ndarray], resamples: int, rng: np.random.Generator) -> np.ndarray:
    """`[resamples]`: means over drawn seeds and drawn people, the same people for every seed."""
    table = np.stack(gains)
    seeds, people = table.shape
    draws = []
    for _ in range(resamples):
        of_people = table[:, rng.integers(people, size=people)].mean(axis=1)
        draws.append(of_people[rng.integers(seeds, size=seeds)].mean())
    return np.array(draws)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's; None where one side does not vary or there are fewer than three."""
    if len(a) < 3 or len(set(a)) == 1 or len(set(b)) == 1:
        return None
    return float(stats.spearmanr(a, b).statistic)
