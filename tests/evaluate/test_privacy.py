"""Accountant and audit meet, through the real engine; planted bugs sound the alarm that they name."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import ContradictionError, ExitCode, MechanismError, SettingError
from quintain.data.dataset import from_arrays
from quintain.dp.ways import WAYS
from quintain.evaluate.privacy_target import (
    PrivacyTarget,
    ProtectedRecords,
    epsilon_quantity,
    epsilon_upper_bound,
)
from quintain.evaluate.step import StepOutput, raise_if_unsound, record_step
from quintain.evaluate.steps.audit import run_audit
from quintain.evaluate.steps.privatize import run_privatize
from quintain.results import Basis, Consistency
from quintain.results.gate import decide, exit_code
from quintain.results.requirements import Requirement
from quintain.results.specification import FALSE_ALARM_PROBABILITY, Measurement, bonferroni_tests
from quintain.results.verdict import Decision

BUDGET = PrivacyTarget(epsilon=3.0, batch_size=60, steps=40)
OFTEN = replace(BUDGET, batch_size=150)
QUICK = replace(BUDGET, steps=20)
"""Enough for faults that every step shows on each of the canaries: thousands of numbers. Canaries are
compared over all steps.
"""


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


def audit(budget=BUDGET, **words):
    return run_audit(net(), data(), budget, canaries=300, **words)


def often(**words):
    """Each canary is surely drawn: what is trained without noise then crosses the claim, not only most
    times.
    """
    return audit(replace(QUICK, batch_size=300), **words)


@pytest.fixture
def run_alone(monkeypatch):
    """What the audited run tells of itself is enough for many a fault: the measurements on made-up records
    are left out, to save time.
    """
    monkeypatch.setattr("quintain.evaluate.steps.audit.measurements", lambda *_plan, **_words: ())


@pytest.fixture
def without_sensitivity(monkeypatch):
    """The measurements on made-up records by ``fit``, without the one that takes longest and that no draw of
    noise or of batches can change.
    """
    nothing = Measurement("sensitivity", 0.0, 0.0, 1.0, "left out")
    monkeypatch.setattr("quintain.dp.mechanism_tests._sensitivity", lambda *_: nothing)
    monkeypatch.setattr("quintain.dp.mechanism_tests.WAYS", {"fit": WAYS["fit"]})


@pytest.fixture
def noise_alone(monkeypatch, without_sensitivity):
    """The measurements of noise on a made-up net, without the others."""
    monkeypatch.setattr("quintain.dp.mechanism_tests._inclusion", lambda *_: ())


@pytest.fixture
def inclusion_alone(monkeypatch, without_sensitivity):
    """The measurements of how batches are drawn, without the others."""
    monkeypatch.setattr("quintain.dp.mechanism_tests._noise", lambda *_: ())


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
    records = ProtectedRecords(600, audited.result.audit.lower.quantity.data_hash)
    assert (
        audited.claims[0].bracket.quantity
        == epsilon_upper_bound(plan, records, 3.0).quantity
        == audited.result.audit.lower.quantity
    )


def test_what_the_control_shows_is_no_lower_side_of_the_plan(audited):
    control = audited.result.control.lower
    records = ProtectedRecords(600, audited.claims[0].bracket.quantity.data_hash)
    assert control.quantity == epsilon_quantity(replace(OFTEN.plan(600), noise_multiplier=0.0), records)
    assert control.quantity != audited.claims[0].bracket.quantity


def test_an_audit_does_not_name_its_records_by_their_hash(audited):
    assert data().hash not in repr(audited)


def test_privatize_spends_at_most_the_budget(tmp_path):
    outcome = run_privatize(net(), data(), data(100), BUDGET, folder=tmp_path)
    assert outcome.result.plan.epsilon <= 3.0
    assert outcome.claims[1].bracket.upper.value == outcome.result.plan.epsilon
    assert outcome.claims[1].bracket.lower.basis is Basis.TRIVIAL
    assert (
        outcome.result.training.clean_counts.accuracy > outcome.result.training.clean_counts.majority_accuracy
    )
    assert outcome.result.nonprivate_counts.num_examples == 100
    assert 0 <= outcome.result.clipped_fraction <= 1
    assert (tmp_path / outcome.result.training.model.path).exists()


def test_too_few_records_for_the_canaries():
    with pytest.raises(SettingError, match="fewer canaries than records"):
        run_audit(net(), data(100), replace(BUDGET, batch_size=10), canaries=100)


def alarm(outcome: StepOutput):
    raise_if_unsound(record_step(lambda: outcome, command="test", seed=0, data=("blobs", "")))


def test_the_clean_run_sounds_no_alarm(audited):
    alarm(audited)
    assert audited.notes == () or "cannot contradict" in audited.notes[0]


def test_mutant_halved_noise_is_a_specification_failure(monkeypatch, run_alone):
    from quintain.dp.step.private_step import PrivateStep

    real = PrivateStep.__init__

    def halved(self, *args, noise_multiplier, **words):
        real(self, *args, noise_multiplier=noise_multiplier / 2, **words)

    monkeypatch.setattr(PrivateStep, "__init__", halved)
    with pytest.raises(MechanismError, match="noise"):
        alarm(audit(QUICK))


def test_mutant_of_a_ledger_that_counts_every_other_step(monkeypatch, run_alone):
    """From where the run goes on from its folder, which refuses a ledger that holds too few before."""
    from quintain.dp.accounting import ledger

    real, calls = ledger.Ledger.record, []

    def every_other(self, release):
        calls.append(release)
        if self.steps < 10 or len(calls) % 2:
            real(self, release)

    monkeypatch.setattr(ledger.Ledger, "record", every_other)
    with pytest.raises(MechanismError, match=r"ledger: 15 steps.*20 released"):
        alarm(audit(QUICK))


def test_mutant_of_batches_drawn_twice_as_often_shows_in_the_claim(monkeypatch, tmp_path):
    from quintain.dp.sampling import loader

    real = loader.PoissonLoader.__iter__

    def twice(self):
        yield from real(self)
        yield from real(self)

    monkeypatch.setattr(loader.PoissonLoader, "__iter__", twice)
    outcome = run_privatize(net(), data(), data(100), BUDGET, folder=tmp_path)
    assert outcome.claims[1].bracket.upper.value > outcome.result.plan.epsilon


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
    monkeypatch.setattr("quintain.evaluate.steps.audit._measured", lambda *_run: ((), ()))


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
    assert exit_code((), outcome.claims) == ExitCode.UNDECIDED
    asked = decide(Requirement.parse("epsilon <= 3"), outcome.claims)
    assert asked.verdict.decision is Decision.FAIL
    assert exit_code((asked,), outcome.claims) == ExitCode.FAILED
    assert decide(Requirement.parse("epsilon <= 30"), outcome.claims).verdict.decision is Decision.UNDECIDED


def test_each_repetition_has_coins_of_its_own_that_follow_from_the_seed(monkeypatch):
    from quintain.evaluate.steps import audit as audit_step

    silent(monkeypatch)
    unmeasured(monkeypatch)
    drawn, real = [], audit_step.train_with_canaries

    def watched(*given, **words):
        run = real(*given, **words)
        drawn.append(run.included.tobytes())
        return run

    monkeypatch.setattr(audit_step, "train_with_canaries", watched)
    often(seed=5, confidence=0.99)
    first = list(drawn)
    often(seed=5, confidence=0.99)
    assert drawn[4:] == first
    assert len(set(first[:3])) == 3
    assert first[3] == first[0]  # the control answers the same coins


def failed(outcome):
    """Names of the measurements that chance does not explain."""
    return {test.name for test in outcome.result.mechanism_tests if not test.passed}


def stream_fault(monkeypatch, name, mutant):
    from quintain.dp.randomness.stream import RandomStream

    real = getattr(RandomStream, name)
    monkeypatch.setattr(RandomStream, name, lambda stream, *given: mutant(real, stream, *given))


def test_mutant_the_same_noise_at_every_step(monkeypatch, noise_alone):
    from quintain.dp.randomness.stream import RandomStream

    def again(real, _stream, into, scale, by=1):
        real(RandomStream(bytes(32)), into, scale, by)

    stream_fault(monkeypatch, "add_gaussian", again)
    assert failed(audit(QUICK)) >= {
        "canary noise over steps",
        "canary noise of two steps",
        "noise between steps, fit",
    }


def test_mutant_noise_that_is_used_twice_many_steps_apart(monkeypatch, run_alone):
    from quintain.dp.randomness.stream import RandomStream

    steps = iter(range(10**6))

    def again(real, _stream, into, scale, by=1):
        real(RandomStream(bytes([next(steps) % 17]) * 32), into, scale, by)

    stream_fault(monkeypatch, "add_gaussian", again)
    assert "canary noise of two steps" in failed(audit(QUICK))


def test_mutant_one_step_in_twenty_without_noise(monkeypatch, run_alone):
    calls = iter(range(10**6))

    def skipped(real, stream, into, scale, by=1):
        if next(calls) % 20 == 13:
            into.mul_(1 / by)
        else:
            real(stream, into, scale, by)

    stream_fault(monkeypatch, "add_gaussian", skipped)
    assert "canary noise of each step" in failed(audit(QUICK))


def test_mutant_turns_of_the_counter_that_overlap(monkeypatch, run_alone):
    """Each step's noise is that of the one before, 64 numbers further on, as long as the two meet and no key
    is kept.
    """
    stream_fault(monkeypatch, "seek", lambda _real, stream, turn: stream._start_cipher(turn << 4))
    wide = nn.Sequential(nn.Linear(12, 60), nn.Linear(60, 2))
    assert "noise of the net elsewhere" in failed(run_audit(wide, data(), QUICK, canaries=300))


def test_mutant_noise_with_a_largest_value(monkeypatch, run_alone):
    stream_fault(monkeypatch, "_normal", lambda real, *drawn: real(*drawn).clamp(-2.5, 2.5))
    assert "canary noise tails" in failed(audit(QUICK))


def test_mutant_one_noise_for_neighboring_numbers(monkeypatch, run_alone):
    def pairs(real, stream, into, scale, by=1):
        real(stream, into, scale, by)
        into[1 : len(into) // 2 * 2 : 2] += into[: len(into) // 2 * 2 : 2]

    stream_fault(monkeypatch, "add_gaussian", pairs)
    assert any("between canaries" in name for name in failed(audit()))


def test_mutant_batches_of_a_fixed_size(monkeypatch, inclusion_alone):
    def fixed(_real, stream, records, expected):
        return (
            np.sort(np.argsort(stream.words(records))[:expected])
            if expected < records
            else np.arange(records)
        )

    stream_fault(monkeypatch, "poisson_sample", fixed)
    assert failed(audit(QUICK)) >= {"batch size spread, audited run", "batch size spread, fit"}


def padded(rows, multiple=64):
    """Rows up to a multiple, the first of them once more, as code may make batches of a size that hardware
    likes.
    """
    return np.sort(np.concatenate([rows, rows[: -len(rows) % multiple]]))


def test_mutant_batches_that_are_filled_up_with_records_they_hold(monkeypatch, run_alone):
    from quintain.dp.sampling.loader import SamplingLoader

    real = SamplingLoader._sample_rows

    def filled(loader, batch):
        rows, *others = real(loader, batch)
        return (padded(rows), *others)

    monkeypatch.setattr(SamplingLoader, "_sample_rows", filled)
    assert "records twice, audited run" in failed(audit(QUICK))


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 5), (500, 1)])
def test_batches_of_any_size_and_a_single_step_are_audited(batch_size, steps, run_alone):
    """With a batch of one record many hold none; with half of all, each is drawn as often as not."""
    few = replace(BUDGET, batch_size=batch_size, steps=steps)
    assert failed(run_audit(net(), data(1000), few, canaries=300)) == set()


def test_mutant_twice_the_sampling_rate_shows_on_the_canaries_themselves(monkeypatch, run_alone):
    stream_fault(
        monkeypatch,
        "poisson_sample",
        lambda real, stream, records, expected: real(stream, records, min(2 * expected, records)),
    )
    outcome = audit(replace(QUICK, epsilon=30.0))
    assert failed(outcome) >= {"canary push", "batch size, audited run"}


def test_mutant_of_norms_that_leave_biases_out_shows_on_the_net_itself(monkeypatch, run_alone):
    """In the net's own format alone: neither canaries, which have no bias, nor layers in float64 can tell."""
    from quintain.dp.per_example.grads import DenseGrads

    real = DenseGrads.squared_norms
    monkeypatch.setattr(
        DenseGrads, "squared_norms", lambda found: real(found) * (found.rows.dtype != torch.float32)
    )
    assert failed(audit(QUICK)) == {"sensitivity of the net"}


