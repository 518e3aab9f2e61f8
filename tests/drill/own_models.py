"""Small models and data of a user, of several kinds; the files that ``quintain drill`` is called on."""

from pathlib import Path

import numpy as np

NETS = """
from torch import nn


def mlp(num_classes=2):
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, num_classes))


def normed(num_classes=2):
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, num_classes))


def scores(x):
    return (x @ [[1.0, -1.0]] * 8).clip(0, 1)
"""
"""A net of vectors, one with BatchNorm, and a function of scores."""


def write_files(folder: Path) -> None:
    """Write ``nets.py`` and ``table.npz``: 240 and 60 vectors of 8 features, which a line separates."""
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
