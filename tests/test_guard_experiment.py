"""The fit of the guard's rule, on people whose gains are known because they were made up."""

import numpy as np
import pytest

from experiments import guard as study
from ttp_jax.personalize import guard


def made_up(people=120, noise=1.0, seed=0):
    """People who lose the more the farther their joints moved; every other feature is chance."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(people, len(guard.NAMES))) * 5 + 2
    return study.People(features, 1.0 - features[:, 0] + noise * rng.normal(size=people))


def test_what_hurts_is_found_and_told_of_people_it_was_not_fitted_on():
    people = made_up()
    guess = study.guesses(people, study.folds_of([people], [0], folds=5), ridge=3.0)
    own, low, high = study.rank_correlation(guess.gains, people.gains, resamples=200)
    assert 0.9 < low <= own <= high <= 1
    found = study.outcome(people.gains, guess.harm, 0.5)
    hurt, could = people.gains < 0, np.maximum(people.gains, 0).mean()
    assert found['saved'] > 0.75 * hurt.sum() and found['given up'] < 0.2 * could
    assert found['gain'] > people.gains.mean()


def test_nobody_is_told_from_their_own_gain():
    rng = np.random.default_rng(1)
    people = made_up()._replace(gains=rng.normal(size=120))  # nothing to be learned
    guess = study.guesses(people, study.folds_of([people], [0], folds=5), ridge=3.0)
    own, low, high = study.rank_correlation(guess.gains, people.gains, resamples=200)
    assert low < 0 < high and abs(own) < 0.3


def test_a_run_is_judged_by_a_rule_fitted_on_the_others():
    runs = [made_up(people=30, seed=seed) for seed in range(3)]
    fold = study.folds_of(runs, [7, 8, 8], folds=5)  # the last two have the same people
    assert fold.tolist() == [7] * 30 + [8] * 60
    guess = study.guesses(study.joined(runs), fold, ridge=3.0)
    rule = study.fit(study.joined(runs[1:]), ridge=3.0, most_harm=0.5)
    np.testing.assert_array_equal(guess.gains[:30], study.judged(runs[0].features, rule).gains)


@pytest.mark.parametrize('gain', [-2.0, 2.0])
def test_a_fit_where_all_fare_alike_stays_finite(gain, tmp_path):
    people = made_up()._replace(gains=np.full(120, gain))
    rule = study.fit(people, ridge=3.0, most_harm=0.5)
    (tmp_path / 'rule.json').write_text(guard.text({'online': rule}))
    found = guard.estimate(people.features[0], guard.read(tmp_path / 'rule.json')['online'])
    assert found.gain == pytest.approx(gain) and (found.harm > 0.9) == (gain < 0)


def test_the_fit_is_where_its_loss_is_least():
    z, hurt = np.random.default_rng(2).normal(size=(40, 3)), np.arange(40) % 3 == 0
    weights, bias = study.fit_logistic(z, hurt, ridge=1.0)
    p = 1 / (1 + np.exp(-(z @ weights + bias)))
    np.testing.assert_allclose((p - hurt) @ z + weights, 0, atol=1e-3)
    assert (p - hurt).sum() + 0.01 * bias == pytest.approx(0, abs=1e-3)


def test_a_limit_trades_harm_for_gain():
    gains, harm = np.array([4.0, -2, 6, -8]), np.array([0.1, 0.6, 0.6, 0.9])
    assert study.outcome(gains, harm, 0.5) == {'kept': 3, 'saved': 2, 'given up': 1.5, 'gain': 1}
    assert study.outcome(gains, harm, 0.95) == {'kept': 0, 'saved': 0, 'given up': 0, 'gain': 0}


def test_a_limit_is_one_for_all_phases_or_one_for_each():
    assert study.limits('0.5', ['online', 'offline']) == {'online': 0.5, 'offline': 0.5}
    assert study.limits('0.3,0.2', ['online', 'offline']) == {'online': 0.3, 'offline': 0.2}
    with pytest.raises(SystemExit, match='2, one a phase'):
        study.limits('0.3,0.2,0.1', ['online', 'offline'])
    with pytest.raises(SystemExit, match='most-harm=little'):
        study.limits('little', ['online', 'offline'])
