"""Whom does personalization hurt, and can it be told without labels?

    python experiments/guard.py RUN [RUN ...] [--phases=online,offline] [--judge=RUN] \
        [--out=guard.json]

Each RUN is the workdir of a run without a guard, finished or not: its stored predictions and its
people's labels are read, nothing is computed anew. The people of a run are judged by a rule that
was fitted on runs of other seeds, who are other people; those of a single seed, in five folds, by
one fitted on the other folds; with --judge the people of another run, by one fitted on all of RUN.
The table says how many hurt people it keeps from harm, how much gain it gives up, and how well its
estimate ranks people by their true gain. With --out the rules fitted on everyone are written, one
for each phase, for `--config.personalize.guard`; they keep whom harm threatens above --most-harm,
one limit for all phases or one for each, nobody at 1.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats
from ml_collections import ConfigDict

from ttp_jax.data import sets
from ttp_jax.data.clips import Clip
from ttp_jax.data.skeletons import Skeleton
from ttp_jax.files import predictions, whole_file
from ttp_jax.personalize import guard, verdict
from ttp_jax.personalize.many_people import Adapted
from ttp_jax.results import metrics
from ttp_jax.run import check_config

LIMITS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # most_harm to compare


class People(NamedTuple):
    """Features `[N, F]` of people, and their true gains `[N]`, points of mPCK."""

    features: np.ndarray
    gains: np.ndarray


class Guess(NamedTuple):
    """What rules that were not fitted on a person say of them: gain and harm, `[N]` each."""

    gains: np.ndarray
    harm: np.ndarray


# --- data ------------------------------------------------------------------------------------


def read_run(workdir: pathlib.Path, phase: str) -> People:
    """Everyone of a run who was personalized and has a score."""
    config = ConfigDict(json.loads((workdir / 'config.json').read_text()))
    data = sets.load(seed=config.seed, training=False, **check_config.data_options(config))
    rows = [read_person(workdir, phase, clip, data.skeleton) for clip in data.test]
    found = [row for row in rows if row is not None and np.isfinite(row[1])]
    features = np.reshape([row[0] for row in found], (-1, len(guard.NAMES)))
    return People(features, np.array([row[1] for row in found]))


def read_person(
    workdir: pathlib.Path, phase: str, clip: Clip, skeleton: Skeleton
) -> tuple[np.ndarray, float] | None:
    """(features, gain) of one person; None of somebody who was not personalized."""
    before, after = (
        stored(workdir / 'predictions' / name / f'{clip.id}.npz') for name in ('before', phase)
    )
    if before is None or after is None or clip.labels is None:
        return None
    if after.status == verdict.KEPT:
        raise SystemExit(f'{workdir}: made with a guard, expected a run without')
    if after.status == verdict.FAILED or not before.predicted:
        return None
    scores = [
        metrics.pck(result.joints, *clip.labels, skeleton=skeleton)['mPCK']
        for result in (before, after)
    ]
    return guard.features(before, after, bones=skeleton.bones), scores[1] - scores[0]


def stored(path: pathlib.Path) -> Adapted | None:
    """A person's predictions, of whatever mark; None where there are none."""
    if not path.is_file():
        return None
    arrays = predictions.read_arrays(path)
    return Adapted(
        arrays['joints'], arrays['scores'], arrays['losses'], status=str(arrays.get('status', ''))
    )


# --- fitting ---------------------------------------------------------------------------------


def fit(people: People, *, ridge: float, most_harm: float) -> guard.Rule:
    """The rule for these people; ridge: how strongly weights are held near zero."""
    centre = people.features.mean(axis=0)
    deviation = np.maximum(people.features.std(axis=0), 1e-6)
    rule = guard.Rule(centre.tolist(), deviation.tolist(), [], 0.0, [], 0.0, 0.0, most_harm)
    z = guard.standardised(people.features, rule)
    harm, harm_bias = fit_logistic(z, people.gains < 0, ridge=ridge)
    gain, gain_bias = fit_linear(z, people.gains, ridge=ridge)
    return rule._replace(
        harm=harm.tolist(), harm_bias=harm_bias, gain=gain.tolist(), gain_bias=gain_bias
    )


