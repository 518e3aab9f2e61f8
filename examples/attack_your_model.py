"""Attack and prove your own net: the two sides of its robust accuracy."""

import torch
from torch import nn

import quintain as q


def main() -> None:
    """Train a net on the bundled X-rays for a moment, then hold its robustness from both sides."""
    data = q.load_data("xrays")
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 2))
    q.harden.fit(net, data.split("train"), q.harden.IBPTraining(q.Linf(2 / 255), q.training.Recipe(epochs=3)))

    model = q.Classifier(net.eval(), num_classes=2)
    x, y = data.split("test").batch(torch.arange(200))
    threat = q.Linf(2 / 255)
    attacked = q.attacks.PGD(steps=20)(model, x, y, threat, seed=0)
    proved = q.certify.IntervalBounds()(model, x, y, threat)
    assert not (proved.certified & attacked.success).any(), "a contradiction: some code is wrong"
    print(
        f"proved {proved.certified.float().mean():.1%} <= true <= {1 - attacked.success.float().mean():.1%} "
        f"after PGD, {threat.spec}"
    )


if __name__ == "__main__":
    main()
