"""Attack single pixels: how many X-rays are misclassified once one pixel, or three of them, are changed."""

import torch
from torch import nn

import quintain as q


def main() -> None:
    """Train a net on the bundled X-rays for a moment, then try every pixel of 100 others."""
    data = q.load_data("xrays")
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 2))
    q.training.fit(
        net,
        data.split("train"),
        q.training.Recipe(5, batch_size=64, learning_rate=3e-3),
        objective=q.training.CleanCrossEntropy(),
    )

    model = q.Classifier(net.eval())
    x, y = data.split("test").batch(torch.arange(100))
    right = model.predict(x) == y
    for pixels in (1, 3):
        outcome = q.attacks.OnePixel()(model, x, y, q.L0(pixels))
        turned = (outcome.success & right).nonzero().squeeze(1).tolist()
        print(f"{pixels} of {x[0].numel()} pixels: {len(turned)} of {int(right.sum())} right answers turned")
        for row in turned[:3]:
            places = (outcome.adversarial[row] != x[row])[0].nonzero().tolist()
            pixels_text = ", ".join(f"row {down} column {across}" for down, across in places)
            print(f"  X-ray {row}, after {int(outcome.forwards[row])} queries: {pixels_text}")


if __name__ == "__main__":
    main()
