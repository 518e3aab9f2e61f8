"""What a certificate saves: AutoAttack on a net trained for interval bounds, with the proven examples handed
in.
"""

from collections.abc import Iterator

import torch

import quintain as q
from benchmarks.evasion.autoattack import measured, ours, reference, told
from benchmarks.evasion.shared import mnist, path
from benchmarks.harness import Comparison
from quintain.models.nets import xray_cnn

THREAT = q.Linf(0.1)
POINTS, TRAIN, EPOCHS = 1000, 20_000, 12


def run() -> Iterator[Comparison]:
    """The peer knows of no certificate and pays for every example that stands."""
    train = q.load_data(str(path("data/MNIST/raw"))).split("train").subset(torch.arange(TRAIN))
    net = xray_cnn(num_classes=10)
    q.harden.fit(
        net, train, q.harden.IBPTraining(THREAT, q.training.Recipe(EPOCHS, learning_rate=3e-3)), seed=0
    )
    net = net.eval().requires_grad_(False)
    x, y = mnist().batch(torch.arange(POINTS))
    safe = q.certify.IntervalBounds()(q.Classifier(net), x, y, THREAT).certified
    peer = measured(net, x, reference(x, y, THREAT))
    mine = measured(net, x, ours(q.attacks.AutoAttack(), x, y, THREAT, certified=safe))
    yield told(
        f"AutoAttack() with {int(safe.sum())} of {POINTS} examples proven, {THREAT.spec}, against the "
        "authors' AutoAttack",
        mine,
        peer,
    )
