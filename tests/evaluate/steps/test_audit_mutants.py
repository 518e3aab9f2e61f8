"""Planted bugs sound the alarm that they name."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import MechanismError
from quintain.dp.observed_training import TRAINERS
from quintain.evaluate.steps.audit import run_audit
from quintain.results.specification import Measurement
from quintain.testing.training_bugs import ACCOUNTANT_BUGS, TRAINING_BUGS
from tests.evaluate.support.private_blobs import BUDGET, QUICK, alarm, audit, data, failed, leave_out_control


@pytest.fixture(autouse=True)
def without_control(monkeypatch):
    leave_out_control(monkeypatch)


@pytest.fixture
def without_clipping_of_net(monkeypatch):
    """The measurements without that of how the net's own layers clip."""
    monkeypatch.setattr("quintain.evaluate.steps.audit.sensitivity_of_net", lambda *_: None)


@pytest.fixture
def canaries_alone(run_alone, without_clipping_of_net, without_noise_of_net):
    """What the run with canaries tells, without what is measured on other trainings of the net."""


@pytest.fixture
def without_sensitivity(monkeypatch, without_clipping_of_net):
    """The measurements on made-up records by ``fit``, without the one that takes longest and that no draw of
    noise or of batches can change.
    """
    nothing = Measurement("sensitivity", 0.0, 0.0, 1.0, "left out")
    monkeypatch.setattr("quintain.dp.mechanism_tests._sensitivity", lambda *_: nothing)
    monkeypatch.setattr("quintain.dp.mechanism_tests.TRAINERS", {"fit": TRAINERS["fit"]})


@pytest.fixture
def noise_alone(monkeypatch, without_sensitivity):
    """The measurements of noise on a made-up net, without the others."""
    monkeypatch.setattr("quintain.dp.mechanism_tests._inclusion", lambda *_: ())


@pytest.fixture
def without_noise_of_net(monkeypatch):
    """The measurements without those on the net's own noise."""
    monkeypatch.setattr("quintain.evaluate.steps.audit.noise_of_net", lambda *_: ())


@pytest.fixture
def inclusion_alone(monkeypatch, without_sensitivity, without_noise_of_net):
    """The measurements of how batches are drawn, without the others."""
    monkeypatch.setattr("quintain.dp.mechanism_tests._noise", lambda *_: ())


def test_mutant_halved_noise_is_a_specification_failure(monkeypatch, canaries_alone):
    from quintain.dp.step.private_step import PrivateStep

    real = PrivateStep.__init__

    def halved(self, *args, noise_multiplier, **words):
        real(self, *args, noise_multiplier=noise_multiplier / 2, **words)

    monkeypatch.setattr(PrivateStep, "__init__", halved)
    with pytest.raises(MechanismError, match="noise"):
        alarm(audit(QUICK))


def test_mutant_of_a_ledger_that_counts_every_other_step(monkeypatch, canaries_alone):
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


def stream_fault(monkeypatch, name, mutant):
    from quintain.dp.randomness.stream import RandomStream

    real = getattr(RandomStream, name)
    monkeypatch.setattr(RandomStream, name, lambda stream, *given: mutant(real, stream, *given))


def test_mutant_the_same_noise_at_every_step(monkeypatch, noise_alone, without_noise_of_net):
    from quintain.dp.randomness.stream import RandomStream

    def again(real, _stream, into, scale, by=1):
        real(RandomStream(bytes(32)), into, scale, by)

    stream_fault(monkeypatch, "add_gaussian", again)
    assert failed(audit(QUICK)) >= {
        "canary noise over steps",
        "canary noise of two steps",
        "noise between steps, fit",
    }


def test_mutant_noise_that_is_used_twice_many_steps_apart(monkeypatch, canaries_alone):
    from quintain.dp.randomness.stream import RandomStream

    steps = iter(range(10**6))

    def again(real, _stream, into, scale, by=1):
        real(RandomStream(bytes([next(steps) % 17]) * 32), into, scale, by)

    stream_fault(monkeypatch, "add_gaussian", again)
    assert "canary noise of two steps" in failed(audit(QUICK))


def test_mutant_one_step_in_twenty_without_noise(monkeypatch, canaries_alone):
    calls = iter(range(10**6))

    def skipped(real, stream, into, scale, by=1):
        if next(calls) % 20 == 13:
            into.mul_(1 / by)
        else:
            real(stream, into, scale, by)

    stream_fault(monkeypatch, "add_gaussian", skipped)
    assert "canary noise of each step" in failed(audit(QUICK))


