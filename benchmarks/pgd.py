"""Compare PGD with torchattacks' PGD on the bundled X-rays, 20 gradients each."""

from collections.abc import Iterator

import torch
from torch import nn

import quintain as q
from benchmarks.harness import TimedComparison, compare_times
from quintain.models.nets import xray_cnn

EPS = 4 / 255
STEPS = 20


def nets(train: object) -> dict[str, nn.Module]:
    """Train a plain and an adversarial net."""
    plain, hardened = xray_cnn(), xray_cnn()
    q.training.fit(plain, train, q.training.Recipe(10))
    q.harden.fit(hardened, train, q.harden.PGDTraining(q.Linf(EPS), q.training.Recipe(8, learning_rate=3e-3)))
    return {"plain": plain, "adversarial": hardened}


def run() -> Iterator[TimedComparison]:
    """Compare time and robust accuracy; the peer runs its defaults but for the number of steps."""
    import torchattacks

    data = q.load_data("xrays")
    x, y = data.split("test").batch(torch.arange(624))
    for name, net in nets(data.split("train")).items():
        model = q.Classifier(net.eval(), num_classes=2)

        def ours(model: q.Classifier = model) -> torch.Tensor:
            outcome = q.attacks.PGD(steps=STEPS)(model, x, y, q.Linf(EPS), seed=0)
            return ~outcome.success

        def peer(net: nn.Module = net) -> torch.Tensor:
            adversarial = torchattacks.PGD(net, eps=EPS, alpha=2 / 255, steps=STEPS)(x, y)
            with torch.no_grad():
                return net(adversarial).argmax(1) == y

        notes = f"robust accuracy {ours().float().mean():.1%} ours, {peer().float().mean():.1%} peer"
        yield compare_times(f"PGD-{STEPS}, {name} net, 624 X-rays, linf:4/255", ours, peer, notes=notes)
