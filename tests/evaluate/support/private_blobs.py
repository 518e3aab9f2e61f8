"""A linear net that is trained privately on two blobs, its audit, and the alarms that an audit sounds."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from quintain.data.dataset import from_arrays
from quintain.evaluate.audited_training import train_and_observe
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.step import StepOutput, raise_if_unsound, record_step
from quintain.evaluate.steps.audit import run_audit

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


def leave_out_control(monkeypatch):
    """The control, which trains as long, is the audited run itself: for tests that ask nothing of it."""
    runs = []

    def observed(net, train, plan, *others):
        if plan.noise_multiplier:
            runs.append(train_and_observe(net, train, plan, *others))
        return runs[0]

    monkeypatch.setattr("quintain.evaluate.steps.audit.train_and_observe", observed)


def alarm(outcome: StepOutput):
    raise_if_unsound(record_step(lambda: outcome, command="test", seed=0, data=("blobs", "")))


def failed(outcome):
    """Names of the measurements that chance does not explain."""
    return {test.name for test in outcome.result.mechanism_tests if not test.passed}