def fit_linear(z: np.ndarray, gains: np.ndarray, *, ridge: float) -> tuple[np.ndarray, float]:
    """Ridge regression; (weights, bias)."""
    centre, mean = z.mean(axis=0), gains.mean()
    z = z - centre
    weights = np.linalg.solve(z.T @ z + ridge * np.eye(z.shape[1]), z.T @ (gains - mean))
    return weights, float(mean - centre @ weights)


def fit_logistic(z: np.ndarray, hurt: np.ndarray, *, ridge: float) -> tuple[np.ndarray, float]:
    """Logistic regression with the same penalty, a hundredth of it on the bias; (weights, bias)."""
    sign = np.where(hurt, -1.0, 1.0)
    penalty = ridge * np.array([1.0] * z.shape[1] + [0.01])

    def loss(w):
        margin = sign * (z @ w[:-1] + w[-1])
        slope = sign * scipy.special.expit(margin)
        gradient = np.append(slope @ z, slope.sum()) + penalty * w
        return np.logaddexp(0, margin).sum() + 0.5 * (penalty * w**2).sum(), gradient

    found = scipy.optimize.minimize(loss, np.zeros(z.shape[1] + 1), jac=True, method='L-BFGS-B').x
    return found[:-1], float(found[-1])


def guesses(people: People, fold: np.ndarray, *, ridge: float) -> Guess:
    """Everyone judged by a rule fitted on the other folds; fold `[N]`: of each person."""
    found = Guess(*np.empty((2, len(people.gains))))
    for part in np.unique(fold):
        others = People(*(values[fold != part] for values in people))
        own = judged(people.features[fold == part], fit(others, ridge=ridge, most_harm=0.5))
        for values, mine in zip(found, own, strict=True):
            values[fold == part] = mine
    return found


def judged(features: np.ndarray, rule: guard.Rule) -> Guess:
    """What one rule says of people with features `[N, F]`."""
    return Guess(*np.array([guard.estimate(each, rule) for each in features]).reshape(-1, 2).T)


def folds_of(
    runs: Sequence[People], seeds: Sequence[int], *, folds: int, seed: int = 0
) -> np.ndarray:
    """The fold of each person `[N]`: their run's seed, or one by chance where all are the same.

    seeds: of each run. Two runs of one seed have the same people.
    """
    counts = [len(run.gains) for run in runs]
    if len(set(seeds)) > 1:
        return np.repeat(seeds, counts)
    return np.random.default_rng(seed).permutation(sum(counts)) % folds


# --- what came of it -------------------------------------------------------------------------


def outcome(gains: np.ndarray, harm: np.ndarray, most_harm: float) -> dict[str, float]:
    """What a limit does: kept and saved people, gain given up and mean gain, points a person."""
    kept = harm > most_harm
    return {
        'kept': int(kept.sum()),
        'saved': int((kept & (gains < 0)).sum()),
        'given up': float(np.where(kept, np.maximum(gains, 0), 0).mean()),
        'gain': float(np.where(kept, 0, gains).mean()),
    }


