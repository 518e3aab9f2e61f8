"""Bugs planted in private training, one after the other: who sees them, at the size of the command line.

Each is planted in the code that ``quintain audit`` runs, at its defaults (500 canaries, 276 steps, epsilon
3), on 560 records of 16 numbers. Beside the tests of the mechanism stand what the canaries' scores show by
the one-run bound, what the final model shows from outside by mislabeled canaries, and what peers' auditors
make of the very same scores, where they are installed. A clean run stands beside, and scores that tell
nothing.
"""

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.harness import Comparison
from quintain.data.dataset import Dataset, from_arrays
from quintain.dp.training.fitting import fit
from quintain.evaluate import AuditedClaim, audit_training
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.steps.audit import run_audit
from quintain.leakage import BlackBoxTraining, audit_one_run
from quintain.results.privacy_records import AuditResult
from quintain.results.second_opinion import SecondOpinionResult
from quintain.testing import TRAINING_BUGS
from quintain.testing.training_bugs import ACCOUNTANT_BUGS

RECORDS, CANARIES, EPSILON, DELTA = 560, 500, 3.0, 1e-5
CLIP = 2.0
"""The clip norm; where it is 1, noise that is not scaled by it is no bug."""

BUGS = {
    name: bug
    for name, bug in {**TRAINING_BUGS, **ACCOUNTANT_BUGS}.items()
    if name
    in (
        "noise not scaled by the clip norm",
        "no noise in fit",
        "no noise beyond the first part",
        "no clipping of sums",
        "per-layer clip called flat",
        "fixed batches",
        "the same noise each step",
        "told a quarter of the steps",
        "noise 20 % short",
        "noise 5 % short",
    )
}


def records() -> Dataset:
    """Return records of two classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, RECORDS)
    x = np.clip(0.3 + 0.3 * labels[:, None] + 0.1 * rng.normal(size=(RECORDS, 16)), 0, 1)
    return from_arrays(x.astype(np.float32), labels, name="blobs")


def net() -> nn.Module:
    """Return a net of two layers, with the same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 2))


def run() -> Iterator[Comparison]:
    """Plant each bug, and say who sees it."""
    target = PrivacyTarget(epsilon=EPSILON, delta=DELTA, batch_size=RECORDS // 8, max_grad_norm=CLIP)
    for name, bug in {"nothing planted": None, **BUGS}.items():
        scores: list[tuple[NDArray[np.float64], NDArray[np.bool_]]] = []

        def auditor(values, included, **words):
            scores.append((values, included))  # noqa: B023
            return audit_one_run(values, included, **words)

        with nullcontext() if bug is None else bug.planted():
            outcome = run_audit(net(), records(), target, auditor=auditor, canaries=CANARIES, seed=1)
            outside = audit_training(
                BlackBoxTraining.of(private(target)),
                records(),
                AuditedClaim(EPSILON, DELTA, canaries=RECORDS // 4),
                seed=1,
            )
        assert isinstance(outcome.result, AuditResult)
        assert isinstance(outside.result, SecondOpinionResult)
        failed = [test.name for test in outcome.result.mechanism_tests if not test.passed]
        seen = f"seen ({', '.join(failed[:3])}{' ...' if len(failed) > 3 else ''})" if failed else "not seen"
        audit = outcome.result.audit
        yield Comparison(
            name,
            f"mechanism tests: {seen}; canaries' scores: {audit.lower.value:.2f} of {EPSILON:g} "
            f"({outcome.claims[0].bracket.consistency}); from outside: "
            f"{outside.result.audit.lower.value:.2f} ({outside.result.bracket.consistency}); "
            f"{peers(*scores[0])}",
        )
    rng = np.random.default_rng(0)
    coins, null = rng.random(CANARIES) < 0.5, rng.normal(size=CANARIES)
    ours = audit_one_run(null, coins, delta=DELTA, confidence=0.95).epsilon
    yield Comparison("scores that tell nothing", f"canaries' scores: {ours:.2f}; {peers(null, coins)}")


def private(target: PrivacyTarget):
    """Return the private training, as a black box."""

    def train(x: np.ndarray, y: np.ndarray, seed: int) -> nn.Module:
        data, model = from_arrays(x, y, name="black box", num_classes=2), net()
        fit(model, data, target.plan(len(data)))
        del seed
        return model

    return train


def peers(scores: NDArray[np.float64], included: NDArray[np.bool_]) -> str:
    """Say what other auditors make of the same scores, at 95 %."""
    try:
        from jax_privacy.auditing import CanaryScoreAuditor
    except ImportError:
        return "no peer is installed"
    auditor = CanaryScoreAuditor(scores[included], scores[~included])
    return f"jax_privacy: {auditor.epsilon_one_run(0.05, DELTA):.2f}"
