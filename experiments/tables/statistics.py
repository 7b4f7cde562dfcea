"""Means over seeds, and intervals over people nested in seeds. Numbers in, numbers out.

Contract: `gains` is one `[people]` array per seed, in points, NaN for people without a score. Drawn
people are others for each seed, so they are nested in it; recorded people are the same for all
seeds (crossed), in the same order, and those cut from one recording (a source) hang together.
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
    gains: Sequence[np.ndarray],
    *,
    crossed: bool,
    sources: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Mean gain with its interval: seeds are drawn anew, then people of each.

    Crossed people are drawn once for all seeds, since who is easy for one is so for the others.

    Args:
      sources: of each of the crossed people; all people of a source are drawn, or none. None:
        everyone is alone.

    Raises:
      ValueError: when a seed has nobody with a score, or crossed seeds differ in their people.
    """
    if crossed and len({len(each) for each in gains}) > 1:
        raise ValueError(f'seeds have {[len(g) for g in gains]} people, expected the same people')
    together = np.array([])
    if crossed:
        scored = np.isfinite(np.stack(gains)).all(axis=0)
        gains = [each[scored] for each in gains]
        together = (np.arange(len(scored)) if sources is None else np.asarray(sources))[scored]
    else:
        gains = [each[np.isfinite(each)] for each in gains]
    if not gains or not all(each.size for each in gains):
        raise ValueError('a seed has nobody with a score on both sides')
    rng = np.random.default_rng(seed)
    draws = _crossed(gains, together, resamples, rng) if crossed else _nested(gains, resamples, rng)
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


def _crossed(
    gains: Sequence[np.ndarray], sources: np.ndarray, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """`[resamples]`: means over drawn seeds and drawn sources, the same people for every seed."""
    _, source = np.unique(sources, return_inverse=True)
    total = np.stack([np.bincount(source, each) for each in gains])
    count = np.bincount(source)
    draws = []
    for _ in range(resamples):
        drawn = rng.integers(len(count), size=len(count))
        of_people = total[:, drawn].sum(axis=1) / count[drawn].sum()
        draws.append(of_people[rng.integers(len(gains), size=len(gains))].mean())
    return np.array(draws)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's; None where one side does not vary or there are fewer than three."""
    if len(a) < 3 or len(set(a)) == 1 or len(set(b)) == 1:
        return None
    return float(stats.spearmanr(a, b).statistic)