def test_mutant_of_an_accountant_that_takes_the_noise_for_larger_is_told_by_another(monkeypatch, run_alone):
    """The plan, the claim and the run's ledger agree on it, and an audit of this size sees less than the
    truth.
    """
    from quintain.dp.accounting import pld

    real = pld._single_step_pld
    monkeypatch.setattr(pld, "_composed_pld", lru_cache(pld._composed_pld.__wrapped__))
    monkeypatch.setattr(
        pld, "_single_step_pld", lambda sigma, rate, interval: real(1.5 * sigma, rate, interval)
    )
    outcome = audit(replace(BUDGET, epsilon=2.5))
    assert failed(outcome) == {"accountant"}


def test_what_a_plan_without_strength_adds_is_not_measured(run_alone):
    outcome = audit(replace(BUDGET, learning_rate=3000.0))
    assert failed(outcome) == set()
    assert not any(test.name == "canary push" for test in outcome.result.mechanism_tests)
    assert any("what they add was not measured" in note for note in outcome.notes)


def test_mutant_weights_that_move_by_sums_without_noise(monkeypatch, run_alone):
    """What is handed out as released has its noise; the weights moved without it."""
    from quintain.dp.step.noisy_sum import NoisySum
    from quintain.dp.step.optimizer import PrivateOptimizer

    real = NoisySum.add_noise

    def kept(self, *words):
        batch_size = self._loader.expected_batch_size
        self.clean = [part / batch_size for part in self.clipped.by_parameter.values()]
        real(self, *words)

    def step(self, closure=None):
        private = self.private_step
        assert private.release_gradients()
        noisy = [p.grad for p in private.params]
        for p, clean in zip(private.params, private.sum.clean, strict=True):
            p.grad = clean
        private.gradient_guard.mark_private()
        self.inner.step()
        for p, grad in zip(private.params, noisy, strict=True):
            p.grad = grad
        private.after_inner_step()

    monkeypatch.setattr(NoisySum, "add_noise", kept)
    monkeypatch.setattr(PrivateOptimizer, "step", step)
    assert failed(audit(QUICK)) == {"weights, audited run"}


