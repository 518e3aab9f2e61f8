"""The fast gradient sign method on your own net, in five lines."""

import torch
from torch import nn

import quintain as q


def main() -> None:
    """Train a net on the bundled X-rays for a moment, then attack 200 others with a signed gradient step."""
    data = q.load_data("xrays")
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 2))
    q.training.fit(
        net,
        data.split("train"),
        q.training.Recipe(epochs=5, batch_size=64, learning_rate=3e-3),
        objective=q.training.CleanCrossEntropy(),
    )

    model = q.Classifier(net.eval())
    x, y = data.split("test").batch(torch.arange(200))
    attack = q.attacks.FGSM()
    outcome = attack(model, x, y, q.Linf(4 / 255))
    print(
        f"accuracy: {(model.predict(x) == y).float().mean():.1%} clean, "
        f"{1 - outcome.success.float().mean():.1%} under FGSM"
    )


if __name__ == "__main__":
    main()