def test_mutant_turns_of_the_counter_that_overlap(monkeypatch, run_alone, without_clipping_of_net):
    """Each step's noise is that of the one before, 64 numbers further on, as long as the two meet and no key
    is kept.
    """
    stream_fault(monkeypatch, "seek", lambda _real, stream, turn: stream._start_cipher(turn << 4))
    wide = nn.Sequential(nn.Linear(12, 60), nn.Linear(60, 2))
    assert "noise of the net autocorrelation" in failed(run_audit(wide, data(), QUICK, canaries=300))


def test_mutant_noise_with_a_largest_value(monkeypatch, canaries_alone):
    stream_fault(monkeypatch, "_normal", lambda real, *drawn: real(*drawn).clamp(-2.5, 2.5))
    assert "canary noise tails" in failed(audit(QUICK))


def test_mutant_one_noise_for_neighboring_numbers(monkeypatch, canaries_alone):
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


def test_mutant_batches_that_are_filled_up_with_records_they_hold(monkeypatch, canaries_alone):
    from quintain.dp.sampling.loader import SamplingLoader

    real = SamplingLoader._sample_rows

    def filled(loader, batch):
        rows, *others = real(loader, batch)
        return (padded(rows), *others)

    monkeypatch.setattr(SamplingLoader, "_sample_rows", filled)
    assert "records twice, audited run" in failed(audit(QUICK))


def test_mutant_twice_the_sampling_rate_shows_on_the_canaries_themselves(monkeypatch, canaries_alone):
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


@pytest.mark.exhaustive
def test_mutant_of_an_accountant_that_is_told_a_quarter_of_the_steps(run_alone):
    with ACCOUNTANT_BUGS["told a quarter of the steps"].planted():
        outcome = audit(replace(BUDGET, epsilon=2.5))
    assert failed(outcome) == {"accountant"}


@pytest.mark.parametrize("name", ["noise 20 % short", "noise 5 % short"])
def test_mutant_noise_that_is_a_little_short(name, canaries_alone):
    """Over so many releases 5 % are ten standard errors."""
    with TRAINING_BUGS[name].planted():
        assert "canary noise" in failed(audit(replace(QUICK, steps=80)))


def test_mutant_noise_that_is_not_scaled_by_the_clip_norm(canaries_alone):
    """Where that is 1, it is none."""
    with TRAINING_BUGS["noise not scaled by the clip norm"].planted():
        assert "canary noise" in failed(audit(replace(QUICK, max_grad_norm=2.0)))


def test_mutant_of_layers_that_are_clipped_each_and_called_flat(run_alone):
    layers = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 2))
    with TRAINING_BUGS["per-layer clip called flat"].planted():
        assert "sensitivity of the net" in failed(run_audit(layers, data(), QUICK, canaries=300))


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
    from quintain.training.ema import EMA

    monkeypatch.setattr(EMA, "apply", lambda _self: None)
    assert failed(audit(QUICK)) == {"weights, audited run"}


def test_mutant_no_noise_where_the_key_is_kept_as_in_privatize(
    monkeypatch, run_alone, without_clipping_of_net
):
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
    name, monkeypatch, canaries_alone
):
    from quintain.dp.step import optimizer

    real = optimizer.load_state

    def load(step, state):
        real(step, state)
        FORGOTTEN[name](step)

    monkeypatch.setattr(optimizer, "load_state", load)
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


def test_mutant_noise_of_a_bias_that_is_drawn_once_for_all_steps(
    monkeypatch, run_alone, without_clipping_of_net
):
    def kept(z, sums):
        of = sums.__dict__.setdefault("kept", {})
        for p, part in zip(sums._parameters, z.split([p.numel() for p in sums._parameters]), strict=True):
            if p.dim() == 1:
                part.copy_(of.setdefault(p, part.clone()))
        return z

    exactly(monkeypatch, kept)
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


@pytest.mark.parametrize(
    "fault",
    [
        "of one length",
        "of one mean in each parameter",
        # Both at once: each is told by itself in the other two.
        pytest.param("of one mean and spread", marks=pytest.mark.exhaustive),
    ],
)
def test_mutant_noise_that_comes_out_too_exactly(fault, monkeypatch, noise_alone):
    change, expected = TOO_EXACT[fault]
    exactly(monkeypatch, change)
    with pytest.raises(MechanismError):
        alarm(outcome := audit(QUICK))
    assert failed(outcome) >= expected


def test_mutant_sizes_of_the_noise_that_come_again_with_fresh_signs_from_the_fourth_step_on(
    monkeypatch, canaries_alone
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
