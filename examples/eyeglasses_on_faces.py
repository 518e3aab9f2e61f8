"""A printed eyeglass frame that hides who wears it, and one that makes them somebody else.

As it stands it runs on drawn faces, in seconds. On photos of faces, such as the ORL faces as an .npz file
with ``images`` and ``labels``:

    python examples/eyeglasses_on_faces.py --data faces.npz --wearer 3 --other 10 --epochs 60 --steps 200
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

import quintain as q
from quintain.attacks.perturbation import success_rate
from quintain.data.dataset import Dataset, from_arrays
from quintain.models.nets import initialize


def make_faces(people: int = 6, photos: int = 24) -> Dataset:
    """Ovals with eyes, brows and a mouth, each person's of their own, in any light."""
    random = np.random.default_rng(0)
    down, across = (np.arange(48)[:, None] + 0.5) / 48, (np.arange(48)[None] + 0.5) / 48
    images, labels = [], []
    for person in range(people):
        wide, tall, brow, eye, mouth, skin = random.uniform(
            (0.26, 0.36, 0.02, 0.02, 0.08, 0.5), (0.4, 0.46, 0.05, 0.05, 0.2, 0.8)
        )
        for _ in range(photos):
            y, x = down - random.uniform(-0.02, 0.02), across - random.uniform(-0.02, 0.02)
            aside = np.abs(x - 0.5)
            face = np.where(np.hypot((x - 0.5) / wide, (y - 0.5) / tall) < 1, skin, 0.25)
            face = np.where(np.hypot(aside - 0.16, y - 0.42) < eye, 0.1, face)
            face = np.where((np.abs(y - 0.33) < brow / 2) & (np.abs(aside - 0.16) < 0.08), 0.2, face)
            face = np.where((np.abs(y - 0.72) < 0.02) & (aside < mouth), 0.3, face)
            images.append(np.clip(face * random.uniform(0.8, 1.1) + random.normal(0, 0.03, face.shape), 0, 1))
            labels.append(person)
    return from_arrays(np.float32(images), labels, name="drawn faces", num_classes=people)


def small_net(data: Dataset) -> nn.Sequential:
    """Two convolutions and two layers, for photos of any size."""
    channels, height, width = data.shape
    flat = 32 * -(-(height // 2) // 4) * -(-(width // 2) // 4)
    with torch.device("meta"):
        net = nn.Sequential(
            nn.AvgPool2d(2),
            nn.Conv2d(channels, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(flat, 128),
            nn.ReLU(),
            nn.Linear(128, data.num_classes),
        )
    return initialize(net, 0)


def main() -> None:
    """Train a small net, fit two frames on some photos of the wearer, and score them on others beside random
    frames.
    """
    parser = argparse.ArgumentParser(description="Adversarial eyeglasses.")
    parser.add_argument(
        "--data", type=Path, help="an .npz file with images and labels; drawn faces if not given"
    )
    parser.add_argument("--wearer", type=int, default=0)
    parser.add_argument("--other", type=int, default=2, help="whom to be taken for")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--steps", type=int, default=80)
    args = parser.parse_args()

    data = q.load_data(args.data).split("test") if args.data else make_faces()
    turn = np.arange(len(data)) % 2
    train = data.subset(np.flatnonzero(turn == 0))
    net = small_net(data)
    q.training.fit(net, train, q.training.Recipe(args.epochs, batch_size=20))
    model = q.Classifier(net.eval(), num_classes=data.num_classes)

    own = np.flatnonzero((data.labels == args.wearer) & (turn == 1))
    fitting, others = data.subset(own[::2]), data.subset(own[1::2])
    for what, target in (("dodging", None), (f"impersonation of {args.other}", args.other)):
        frame = q.attacks.Eyeglasses(target, steps=args.steps).fit(model, fitting)
        for name, one in (("the frame", frame), ("a random one", frame.random_control())):
            result = success_rate(model, others, one, seed=1, target=target)
            print(f"{what}, {name}: {result.successes} of {result.eligible} other photos, {result.rate:.1%}")


if __name__ == "__main__":
    main()
