"""The net that the hospitals train, for gray X-rays of 28x28 pixels."""

from torch import nn


def make(num_classes: int) -> nn.Module:
    """Two convolutions of stride 2, then 64 hidden units."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, num_classes),
    )
