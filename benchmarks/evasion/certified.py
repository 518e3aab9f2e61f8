"""Measure what certificates save: AutoAttack skips the certified examples of an IBP-trained net."""

from collections.abc import Iterator

import torch

import quintain as q
from benchmarks.evasion.autoattack import compare_runs, ours, reference, run_attack
from benchmarks.evasion.shared import mnist, path
from benchmarks.harness import Comparison
from quintain.models.nets import xray_cnn

THREAT = q.Linf(0.1)
IMAGES, TRAIN_IMAGES, EPOCHS = 1000, 20_000, 12


def run() -> Iterator[Comparison]:
    """The peer takes no certificates and pays for every unbroken example."""
    train = q.load_data(str(path("data/MNIST/raw"))).split("train").subset(torch.arange(TRAIN_IMAGES))
    net = xray_cnn(num_classes=10)
    q.harden.fit(
        net, train, q.harden.IBPTraining(THREAT, q.training.Recipe(EPOCHS, learning_rate=3e-3)), seed=0
    )
    net = net.eval().requires_grad_(False)
    x, y = mnist().batch(torch.arange(IMAGES))
    certified = q.certify.IntervalBounds()(q.Classifier(net), x, y, THREAT).certified
    peer = run_attack(net, x, reference(x, y, THREAT))
    mine = run_attack(net, x, ours(q.attacks.AutoAttack(), x, y, THREAT, certified=certified))
    yield compare_runs(
        f"AutoAttack() with {int(certified.sum())} of {IMAGES} examples certified, {THREAT.spec}, "
        "against the authors' AutoAttack",
        mine,
        peer,
    )
