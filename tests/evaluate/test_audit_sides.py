"""Which audits may bound epsilon in a bracket, and the accountant's own curve as one of them."""

import math

import numpy as np
import pytest

from quintain.dp.accounting.gaussian import log_delta
from quintain.evaluate.audit_runs import audit_run, bracket_side
from quintain.evaluate.plan_profiles import NOISE_RATIOS, plan_profiles
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.leakage import (
    Experiment,
    audit_gaussian_curve,
    audit_gaussian_pair,
    audit_one_run,
    audit_plan_curve,
)
from quintain.leakage.canaries import log_likelihood_ratio

RECORDS = 600
TARGET = PrivacyTarget(epsilon=8.0, batch_size=150, steps=20)


@pytest.fixture(scope="module")
def plan():
    return TARGET.plan(RECORDS)


@pytest.fixture(scope="module")
def profiles(plan):
    return plan_profiles(plan, RECORDS)


def scores_of(plan, coins, rng, *, noise=1.0):
    """What canaries that are worth the clip norm show in each step, by the plan or with other noise."""
    q, sigma = plan.sample_rate(RECORDS), plan.noise_multiplier
    drawn = (rng.random((plan.steps, len(coins))) < q) & coins
    seen = drawn + noise * sigma * rng.standard_normal(drawn.shape)
    return log_likelihood_ratio(seen, sample_rate=q, noise_multiplier=sigma)


def test_profiles_go_from_much_less_to_more_than_the_claim(plan, profiles):
    claimed = plan.epsilon(RECORDS)
    below = profiles.values[profiles.values <= claimed]
    assert len(below) == NOISE_RATIOS.index(1.0) + 1
    assert claimed - 0.05 < below[-1] <= claimed
    assert (np.diff(profiles.deltas, axis=0) >= 0).all()


def test_of_full_batches_the_profile_is_never_below_the_closed_form():
    plan = PrivacyTarget(epsilon=2.0, batch_size=50, steps=9).plan(50)
    made = plan_profiles(plan, 50)
    claim = NOISE_RATIOS.index(1.0)
    exact = [math.exp(log_delta(float(e), plan.noise_multiplier / 3)) for e in made.epsilons]
    assert (made.deltas[claim] >= np.array(exact) * (1 - 1e-9)).all()
    assert made.deltas[claim] == pytest.approx(exact, rel=1e-6, abs=1e-12)


def test_a_training_that_keeps_to_its_plan_is_hardly_ever_refuted(plan, profiles):
    claimed, above, shown, alone = plan.epsilon(RECORDS), 0, [], []
    for run in range(40):
        rng = np.random.default_rng(run)
        coins = rng.random(200) < 0.5
        scores = scores_of(plan, coins, rng)
        found = audit_plan_curve(scores, coins, seed=run, profiles=profiles).epsilon
        above += found > claimed
        shown.append(found)
        alone.append(audit_one_run(scores, coins, seed=run).epsilon)
    assert above <= 6
    assert np.mean(shown) > np.mean(alone) + 0.5


def test_half_of_the_noise_is_seen_by_the_curve_where_epsilon_alone_shows_little():
    plan = PrivacyTarget(epsilon=2.0, batch_size=150, steps=20).plan(RECORDS)
    profiles, claimed, curve, alone = plan_profiles(plan, RECORDS), plan.epsilon(RECORDS), 0, 0
    for run in range(8):
        rng = np.random.default_rng(run)
        coins = rng.random(1000) < 0.5
        scores = scores_of(plan, coins, rng, noise=0.45)
        curve += audit_plan_curve(scores, coins, seed=run, profiles=profiles).epsilon > claimed
        alone += audit_one_run(scores, coins, seed=run).epsilon > claimed
    assert curve >= 6
    assert alone <= 2


def test_what_rests_on_an_assumption_is_shown_beside_and_bounds_nothing(profiles):
    assert bracket_side(audit_one_run) == (audit_one_run, ())
    for auditor in (audit_gaussian_curve, audit_gaussian_pair):
        assert bracket_side(auditor, lambda: profiles) == (audit_one_run, (auditor,))
    assert bracket_side(audit_plan_curve) == (audit_one_run, (audit_plan_curve,))
    bounds, assumed = bracket_side(audit_plan_curve, lambda: profiles)
    assert assumed == ()
    rng = np.random.default_rng(0)
    coins = rng.random(200) < 0.5
    scores = 3 * coins + rng.standard_normal(200)
    words = {"delta": 1e-5, "confidence": 0.95, "seed": 0, "quantity": None}
    assert bounds(scores, coins, **words) == audit_plan_curve(scores, coins, profiles=profiles)
    side = audit_one_run(scores, coins)
    run = audit_run("a run", [side], Experiment(scores, coins, coins="ours"), 1e-5, 0, (audit_gaussian_pair,))
    assert run.lower.value == side.epsilon
    assert [one.epsilon > side.epsilon for one in run.assumed] == [True]
    assert "estimate" in run.assumed[0].method
