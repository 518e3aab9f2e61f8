"""Accountant and audit meet, through the real engine."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from quintain.core.errors import ContradictionError, ExitCode, SettingError
from quintain.evaluate.privacy_target import (
    ProtectedRecords,
    epsilon_quantity,
    epsilon_upper_bound,
)
from quintain.evaluate.steps.audit import run_audit
from quintain.results import Basis, Consistency
from quintain.results.gate import decide, run_verdict
from quintain.results.requirements import Requirement
from quintain.results.specification import FALSE_ALARM_PROBABILITY, Measurement, bonferroni_tests
from quintain.results.verdict import Decision
from tests.evaluate.support.private_blobs import BUDGET, OFTEN, QUICK, alarm, audit, data, failed, net


def often(**words):
    """Each canary is drawn in each step: what is trained without noise then surely crosses the claim."""
    return audit(replace(QUICK, batch_size=600, steps=6), **words)


@pytest.fixture(scope="module")
def audited():
    """At a rate of 1/4, each canary is drawn in 40 steps but for a chance of 1e-5, so that the control shows
    what it can.
    """
    return audit(OFTEN)


def test_audited_below_accounted_and_the_control_above(audited):
    (claim,) = audited.claims
    assert claim.bracket.consistency is Consistency.CONSISTENT
    assert claim.bracket.lower.basis is not Basis.TRIVIAL
    assert 0 <= claim.bracket.lower.value < claim.bracket.upper.value <= 3.0
    assert claim.bracket.upper.basis is Basis.PROOF
    assert audited.result.control.lower.value > 3.0
    assert audited.result.control.lower.value <= audited.result.control.max_auditable_epsilon
    assert sum(audited.result.audit.included_counts) + sum(audited.result.audit.excluded_counts) == 300
    assert all(test.passed for test in audited.result.mechanism_tests)
    assert audited.reproducible is False


def test_the_audited_plan_is_the_claimed_one(audited):
    plan = OFTEN.plan(600)
    assert audited.result.plan.sample_rate == 0.25
    records = ProtectedRecords(600, audited.result.audit.lower.quantity.data_hash, unit="record")
    assert (
        audited.claims[0].bracket.quantity
        == epsilon_upper_bound(plan, records, 3.0).quantity
        == audited.result.audit.lower.quantity
    )


def test_what_the_control_shows_is_no_lower_side_of_the_plan(audited):
    control = audited.result.control.lower
    records = ProtectedRecords(600, audited.claims[0].bracket.quantity.data_hash, unit="record")
    assert control.quantity == epsilon_quantity(replace(OFTEN.plan(600), noise_multiplier=0.0), records)
    assert control.quantity != audited.claims[0].bracket.quantity


def test_an_audit_does_not_name_its_records_by_their_hash(audited):
    assert data().hash not in repr(audited)


def test_too_few_records_for_the_canaries():
    with pytest.raises(SettingError, match="fewer canaries than records"):
        run_audit(net(), data(100), replace(BUDGET, batch_size=10), canaries=100)


def test_the_clean_run_sounds_no_alarm(audited):
    alarm(audited)
    assert audited.notes == () or "cannot contradict" in audited.notes[0]


def silent(monkeypatch, trainings=99):
    """No noise in the first trainings of ``fit``, each in two halves, whatever the books say."""
    from quintain.dp.step.clipped_sum import FloatClippedSum
    from quintain.dp.training import fitting

    real, calls = fitting.make_private, []

    def make_private(*objects, **words):
        made = real(*objects, **words)
        calls.append(words)
        if len(calls) <= 2 * trainings:
            sums = made.optimizer.private_step.sum._float_sum
            sums.add_noise = lambda _stream, scale, by: FloatClippedSum.add_noise(sums, None, scale, by)
        return made

    monkeypatch.setattr(fitting, "make_private", make_private)


def unmeasured(monkeypatch):
    """What the audit shows by itself, as if nobody had measured the mechanism."""
    monkeypatch.setattr("quintain.evaluate.steps.audit.measurements", lambda *_plan, **_words: ())
    monkeypatch.setattr("quintain.evaluate.steps.audit._measure_mechanism", lambda *_run: ((), ()))


def test_crossings_are_repeated_with_fresh_coins_until_they_contradict(monkeypatch):
    silent(monkeypatch)
    unmeasured(monkeypatch)
    outcome = often()
    run, (claim,) = outcome.result.audit, outcome.claims
    assert claim.bracket.consistency is Consistency.CONTRADICTION
    assert len(run.repeated_epsilons) == 4
    assert (
        run.lower.at_confidence(1 - 1e-6)
        == min(run.lower.value, *run.repeated_epsilons)
        > claim.bracket.upper.value
    )
    assert run.lower.at_confidence(0.95) == run.lower.value
    assert any("probability at most 3.1e-07" in note for note in outcome.notes)
    with pytest.raises(
        ContradictionError,
        match=r"audited:epsilon: \d\.\d+ > \d.*the audit shows more than the accountant allows",
    ):
        alarm(outcome)


def test_three_crossings_at_99_percent_and_more_for_a_run_of_many_comparisons(monkeypatch):
    silent(monkeypatch)
    unmeasured(monkeypatch)
    bracket = often(confidence=0.99).claims[0].bracket
    assert bracket.consistency is Consistency.CONTRADICTION
    assert bracket.consistency_among(2) is Consistency.SUSPECT
    many = often(confidence=0.99, comparisons=50)
    assert len(many.result.audit.repeated_epsilons) == 3
    assert many.claims[0].bracket.consistency_among(50) is Consistency.CONTRADICTION


def test_a_crossing_that_does_not_come_back_stays_suspect(monkeypatch):
    """The first training has no noise, the next one has: chance is not excluded, and nobody wins by
    repeating.
    """
    silent(monkeypatch, trainings=1)
    unmeasured(monkeypatch)
    outcome = often()
    assert outcome.claims[0].bracket.consistency is Consistency.SUSPECT
    assert len(outcome.result.audit.repeated_epsilons) == 1
    assert (
        outcome.result.audit.repeated_epsilons[0]
        <= outcome.claims[0].bracket.upper.value
        < outcome.result.audit.lower.value
    )
    assert any("suspect" in note for note in outcome.notes)
    alarm(outcome)
    assert run_verdict((), outcome.claims).exit_code == ExitCode.UNDECIDED
    asked = decide(Requirement.parse("epsilon <= 3"), outcome.claims)
    assert asked.verdict.decision is Decision.FAIL
    assert run_verdict((asked,), outcome.claims).exit_code == ExitCode.FAILED
    assert decide(Requirement.parse("epsilon <= 30"), outcome.claims).verdict.decision is Decision.UNDECIDED


def test_each_repetition_has_coins_of_its_own_that_follow_from_the_seed(monkeypatch):
    from quintain.evaluate import audited_training

    silent(monkeypatch)
    unmeasured(monkeypatch)
    drawn, real = [], audited_training.train_with_canaries

    def watched(*given, **words):
        run = real(*given, **words)
        drawn.append(run.included.tobytes())
        return run

    monkeypatch.setattr(audited_training, "train_with_canaries", watched)
    often(seed=5, confidence=0.99)
    first = list(drawn)
    often(seed=5, confidence=0.99)
    assert drawn[4:] == first
    assert len(set(first[:3])) == 3
    assert first[3] == first[0]  # the control answers the same coins


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 5), (500, 1)])
def test_batches_of_any_size_and_a_single_step_are_audited(batch_size, steps, run_alone):
    """With a batch of one record many hold none; with half of all, each is drawn as often as not."""
    few = replace(BUDGET, batch_size=batch_size, steps=steps)
    assert failed(run_audit(net(), data(1000), few, canaries=300)) == set()


def test_what_a_plan_without_strength_adds_is_not_measured(run_alone):
    outcome = audit(replace(BUDGET, learning_rate=3000.0))
    assert failed(outcome) == set()
    assert not any(test.name == "canary push" for test in outcome.result.mechanism_tests)
    assert any("what they add was not measured" in note for note in outcome.notes)


def test_a_net_without_gradients_says_that_its_clipping_was_not_measured(run_alone):
    class Nowhere(nn.Linear):
        def forward(self, x):
            return super().forward(x) * torch.nan

    outcome = run_audit(Nowhere(12, 2), data(), QUICK, canaries=300)
    assert not any(test.name == "sensitivity of the net" for test in outcome.result.mechanism_tests)
    assert any("clipping was not measured" in note for note in outcome.notes)


def test_false_alarms_are_shared_over_all_measurements(audited):
    """One that is as unlikely as the whole level, among many, is no alarm: chance is stated once, over all of
    them.
    """
    tests = audited.result.mechanism_tests
    assert len(tests) > 15
    assert len({test.name for test in tests}) == len(tests)
    one = Measurement("noise", 1.0, 1.0, FALSE_ALARM_PROBABILITY / 2, "noise")
    assert not bonferroni_tests([one])[0].passed
    assert bonferroni_tests([one] * len(tests))[0].passed
