"""Adversarial training: an epoch beside a bare loop, and Fast-AT beside PGD-10-AT, in processor time."""

import math
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional as F

import quintain as q
from benchmarks.harness import Comparison
from quintain.data.dataset import Dataset
from quintain.models.nets import xray_cnn
from quintain.training import Recipe

EPS = 4 / 255
STEPS = 10
ROUNDS = 5
EPOCHS = 12
SEEDS = (0, 1, 2)


def seconds_of(work: Callable[[], object]) -> float:
    """Return the processor time of some work: what other programs do beside it does not count."""
    started = time.process_time()
    work()
    return time.process_time() - started


def bare_epoch(net: nn.Module, data: Dataset) -> None:
    """Train an epoch by ten steps of projected gradient ascent, with nothing around it."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.0)
    for rows in torch.randperm(len(data)).split(128):
        x, y = data.batch(rows)
        low, high = (x - EPS).clamp(min=0), (x + EPS).clamp(max=1)
        net.eval()
        z = low + (high - low) * torch.rand_like(x)
        for step in range(STEPS):
            z.requires_grad_()
            gradient = torch.autograd.grad(F.cross_entropy(net(z), y, reduction="sum"), z)[0]
            size = 0.8 * EPS * (1 + math.cos(math.pi * step / STEPS)) / 2
            with torch.no_grad():
                z = (z + size * gradient.sign()).clamp(low, high)
        net.train()
        optimizer.zero_grad()
        F.cross_entropy(net(z), y).backward()
        optimizer.step()


def robust_accuracy(net: nn.Module, test: Dataset) -> tuple[float, float]:
    """Return clean accuracy, and accuracy under 40 steps of projected gradient ascent."""
    model, threat = q.Classifier(net, num_classes=2), q.Linf(EPS)
    x, y = test.tensors
    broken = q.attacks.PGD()(model, x, y, threat, seed=0).success
    return (model.predict(x) == y).double().mean().item(), 1 - broken.double().mean().item()


def run() -> Iterator[Comparison]:
    """Compare an epoch with a bare one, then two trainings of equally many epochs."""
    data = q.load_data("xrays")
    train, test = data.split("train"), data.split("test")
    pgd = q.harden.PGDTraining(q.Linf(EPS), Recipe(1, learning_rate=3e-3), steps=STEPS)
    ratios = []
    for _ in range(ROUNDS):
        ours = seconds_of(lambda: q.harden.fit(xray_cnn(), train, pgd))
        ratios.append(ours / seconds_of(lambda: bare_epoch(xray_cnn(), train)))
    yield Comparison(
        f"PGD-{STEPS} training, an epoch of {len(train):,} X-rays, processor time over that of a bare loop",
        f"median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f} of {ROUNDS}",
    )
    recipe = Recipe(EPOCHS, learning_rate=3e-3)
    plans: dict[str, q.harden.Defense] = {
        "PGD-10-AT": q.harden.PGDTraining(q.Linf(EPS), recipe, steps=STEPS),
        "Fast-AT (N-FGSM)": q.harden.FastTraining(q.Linf(EPS), recipe),
    }
    seconds: dict[str, list[float]] = {name: [] for name in plans}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in plans}
    for seed in SEEDS:
        for name, plan in plans.items():
            net = xray_cnn(seed=seed)
            seconds[name].append(seconds_of(lambda: q.harden.fit(net, train, plan, seed=seed)))  # noqa: B023
            found[name].append(robust_accuracy(net, test))
    for name in plans:
        clean, robust = (statistics.mean(values) for values in zip(*found[name], strict=True))
        yield Comparison(
            f"{name}, {EPOCHS} epochs on X-rays at linf:4/255, mean of {len(SEEDS)} seeds",
            f"{clean:.1%} clean, {robust:.1%} under PGD-40, "
            f"{statistics.mean(seconds[name]):.0f} s of one core",
        )
