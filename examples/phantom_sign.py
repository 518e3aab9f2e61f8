"""A stop sign that is read as a speed limit while a projector shines on it: light only, nothing is stuck on.

As it stands it runs on drawn signs, in seconds. On photos, such as the German traffic signs as an .npz file
with a train and a test part:

    python examples/phantom_sign.py --data signs.npz --stop 14 --limit 3 --epochs 8 --steps 300
"""

import argparse
from pathlib import Path

import numpy as np

import quintain as q
from quintain.attacks.perturbation import success_rate
from quintain.data.dataset import Dataset, from_arrays
from quintain.models.nets import xray_cnn


def make_signs(count: int, seed: int) -> Dataset:
    """Red signs with a white bar (0) and white signs with a red ring (1), in any light."""
    random = np.random.default_rng(seed)
    at = np.arange(28) - 13.5
    labels = np.arange(count) % 2
    images = np.empty((count, 28, 28, 3), dtype=np.float32)
    for image, label in zip(images, labels, strict=True):
        radius = np.hypot(at[:, None] - random.uniform(-2, 2), at[None] - random.uniform(-2, 2))
        red, white = np.array([0.7, 0.1, 0.1]), np.array([0.8, 0.8, 0.8])
        image[:] = random.uniform(0.2, 0.6, 3)
        image[radius < 11] = red
        image[((np.abs(at) < 2)[:, None] & (radius < 9)) if label == 0 else radius < 7] = white
        image[:] = np.clip(image * random.uniform(0.5, 1.1) + random.normal(0, 0.03, image.shape), 0, 1)
    return from_arrays(images, labels, name="drawn signs", num_classes=2)


def main() -> None:
    """Train a small net, fit the light on some stop signs, and score it on others beside light of the same
    energy.
    """
    parser = argparse.ArgumentParser(description="A phantom on a stop sign.")
    parser.add_argument(
        "--data", type=Path, help="an .npz file with a train and a test part; drawn signs if not given"
    )
    parser.add_argument("--stop", type=int, default=0, help="the class that light is thrown on")
    parser.add_argument("--limit", type=int, default=1, help="the class that it shall be read as")
    parser.add_argument(
        "--gain", type=float, default=0.5, help="the strongest light, in the units of the pictures"
    )
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()

    train, test = make_signs(400, 0), make_signs(200, 1)
    if args.data:
        splits = q.load_data(args.data)
        train, test = splits.split("train"), splits.split("test")
    net = xray_cnn(train.num_classes, train.shape[0], train.shape[1])
    q.training.fit(net, train, q.training.Recipe(args.epochs, batch_size=32))
    model = q.Classifier(net.eval(), num_classes=train.num_classes)

    stops = np.flatnonzero(test.labels == args.stop)
    fitting, others = test.subset(stops[::2]), test.subset(stops[1::2])
    phantom = q.attacks.Phantom(args.limit, q.threats.ProjectedLight(args.gain), steps=args.steps)
    light = phantom.fit(model, fitting)
    plain, _ = others.tensors
    brighter = float((light.apply(plain) - plain).mean())
    print(f"light of at most {args.gain:g} makes the pictures {brighter:.3f} brighter")
    random, white = light.random_control(), light.gray_control()
    for name, one in (
        ("the phantom", light),
        ("random light of its energy", random),
        ("white light of its energy", white),
    ):
        result = success_rate(model, others, one, seed=1, target=args.limit)
        print(
            f"{name}: {result.successes} of {result.eligible} other stop signs are read as class "
            f"{args.limit}, {result.rate:.1%}"
        )


if __name__ == "__main__":
    main()
