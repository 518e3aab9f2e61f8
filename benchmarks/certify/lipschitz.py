"""Lipschitz nets on MNIST: clean and certified accuracy in L2, and their certificates' time."""

import time
from collections.abc import Iterator

import torch
from torch import nn

import quintain as q
from benchmarks.evasion.shared import mnist, path
from benchmarks.harness import Comparison
from quintain.models.nets import initialize

EPOCHS, IMAGES = 15, 10_000
CASES = ((0.5, 1.2, ""), (1.58, 1.0, "; GloRo (Leino et al., 2021): about 97 % clean, 63 % certified"))
"""Size of the ball, what it is multiplied by in training, and the published figure."""


def run() -> Iterator[Comparison]:
    """Train a dense net for each size, and certify it there."""
    train = q.load_data(str(path("data/MNIST/raw"))).split("train")
    x, y = mnist().batch(torch.arange(IMAGES))
    for eps, ratio, published in CASES:
        net = initialize(
            nn.Sequential(
                nn.Flatten(),
                *(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)),
            ),
            0,
        )
        clock = time.process_time()
        recipe = q.training.Recipe(EPOCHS, batch_size=256, learning_rate=2e-3)
        q.harden.fit(net, train, q.harden.LipschitzTraining(q.L2(eps), recipe, train_eps_ratio=ratio), seed=0)
        trained = time.process_time() - clock
        model = q.Classifier(net.eval().requires_grad_(False), num_classes=10)
        clock = time.process_time()
        certified = q.certify.Lipschitz()(model, x, y, q.L2(eps)).certified
        seconds = time.process_time() - clock
        yield Comparison(
            f"{IMAGES:,} MNIST test images, l2:{eps}, 784-256-256-10, {EPOCHS} epochs ({trained:.0f} s of "
            "processor time)",
            f"{(model.predict(x) == y).double().mean():.2%} clean, {certified.double().mean():.2%} "
            f"certified, {1e3 * seconds / IMAGES:.2f} ms an image{published}",
        )
