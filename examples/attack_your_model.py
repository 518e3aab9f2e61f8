"""Attack and certify your own net: bounds on its robust accuracy from both sides."""

import torch
from torch import nn

import quintain as q


def main() -> None:
    """Train a net on the bundled X-rays for a moment, then bound its robust accuracy from both sides."""
    data = q.load_data("xrays")
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 2))
    q.harden.fit(net, data.split("train"), q.harden.IBPTraining(q.Linf(2 / 255), q.training.Recipe(epochs=3)))

    model = q.Classifier(net.eval(), num_classes=2)
    x, y = data.split("test").batch(torch.arange(200))
    threat = q.Linf(2 / 255)
    attacked = q.attacks.PGD(steps=20)(model, x, y, threat, seed=0)
    certificates = q.certify.IntervalBounds()(model, x, y, threat)
    assert not (certificates.certified & attacked.success).any(), "a certified example was broken: a bug"
    lower, upper = certificates.certified.float().mean(), 1 - attacked.success.float().mean()
    print(
        f"robust accuracy at {threat.spec}: at least {lower:.1%} (certified), at most {upper:.1%} (attacked)"
    )


if __name__ == "__main__":
    main()
