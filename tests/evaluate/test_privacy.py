"""Accountant and audit meet, through the real engine; planted bugs sound the alarm that they name."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import SettingError, SpecificationFailure
from quintain.data.dataset import from_arrays
from quintain.evaluate.outcome import Outcome, recorded, require_consistent
from quintain.evaluate.privacy import audited_outcome
from quintain.evaluate.private_plans import Budget, accounted, quantity
from quintain.evaluate.privatizing import privatized_outcome
from quintain.results import Basis, Status

BUDGET = Budget(epsilon=3.0, batch=60, steps=40)


def data(count=600, classes=2):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, count)
    x = np.clip(0.2 + 0.4 * labels[:, None] + 0.1 * rng.normal(size=(count, 12)), 0, 1).astype(np.float32)
    return from_arrays(x, labels, name="blobs")


def net():
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(12, 2)
    with torch.no_grad():
        model.weight.copy_(0.1 * torch.randn(2, 12, generator=generator))
        model.bias.zero_()
    return model


def audit(**words):
    return audited_outcome(net(), data(), BUDGET, canaries=300, **words)


@pytest.fixture(scope="module")
def audited():
    return audit()


def test_audited_below_accounted_and_the_control_above(audited):
    (claim,) = audited.claims
    assert claim.bracket.status is Status.CONSISTENT
    assert 0 < claim.bracket.lower.value < claim.bracket.upper.value <= 3.0
    assert claim.bracket.upper.basis is Basis.PROOF
    assert audited.body.control.lower.value > 3.0
    assert audited.body.control.lower.value <= audited.body.control.ceiling
    assert sum(audited.body.run.inside) + sum(audited.body.run.outside) == 300
    assert all(test.passed for test in audited.body.specification)
    assert audited.reproducible is False


def test_the_audited_plan_is_the_claimed_one(audited):
    plan = BUDGET.plan(600)
    assert audited.body.plan.sample_rate == 0.1
    assert audited.claims[0].bracket.of == accounted(plan, data(), 3.0).of == audited.body.run.lower.of


def test_what_the_control_shows_is_no_lower_side_of_the_plan(audited):
    control = audited.body.control.lower
    assert control.of == quantity(replace(BUDGET.plan(600), noise_multiplier=0.0), data())
    assert control.of != audited.claims[0].bracket.of


def test_canaries_that_lose_their_strength_are_told(audited):
    assert not any("full strength" in note for note in audited.notes)
    outcome = audited_outcome(net(), data(), replace(BUDGET, rate=3000.0), canaries=300)
    assert any("below the clip norm" in note for note in outcome.notes)


def test_privatize_spends_at_most_the_budget(tmp_path):
    outcome = privatized_outcome(net(), data(), data(100), BUDGET, folder=tmp_path)
    assert outcome.body.plan.epsilon <= 3.0
    assert outcome.claims[1].bracket.upper.value == outcome.body.plan.epsilon
    assert outcome.claims[1].bracket.lower.basis is Basis.TRIVIAL
    assert outcome.body.training.clean.accuracy > outcome.body.training.clean.baseline
    assert outcome.body.plain.examples == 100
    assert 0 <= outcome.body.clipped <= 1
    assert (tmp_path / outcome.body.training.model.path).exists()


def test_too_few_records_for_the_canaries():
    with pytest.raises(SettingError, match="fewer canaries than records"):
        audited_outcome(net(), data(100), replace(BUDGET, batch=10), canaries=100)


def alarm(outcome: Outcome):
    require_consistent(recorded(lambda: outcome, command="test", seed=0, data=("blobs", "")))


def test_the_clean_run_sounds_no_alarm(audited):
    alarm(audited)
    assert audited.notes == () or "cannot contradict" in audited.notes[0]


def test_mutant_halved_noise_is_a_specification_failure(monkeypatch):
    from quintain.dp.step import optimizer

    real = optimizer.PrivateOptimizer.__init__

    def halved(self, *args, noise_multiplier, **words):
        real(self, *args, noise_multiplier=noise_multiplier / 2, **words)

    monkeypatch.setattr(optimizer.PrivateOptimizer, "__init__", halved)
    with pytest.raises(SpecificationFailure, match="noise"):
        alarm(audit())


def test_mutant_of_a_ledger_that_counts_every_other_step(monkeypatch):
    from quintain.dp.accounting import ledger

    real, calls = ledger.Ledger.record, []

    def every_other(self, release):
        calls.append(release)
        if len(calls) % 2:
            real(self, release)

    monkeypatch.setattr(ledger.Ledger, "record", every_other)
    with pytest.raises(SpecificationFailure, match=r"ledger: 20 steps.*40 released"):
        alarm(audit())


def test_mutant_of_batches_drawn_twice_as_often_shows_in_the_claim(monkeypatch, tmp_path):
    from quintain.dp.draws import sampling

    real = sampling.PoissonLoader.__iter__

    def twice(self):
        yield from real(self)
        yield from real(self)

    monkeypatch.setattr(sampling.PoissonLoader, "__iter__", twice)
    outcome = privatized_outcome(net(), data(), data(100), BUDGET, folder=tmp_path)
    assert outcome.claims[1].bracket.upper.value > outcome.body.plan.epsilon


def test_mutant_no_noise_at_all_shows_in_the_audit_too(monkeypatch):
    from quintain.dp.step import optimizer

    real = optimizer.PrivateOptimizer.__init__

    def none(self, *args, noise_multiplier, **words):
        real(self, *args, noise_multiplier=0.0, **words)

    monkeypatch.setattr(optimizer.PrivateOptimizer, "__init__", none)
    outcome = audit()
    assert outcome.claims[0].bracket.status is Status.SUSPECT
    assert outcome.body.run.lower.value > outcome.body.plan.epsilon
    with pytest.raises(SpecificationFailure):
        alarm(outcome)
