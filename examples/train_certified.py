"""Train a net that can be certified: by bounds, from weights made for them, then prove what holds."""

import torch
from torch import nn

import quintain as q


def main() -> None:
    """Train on the bundled X-rays for a moment, and compare certified accuracy with accuracy under attack."""
    data = q.load_data("xrays")
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )
    threat = q.Linf(2 / 255)
    defense = q.harden.MTLIBP(threat, q.training.Recipe(epochs=4, batch_size=128, learning_rate=5e-3))
    done = q.harden.fit(net, data.split("train"), defense, validation=data.split("val"))
    for point in done.points:
        print(
            f"after {point.step:3} steps, on validation examples: {point.clean:.1%} right, "
            f"{point.certified:.1%} certified"
        )

    model = q.Classifier(net, num_classes=2)
    x, y = data.split("test").batch(torch.arange(624))
    certified = q.certify.IntervalBounds()(model, x, y, threat).certified
    broken = q.attacks.PGD()(model, x, y, threat, seed=0, certified=certified).success
    print(
        f"robust accuracy at {threat.spec}: at least {certified.float().mean():.1%} (certified), "
        f"at most {1 - broken.float().mean():.1%} (attacked)"
    )


if __name__ == "__main__":
    main()