def rank_correlation(
    estimated: np.ndarray, true: np.ndarray, *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """(Spearman's, low, high): with a 95 % bootstrap interval over people."""
    rng, count = np.random.default_rng(seed), len(true)
    draws = rng.integers(0, count, (resamples, count))
    found = [spearman(estimated[draw], true[draw]) for draw in draws]
    low, high = np.nanpercentile(found, (2.5, 97.5))
    return spearman(estimated, true), float(low), float(high)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of ranks; NaN where one side is all the same."""
    ranks = scipy.stats.rankdata(a), scipy.stats.rankdata(b)
    if min(np.ptp(ranks[0]), np.ptp(ranks[1])) == 0:
        return float('nan')
    return float(np.corrcoef(*ranks)[0, 1])


def show(people: People, guess: Guess) -> None:
    """Prints the table."""
    gains, hurt = people.gains, int((people.gains < 0).sum())
    print(f'{len(gains)} people, mean gain {gains.mean():+.2f}, hurt {hurt}')
    print('harm above | kept | hurt people saved | gain given up | mean gain')
    for limit in LIMITS:
        found = outcome(gains, guess.harm, limit)
        print(
            f'{limit:10} | {found["kept"]:4} | {found["saved"]:8} of {hurt:5} | '
            f'{found["given up"]:13.2f} | {found["gain"]:+.2f}'
        )
    own, low, high = rank_correlation(guess.gains, gains)
    print(f'rank correlation of estimated and true gain {own:.2f} [{low:.2f}, {high:.2f}]')
    print(f'deviation of the true gain from the estimate {np.std(gains - guess.gains):.2f} points')
    for name, values in zip(guard.NAMES, people.features.T, strict=True):
        print(f'  {name:<14} alone {spearman(values, gains):+.2f}')


def joined(runs: Sequence[People]) -> People:
    """Everyone of several runs."""
    return People(*(np.concatenate(values) for values in zip(*runs, strict=True)))


def study_phase(arguments: argparse.Namespace, phase: str, *, most_harm: float) -> guard.Rule:
    """Prints one phase's table; returns the rule fitted on everyone."""
    runs = [read_run(run, phase) for run in arguments.runs]
    people = joined(runs)
    if len(people.gains) < 2 * arguments.folds:
        raise SystemExit(
            f'{len(people.gains)} people were personalized {phase} and have labels, expected at '
            f'least {2 * arguments.folds}'
        )
    rule = fit(people, ridge=arguments.ridge, most_harm=most_harm)
    seeds = [config['seed'] for config in configs_of(arguments.runs)]
    fold = folds_of(runs, seeds, folds=arguments.folds)
    guess = guesses(people, fold, ridge=arguments.ridge)
    print(f'--- {phase}')
    if arguments.judge:
        others = read_run(arguments.judge, phase)
        show(others, judged(others.features, rule))
    else:
        show(people, guess)
    return rule._replace(gain_error=float(np.std(people.gains - guess.gains)))


def configs_of(runs: Sequence[pathlib.Path]) -> list[dict]:
    """The config of each run."""
    return [json.loads((run / 'config.json').read_text()) for run in runs]


def provenance(arguments: argparse.Namespace) -> str:
    """Whom the rules are fitted on, for their file."""
    configs = configs_of(arguments.runs)
    names = sorted({config['data']['name'] for config in configs})
    seeds = ', '.join(str(config['seed']) for config in configs)
    parts = ' and '.join(sorted({config['data']['evaluate'] for config in configs}))
    return f'{parts} people, {len(configs)} runs on {", ".join(names)} data, seeds {seeds}'


def limits(text: str, phases: Sequence[str]) -> dict[str, float]:
    """The highest harm for each phase: of '0.2' the same for all, of '0.3,0.2' each its own.

    Raises:
      SystemExit: for what is no number, and for other counts of limits than one, or one a phase.
    """
    try:
        found = [float(word) for word in text.split(',')]
    except ValueError:
        found = []
    if len(found) not in (1, len(phases)):
        raise SystemExit(f'--most-harm={text}: expected one limit, or {len(phases)}, one a phase')
    return dict(zip(phases, found * len(phases)))


def study() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('runs', type=pathlib.Path, nargs='+')
    parser.add_argument('--phases', default='offline')
    parser.add_argument('--judge', type=pathlib.Path)
    parser.add_argument('--folds', type=int, default=5)
    parser.add_argument('--ridge', type=float, default=3.0)
    parser.add_argument('--most-harm', default='0.5')
    parser.add_argument('--out', type=pathlib.Path)
    arguments = parser.parse_args()
    most_harm = limits(arguments.most_harm, arguments.phases.split(','))
    rules = {
        phase: study_phase(arguments, phase, most_harm=limit) for phase, limit in most_harm.items()
    }
    if arguments.out:
        with whole_file.replacing(arguments.out) as path:
            path.write_text(guard.text(rules, made_of=provenance(arguments)))


if __name__ == '__main__':
    study()
