"""Small models and data of a user, of several kinds; the files that ``quintain drill`` is called on."""

from pathlib import Path

import numpy as np

NETS = """
from torch import nn


def mlp(num_classes=2):
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, num_classes))


def normed(num_classes=2):
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, num_classes))


class Named(nn.Module):
    def __init__(self, inputs, logits):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, logits))

    def forward(self, x):
        return {"logits": self.layers(x), "hidden": x}


def one_logit():
    return Named(64, 1).layers


def many_logits():
    return Named(64, 50)


def faces():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 40)
    )


def scores(x):
    return (x @ [[1.0, -1.0]] * 8).clip(0, 1)
"""
"""Nets of vectors and of pictures of 8 x 8, of outputs of several kinds; a function of scores."""


def write_files(folder: Path) -> None:
    """Write ``nets.py`` and ``table.npz``: 240 and 60 vectors of 8 features, which a line separates.

    ``binary.npz`` and ``faces.npz`` are 300 and 40 gray pictures of 8 x 8 of two or forty classes.
    """
    (folder / "nets.py").write_text(NETS)
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(300, 8)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] > 1).astype(np.int64)
    np.savez(
        folder / "table.npz",
        train_images=x[:240],
        train_labels=y[:240],
        test_images=x[240:],
        test_labels=y[240:],
        class_names=np.array(["repaid", "defaulted"]),
    )
    for name, classes in (("binary", 2), ("faces", 40)):
        labels = np.arange(340) % classes
        mean = rng.uniform(0.2, 0.8, size=(classes, 8, 8))
        pictures = np.clip(mean[labels] + 0.1 * rng.standard_normal((340, 8, 8)), 0, 1)
        pictures = (255 * pictures).round().astype(np.uint8)
        np.savez(
            folder / f"{name}.npz",
            train_images=pictures[:300],
            train_labels=labels[:300],
            test_images=pictures[300:],
            test_labels=labels[300:],
        )