def test_mutant_an_average_of_weights_that_is_none(monkeypatch, run_alone):
    from quintain.dp.training.ema import EMA

    monkeypatch.setattr(EMA, "apply", lambda _self: None)
    assert failed(audit(QUICK)) == {"weights, audited run"}


def test_mutant_no_noise_where_the_key_is_kept_as_in_privatize(monkeypatch, run_alone):
    from quintain.dp.step.noisy_sum import NoisySum

    real = NoisySum._noise_stream
    monkeypatch.setattr(
        NoisySum, "_noise_stream", lambda self, *words: None if self._key_is_kept else real(self, *words)
    )
    assert failed(audit(QUICK)) >= {"canary noise", "noise of the net"}


def begun_anew(step):
    """The numbers of steps and batches are those of a run that begins."""
    step.steps = step.loader._last_stepped_batch = 0
    step.loader.batches_drawn = step.loader.last_passed_batch = 0


FORGOTTEN = {
    "inclusion, audited run": begun_anew,
    "weights, audited run": lambda step: step.inner.state.clear(),
}


@pytest.mark.parametrize("name", FORGOTTEN)
def test_mutant_a_run_that_goes_on_from_its_folder_and_has_forgotten_where_it_was(
    name, monkeypatch, run_alone
):
    from quintain.dp.step import optimizer

    real = optimizer.load_state

    def load(step, state):
        real(step, state)
        FORGOTTEN[name](step)

    monkeypatch.setattr(optimizer, "load_state", load)
    monkeypatch.setattr("quintain.evaluate.steps.audit.noise_of_net", lambda *_: ())
    monkeypatch.setattr("quintain.evaluate.steps.audit.sensitivity_of_net", lambda *_: None)
    assert name in failed(audit(QUICK))


