"""Broken private training, audited by the command line at its defaults: each planted fault ends in an alarm,
the clean run does not.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from quintain.core.errors import ExitCode
from quintain.dp import mechanism_tests
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.step import clipping_weights
from quintain.dp.step.clipped_sum import FloatClippedSum
from quintain.dp.training import fitting
from quintain.results.bounds import Consistency
from quintain.results.codec import load
from quintain.results.specification import Measurement
from quintain.results.verdict import Decision
from tests.evaluate.support.private_blobs import leave_out_control

NORMAL, ADD_NORMAL, WEIGHED, MAKE_PRIVATE = (
    RandomStream._normal,
    RandomStream.add_gaussian,
    clipping_weights.clipping_weights,
    fitting.make_private,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """More records than the 500 default canaries, each of 16 numbers."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "tiny.npz"
    labels = rng.integers(0, 2, 560)
    x = np.clip(0.3 + 0.3 * labels[:, None] + 0.1 * rng.normal(size=(560, 16)), 0, 1).astype(np.float32)
    np.savez(path, train_images=x, train_labels=labels, test_images=x[:9], test_labels=labels[:9])
    return path


@pytest.fixture
def audit(call, tiny, tmp_path):
    """``quintain audit`` at its defaults on a linear net; gives exit code, record and what was complained
    of.
    """
    (tmp_path / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(16, 2)\n")

    def run(*arguments):
        code, _, complaint = call("audit", "--model", "net.py:make", "--data", tiny, "--out", "u", *arguments)
        return code, load(Path("u") / "result.json"), complaint

    return run


def left_out(monkeypatch, *parts):
    """Parts of the specification that no fault here is told by, which cost time."""
    for part in parts:
        nothing = Measurement(part, 0.0, 0.0, 1.0, "left out")
        monkeypatch.setattr(
            mechanism_tests, part, lambda *_, found=nothing if part == "_sensitivity" else (): found
        )


def failed(record):
    """Names of the measurements that chance does not explain."""
    return {test.name for test in record.result.mechanism_tests if not test.passed}


def silent_noise(monkeypatch):
    """The books say that there is noise, and there is none where fit trains: nothing but what was released
    can tell.
    """

    def make_private(*objects, **words):
        made = MAKE_PRIVATE(*objects, **words)
        sums = made.optimizer.private_step.sum._float_sum
        sums.add_noise = lambda _stream, scale, by: FloatClippedSum.add_noise(sums, None, scale, by)
        return made

    monkeypatch.setattr(fitting, "make_private", make_private)


def noise_in_the_first_part_alone(monkeypatch):
    def add_normal(stream, into, scale, by=1):
        ADD_NORMAL(stream, into[: 1 << 16], scale, by)
        into[1 << 16 :].mul_(1 / by)

    monkeypatch.setattr(RandomStream, "add_gaussian", add_normal)


def no_clipping_of_sums(monkeypatch):
    def weighed(parameters, turn, clip, *, mean):
        found, weights, part = WEIGHED(parameters, turn, clip, mean=mean)
        return found, weights if mean else torch.ones_like(weights), part

    monkeypatch.setattr("quintain.dp.step.private_step.clipping_weights", weighed)


def noise_a_little_short_and_no_clipping_of_sums(monkeypatch):
    no_clipping_of_sums(monkeypatch)
    monkeypatch.setattr(
        RandomStream,
        "add_gaussian",
        lambda stream, into, scale, by=1: ADD_NORMAL(stream, into, 0.95 * scale, by),
    )


def noise_used_again_cut_off_and_left_out(monkeypatch):
    """Each noise is the one before, 64 numbers further on; none is beyond three deviations, and one step in a
    hundred has none."""
    monkeypatch.setattr(RandomStream, "_normal", lambda *drawn: NORMAL(*drawn).clamp(-3, 3))
    key, calls = os.urandom(32), iter(range(10**6))

    def add_normal(_stream, into, scale, by=1):
        step = next(calls)
        if step % 100 == 99:
            into.mul_(1 / by)
            return
        overlapping = RandomStream(key)
        overlapping._start_cipher(step << 4)
        ADD_NORMAL(overlapping, into, scale, by)

    monkeypatch.setattr(RandomStream, "add_gaussian", add_normal)


FAULTS = {
    noise_used_again_cut_off_and_left_out: {
        "canary noise autocorrelation",
        "canary noise tails",
        "canary noise of each step",
        "noise autocorrelation, fit",
        "noise tails, fit",
    },
    noise_in_the_first_part_alone: {"noise, fit"},
    noise_a_little_short_and_no_clipping_of_sums: {
        "canary noise",
        "noise, fit",
        "canary push",
        "sensitivity, fit",
        "sensitivity of the net",
    },
}


def test_the_clean_run_ends_well(audit):
    code, record, _ = audit("--require", "epsilon <= 3")
    assert code == ExitCode.OK
    assert failed(record) == set()
    assert record.claims[0].bracket.consistency is Consistency.CONSISTENT
    assert record.result.audit.repeated_epsilons == ()
    control = record.result.control
    assert (
        control.lower.value == control.max_auditable_epsilon > 3
    )  # each canary is in 9 of 10 batches: none is missed


# Noise used again, cut off and left out is told one by one in tests/evaluate/steps/test_audit_mutants.py.
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(noise_in_the_first_part_alone, marks=pytest.mark.exhaustive),
        noise_a_little_short_and_no_clipping_of_sums,
        pytest.param(noise_used_again_cut_off_and_left_out, marks=pytest.mark.exhaustive),
    ],
    ids=lambda fault: fault.__name__,
)
def test_a_planted_fault_ends_in_an_alarm(audit, monkeypatch, fault):
    fault(monkeypatch)
    leave_out_control(monkeypatch)
    left_out(monkeypatch, "_inclusion", *([] if "sensitivity, fit" in FAULTS[fault] else ["_sensitivity"]))
    code, record, complaint = audit()
    assert code == ExitCode.ALARM
    assert failed(record) >= FAULTS[fault]
    assert "SOUNDNESS ALARM" in complaint


def test_training_without_noise_contradicts_its_claim_though_its_books_say_that_there_is_noise(
    audit, monkeypatch
):
    """Five trainings, each with coins of its own, are all above the claim; and the first one's own releases
    show what is wrong.

    A tenth of the default steps, for each of them shows each canary that is in its batch: a canary is in none
        with a chance below 1e-29.
    """
    silent_noise(monkeypatch)
    leave_out_control(monkeypatch)
    left_out(monkeypatch, "_inclusion", "_sensitivity")
    code, record, complaint = audit("--steps", 28, "--require", "epsilon <= 3")
    assert code == ExitCode.ALARM
    assert "The two sides of the claim cross as well" in complaint
    assert failed(record) >= {"canary noise", "canary push shape", "noise, fit", "noise of the net"}
    (claim,) = record.claims
    assert claim.bracket.consistency is Consistency.CONTRADICTION
    assert len(record.result.audit.repeated_epsilons) == 4
    assert min(record.result.audit.repeated_epsilons) > 3
    assert record.requirements[0].verdict.decision is Decision.FAIL
