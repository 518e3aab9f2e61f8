"""What a black box shows of plain training, what that costs, and that private training is not accused.

Seeds 100 to 104; the score was chosen on seeds 0 and 1. Costs are processor time, of which a busy machine
takes nothing.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import quintain as q
from benchmarks.harness import Comparison
from quintain.core.progress import no_progress
from quintain.data.dataset import Dataset
from quintain.dp.training.fitting import fit
from quintain.evaluate import AuditedClaim, audit_training
from quintain.evaluate.audited_training import train_and_observe
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.leakage import BlackBoxTraining
from quintain.models.nets import xray_cnn
from quintain.results.second_opinion import SecondOpinionResult

SEEDS = range(100, 105)
PRIVATE = PrivacyTarget(epsilon=3.0, batch_size=512, steps=40)
DEFAULT_STEPS = 276
"""Of the command; what an audit adds once weighs more beside fewer."""


def train_plainly(dataset: TensorDataset, seed: int) -> nn.Module:
    """Train the X-ray net for 40 epochs of SGD, without privacy."""
    net, generator = xray_cnn(seed=seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for _ in range(40):
        for x, y in DataLoader(dataset, batch_size=32, shuffle=True, generator=generator):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net


def train_privately(dataset: TensorDataset, seed: int) -> nn.Module:
    """Train the same net by DP-SGD, to epsilon 3."""
    x, y = dataset.tensors
    data = q.data.from_arrays(x.numpy(), y.numpy(), num_classes=2)
    net = xray_cnn(seed=seed)
    fit(net, data, PRIVATE.plan(len(data)))
    return net


def audit(train: object, claim: AuditedClaim, data: Dataset) -> list[SecondOpinionResult]:
    """Audit a training by several seeds."""
    found = []
    for seed in SEEDS:
        assert callable(train)
        result = audit_training(BlackBoxTraining.of(train), data, claim, seed=seed).result
        assert isinstance(result, SecondOpinionResult)
        found.append(result)
    return found


def run() -> Iterator[Comparison]:
    """Yield a line for each figure."""
    data = q.load_data("xrays").train
    for name, train, claim in (
        ("plain training, 40 epochs, 500 mislabeled canaries", train_plainly, AuditedClaim()),
        ("private training, epsilon 3, 500 mislabeled canaries", train_privately, AuditedClaim(3.0)),
    ):
        results = audit(train, claim, data)
        values = [one.audit.lower.value for one in results]
        costs = [1 + sum(one.audit_seconds) / sum(one.training_seconds) for one in results]
        answers = {str(one.bracket.consistency) for one in results}
        yield Comparison(
            name,
            f"epsilon at least {median(values):.2f} ({min(values):.2f} to {max(values):.2f} of {len(values)} "
            f"seeds), {', '.join(answers)}; audit and training cost {max(costs):.3f} times the training",
        )
    yield Comparison("canaries inside our own training, 500, against the same steps without", inside(data))


def inside(data: Dataset) -> str:
    """Say what canaries, and observing each step, add to private training."""
    plan, net, ratios = replace(PRIVATE, steps=DEFAULT_STEPS).plan(len(data)), xray_cnn(seed=0), []
    for seed in range(3):
        begun = time.process_time()
        fit(copy.deepcopy(net), data, plan)
        between = time.process_time()
        train_and_observe(net, data, plan, 500, seed, None, no_progress)
        ratios.append((time.process_time() - between) / (between - begun))
    return f"{np.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})"
