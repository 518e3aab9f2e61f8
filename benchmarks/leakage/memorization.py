"""What a plain and a private training remember of canaries, and a plain one of a hidden mark on X-rays."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import quintain as q
from benchmarks.harness import Comparison
from quintain.data.dataset import ArraySource, Dataset
from quintain.evaluate.leaks import attributes, exposure
from quintain.evaluate.leaks.job import LeakFindings, LeakJob, LeakTarget
from quintain.evaluate.leaks.overlap import first_of_each
from quintain.leakage.attributes.posterior import AttributePosterior
from quintain.leakage.attributes.shadow import AttributeShadow
from quintain.leakage.hidden_attribute import HiddenAttribute, patch_attribute
from quintain.leakage.memorization.calibrated import CalibratedCanaryLoss
from quintain.leakage.memorization.canary_loss import CanaryLoss
from quintain.models.nets import xray_cnn
from quintain.training import Recipe, fit

MEMBERS, EPSILON, DELTA, EPOCHS, BATCH = 2000, 3.0, 1e-5, 40, 100


def build(seed: int) -> nn.Module:
    """Return a fresh net."""
    return xray_cnn(seed=seed)


def train_plainly(net: nn.Module, data: Dataset, seed: int) -> None:
    """Train a net without privacy."""
    fit(net, data, Recipe(epochs=EPOCHS, batch_size=64), seed=seed)


def train_privately(net: nn.Module, data: Dataset, seed: int) -> None:
    """Train a net at epsilon 3, by the native call; its noise is fresh, whatever the seed."""
    del seed
    settings = q.dp.PrivacySettings.for_epsilon(
        EPSILON, DELTA, num_units=len(data), expected_batch_size=BATCH, epochs=EPOCHS
    )
    x, y = data.tensors
    private = q.dp.make_private(
        net,
        torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9),
        DataLoader(TensorDataset(x, y), batch_size=BATCH),
        settings,
    )
    for _ in range(EPOCHS):
        for images, labels in private.loader:
            private.optimizer.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            private.optimizer.step()
    private.detach().eval()


def lines(name: str, found: LeakFindings) -> Iterator[Comparison]:
    """Yield a line for each measure."""
    for one in found.measurements:
        allowed = "" if one.ceiling is None else f", at most {one.ceiling:.3g} by the claim"
        yield Comparison(
            f"{name}, {one.attack}, {one.measure}",
            f"{one.value:.3f} (95 %: {one.low:.3f} to {one.high:.3f}) of {one.count}; baseline "
            f"{one.baseline:.3f} ({one.baseline_name}){allowed}",
        )


def run() -> Iterator[Comparison]:
    """Measure canaries of both recipes, then a mark in a corner of X-rays of a plain training."""
    xrays = q.load_data("xrays").split("train")
    distinct = xrays.subset(first_of_each(xrays))
    members, others = distinct.subset(np.arange(MEMBERS)), distinct.subset(np.arange(MEMBERS, 2 * MEMBERS))
    anyone = q.Classifier(build(0).eval(), num_classes=2)
    plain = LeakTarget(anyone, "plain", build=build, train=train_plainly)
    private = LeakTarget(
        anyone, "private, epsilon 3", build=build, train=train_privately, epsilon=EPSILON, delta=DELTA
    )
    canaries = LeakJob(plain, (CanaryLoss(), CalibratedCanaryLoss()), members, others)
    for target in (plain, private):
        yield from lines(
            f"X-rays, {target.title}, canaries", exposure.measure(replace(canaries, target=target))
        )
    mark = patch_attribute((1, 28, 28), 0, 0, torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)]))
    marked, unmarked = _with_mark(members, mark, seed=1), _with_mark(others, mark, seed=2)
    net = build(0)
    train_plainly(net, marked, 0)
    target = LeakTarget(q.Classifier(net, num_classes=2), "plain", build=build, train=train_plainly)
    job = LeakJob(target, (AttributePosterior(), AttributeShadow()), marked, unmarked, attribute=mark)
    yield from lines("X-rays, plain, a mark in the corner", attributes.measure(job))


def _with_mark(data: Dataset, mark: HiddenAttribute, *, seed: int) -> Dataset:
    """Return examples with one of the two marks each, by a fair coin: nothing else tells which."""
    x, y = data.tensors
    coins = torch.from_numpy(np.random.default_rng(seed).integers(0, 2, len(x)))
    x = torch.where((coins == 1)[:, None, None, None], mark.put(x, 1), mark.put(x, 0))
    return Dataset(ArraySource(x.numpy()), y.numpy(), name=f"{data.name}, marked", num_classes=2)