def exactly(monkeypatch, change):
    """Noise that is changed before it is added."""
    from quintain.dp.step.clipped_sum import FloatClippedSum

    def release(sums, stream, scale, by):
        if stream is None:
            return sums.flat.mul_(1 / by)
        z = stream.normal(len(sums.flat), sums.flat.dtype)
        return sums.flat.add_(change(z, sums), alpha=scale).mul_(1 / by)

    monkeypatch.setattr(FloatClippedSum, "add_noise", release)


def test_mutant_noise_of_a_bias_that_is_drawn_once_for_all_steps(monkeypatch, run_alone):
    def kept(z, sums):
        of = sums.__dict__.setdefault("kept", {})
        for p, part in zip(sums._parameters, z.split([p.numel() for p in sums._parameters]), strict=True):
            if p.dim() == 1:
                part.copy_(of.setdefault(p, part.clone()))
        return z

    exactly(monkeypatch, kept)
    monkeypatch.setattr("quintain.evaluate.steps.audit.sensitivity_of_net", lambda *_: None)
    assert "noise of the net in another step" in failed(audit(QUICK))


TOO_EXACT = {
    "of one length": (lambda z, _: z * (len(z) ** 0.5 / z.double().norm()), {"noise, squares, fit"}),
    "of one mean and spread": (
        lambda z, _: (z - z.mean()) / z.std(),
        {"noise, sums, fit", "noise, squares, fit"},
    ),
    "of one mean in each parameter": (
        lambda z, sums: torch.cat(
            [one - one.mean() for one in z.split([p.numel() for p in sums._parameters])]
        ),
        {"noise, sums, fit", "noise of the net, sums"},
    ),
}


@pytest.mark.parametrize("fault", TOO_EXACT)
def test_mutant_noise_that_comes_out_too_exactly(fault, monkeypatch, noise_alone):
    change, expected = TOO_EXACT[fault]
    exactly(monkeypatch, change)
    with pytest.raises(MechanismError):
        alarm(outcome := audit(QUICK))
    assert failed(outcome) >= expected


def test_mutant_sizes_of_the_noise_that_come_again_with_fresh_signs_from_the_fourth_step_on(
    monkeypatch, run_alone
):
    drawn = {}

    def again(z, sums):
        last, drawn[sums] = drawn.get(sums, []), [*drawn.get(sums, []), z]
        return last[-1].abs() * z.sign() if len(last) >= 4 and len(last) % 2 else z

    exactly(monkeypatch, again)
    assert failed(audit(QUICK)) >= {
        "canary noise without signs between steps, even",
        "canary noise without signs of two steps",
    }


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
