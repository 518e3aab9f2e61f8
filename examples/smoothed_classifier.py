"""A smoothed classifier: a vote under noise, with a radius for each prediction, for any net at all."""

from torch import nn

import quintain as q

SIGMA = 0.5


def main() -> None:
    """Train a net under noise on the bundled X-rays for a moment, then certify the votes on 50 others."""
    data = q.load_data("xrays")
    base = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 2))
    defense = q.harden.GaussianAugmentation(SIGMA, q.training.Recipe(epochs=10, learning_rate=3e-3))
    q.harden.fit(base, data.split("train"), defense)

    model = q.certify.SmoothedClassifier(q.Classifier(base, num_classes=2), sigma=SIGMA, noise_samples=2000)
    x, y = data.split("test").sample(50, seed=0).batch(range(50))
    for radius in (0.25, 0.5, 1.0):
        # sampling stops for an example as soon as this radius is decided
        found = model.certify(x, y, q.L2(radius), seed=0)
        print(
            f"L2 {radius}: {int(found.certified.sum())} of {len(x)} certified, each wrongly with probability "
            f"at most {model.alpha:g}; {found.forwards.double().mean():.0f} samples each"
        )


if __name__ == "__main__":
    main()
