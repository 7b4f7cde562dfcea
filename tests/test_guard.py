"""The guard: what it sees in a person's two results, and whom it keeps from being hurt."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttp_jax.personalize import guard, verdict
from ttp_jax.personalize.many_people import Adapted

BONES = ((0, 1), (1, 2))
LOSSES = np.full((6, 2), 3.0)


def result(joints, scores=1.0, losses=LOSSES, **how):
    return Adapted(joints, np.full(joints.shape[:2], scores), losses, **how)


def walking(frames=6, speed=2.0):
    """Three joints 30 pixels apart, all moving to the right."""
    start = np.array([[0.0, 0], [30, 0], [30, 40]])
    return start + speed * np.arange(frames)[:, None, None] * np.array([1.0, 0])


def features(before, after):
    found = guard.features(before, after, bones=BONES)
    assert found.shape == (len(guard.NAMES),) and np.isfinite(found).all()
    return dict(zip(guard.NAMES, found))


def test_nothing_done_is_nothing_seen():
    same = result(walking())
    found = features(same, same)
    assert found.pop('scores') == 1
    assert all(abs(value) < 1e-9 for value in found.values()), found


def test_features_are_in_units_of_the_person():
    before, after = walking(), walking() + 5.0  # a diagonal of 50 pixels
    found = features(result(before), result(after))
    assert found['moved'] == pytest.approx(5 * math.sqrt(2) / 50)
    larger = features(result(3 * before), result(3 * after))
    assert larger == pytest.approx(found)


def test_shaking_and_stretching_are_seen_where_they_happen():
    steady, shaking = walking(), walking()
    shaking[::2, 0] += (0, 4)
    found = features(result(steady), result(shaking))
    assert found['jitter_change'] > 1 and found['limbs_change'] > 0.5
    back = features(result(shaking), result(steady))
    assert back['jitter_change'] == pytest.approx(-found['jitter_change'])
    assert found['moved_most'] > found['moved'] > 0


def test_confidence_and_losses_are_compared():
    losses = np.array([[4.0, 4], [3, 3], [2, 2], [1, 1]])
    found = features(result(walking(4), 0.5), result(walking(4), 0.75, losses))
    assert found['scores_change'] == pytest.approx(0.25)
    assert found['loss_change'] == pytest.approx(math.log(1 / 4))


@given(st.integers(1, 4), st.floats(0, 1e4), st.floats(0, 1e4))
def test_features_are_finite_of_any_clip(frames, spread, loss):
    rng = np.random.default_rng(0)
    before, after = (spread * rng.normal(size=(frames, 3, 2)) for _ in range(2))
    features(result(before), result(after, losses=np.full((frames, 1), loss)))
    features(result(before), result(after, losses=np.zeros((0, 0))))


COUNT = len(guard.NAMES)
MOVED = [1.0] + [0.0] * (COUNT - 1)  # harm grows, and gain falls, with how far joints moved
RULE = guard.Rule(
    centre=[0.1] + [0.0] * (COUNT - 1),
    deviation=[0.1] + [1.0] * (COUNT - 1),
    harm=MOVED,
    harm_bias=0.0,
    gain=[-2 * weight for weight in MOVED],
    gain_bias=1.0,
    gain_error=3.0,
    most_harm=0.6,
)


def test_those_whom_harm_threatens_keep_what_they_had():
    judge = guard.judge(RULE, bones=BONES)
    before, near, far = result(walking()), result(walking() + 1), result(walking() + 20)
    fine = verdict.settled(before, near, judge=judge)
    assert fine.status == 'personalized' and fine.gain > 1
    np.testing.assert_array_equal(fine.joints, near.joints)
    kept = verdict.settled(before, far, judge=judge)
    assert kept.status == 'kept' and 'likely, estimated gain -' in kept.reason and kept.gain < 0
    np.testing.assert_array_equal(kept.joints, before.joints)


def test_someone_who_failed_is_not_judged():
    failed = result(walking(), failed_at=3)
    found = guard.judge(RULE, bones=BONES)(result(walking()), failed)
    assert found.status == 'failed' and math.isnan(found.gain)


def test_whom_the_network_rebuilds_as_training_people_is_left_alone():
    before = result(walking())
    far, near = (result(walking() + 1, losses=np.array([[first], [1.0]])) for first in (8.1, 7.9))
    judge = verdict.strangers(verdict.finite, least_gap=2.0, training_loss=4.0)
    found = verdict.settled(before, far, judge=judge)
    assert found.status == 'personalized' and (found.joints == far.joints).all()
    found = verdict.settled(before, near, judge=judge)
    assert found.status == 'kept' and (found.joints == before.joints).all()
    assert found.reason == 'rebuilt with 1.98 times the loss of training people, no stranger'
    assert judge(before, near._replace(failed_at=3)).status == 'failed'


def test_those_whom_the_guard_keeps_are_kept_by_its_reason_and_strangers_by_its_estimate():
    judge = verdict.strangers(guard.judge(RULE, bones=BONES), least_gap=2.0, training_loss=1.0)
    before, near, far = result(walking()), result(walking() + 1), result(walking() + 20)
    assert 'likely' in judge(before, far).reason and judge(before, near).gain > 1
    nobody = judge(before, near._replace(losses=LOSSES / 2))
    assert nobody.status == 'kept' and nobody.gain > 1


def test_a_clip_unlike_all_others_is_no_more_than_far_out():
    found = guard.estimate(np.full(COUNT, 1e9), RULE)
    assert found.gain == pytest.approx(1 - 2 * 4) and found.harm == pytest.approx(
        1 / (1 + math.exp(-4))
    )


def test_a_rule_comes_back_from_its_file(tmp_path):
    (tmp_path / 'rule.json').write_text(guard.text({'online': RULE}, made_of='nobody'))
    assert guard.read(tmp_path / 'rule.json') == {'online': RULE}


def extremes(rule):
    """What a rule says of whoever looks most harmed to it, and least."""
    centre, way = np.asarray(rule.centre), 1e3 * np.sign(rule.harm)
    return guard.estimate(centre + way, rule), guard.estimate(centre - way, rule)


def test_the_rules_of_drawn_people_estimate_and_keep_nobody():
    for rule in guard.read('drawn').values():
        worst, _ = extremes(rule)
        assert worst.harm < rule.most_harm and rule.gain_error > 0


def test_the_rules_of_real_people_keep_some_and_not_all():
    rules = guard.read('real')
    assert set(rules) == {'online', 'offline'}
    for rule in rules.values():
        worst, best = extremes(rule)
        assert best.harm < rule.most_harm < worst.harm and rule.gain_error > 0


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda d: d.pop('harm'), 'harm.*expected rules of experiments/guard.py'),
        (lambda d: d.update(gain=[1.0]), r'gain is \[1.0\], expected finite numbers'),
        (lambda d: d.update(most_harm=None), 'most_harm is None, expected finite'),
        (lambda d: d.update(deviation=[0.0] * COUNT), 'deviation holds 0.0, expected above 0'),
    ],
)
def test_a_file_that_is_no_rule_is_refused_in_one_line(tmp_path, change, message):
    path, content = tmp_path / 'rule.json', json.loads(guard.text({'online': RULE}))
    change(content['rules']['online'])
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f'rule.json: .*{message}') as error:
        guard.read(path)
    assert '\n' not in str(error.value)


def test_rules_of_other_features_are_refused(tmp_path):
    content = json.loads(guard.text({'online': RULE})) | {'features': ['moved']}
    (tmp_path / 'rule.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='fitted on moved; expected moved, moved_most'):
        guard.read(tmp_path / 'rule.json')


def test_a_missing_rule_is_named(tmp_path):
    with pytest.raises(ValueError, match='none.json: cannot be read'):
        guard.read(tmp_path / 'none.json')
