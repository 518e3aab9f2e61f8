"""Certified training on MNIST: clean and certified accuracy on the test split, and processor time."""

import os
import time
from collections.abc import Iterator

import torch
from torch import nn

import quintain as q
from benchmarks.evasion.shared import path
from benchmarks.harness import Comparison
from quintain.training import Recipe

EPOCHS = int(os.environ.get("EPOCHS", "50"))
"""The figures in docs name the number that they were made with."""

CASES = {
    0.3: q.harden.MTLIBP(q.Linf(0.3), Recipe(EPOCHS, 256, 2e-3), train_eps_ratio=1.2),
    0.1: q.harden.MTLIBP(q.Linf(0.1), Recipe(EPOCHS, 256, 2e-3), train_eps_ratio=1.5),
}


def mnist_net() -> nn.Sequential:
    """Make the net: two convolutions of stride 2, then a hidden layer."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 49, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )


def run() -> Iterator[Comparison]:
    """Train at each size, and certify the test split by intervals."""
    data = q.load_data(str(path("data/MNIST/raw")))
    test = data.split("test")
    for eps, defense in CASES.items():
        torch.manual_seed(0)
        net, started = mnist_net(), time.process_time()
        q.harden.fit(net, data.split("train"), defense, ema_decay=0.999)
        seconds = time.process_time() - started
        model, certifier = q.Classifier(net), q.certify.IntervalBounds()
        correct = certified = 0
        for x, y, _ in test.batches(1000):
            correct += int((model.predict(x) == y).sum())
            certified += int(certifier(model, x, y, defense.threat).certified.sum())
        yield Comparison(
            f"MNIST, linf:{eps}, {EPOCHS} epochs of MTL-IBP at weight {defense.robust_weight:g}",
            f"{correct / len(test):.2%} clean, {certified / len(test):.2%} certified by intervals, "
            f"{seconds / 60:.1f} minutes of one core",
        )
