"""Images and models whose best sticker is known."""

import torch
from torch import Tensor, nn

from quintain.attacks.universal.view import View
from quintain.data.dataset import Dataset, from_arrays
from quintain.models import Classifier

FIXED_VIEW = View(
    position=(0.5, 0.5),
    shift=0.0,
    rotation=0.0,
    magnification=(1.0, 1.0),
    perspective=0.0,
    brightness=0.0,
    contrast=0.0,
)
"""The view without any randomness, for a sticker that covers the whole image."""


class BrightestColor(nn.Module):
    """Answers with the channel of the largest mean: red, green or blue. The best sticker is that color,
    pure.
    """

    def forward(self, x: Tensor) -> Tensor:
        return 30 * x.mean((2, 3))


class BrightestHalf(nn.Module):
    """Answers with the brighter half: 0 for the left one, 1 for the right one."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[3] // 2
        return 30 * torch.stack((x[..., :half].mean((1, 2, 3)), x[..., half:].mean((1, 2, 3))), 1)


def colors(count: int = 30, side: int = 24, gap: float = 0.1) -> Dataset:
    """Noisy images, each a little brighter in the channel that is its class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = 0.4 + 0.2 * torch.rand(count, 3, side, side, generator=generator)
    images[torch.arange(count), labels] += gap
    return from_arrays(images.numpy(), labels.numpy(), name="colors", num_classes=3)


def halves(count: int = 20, side: int = 24) -> Dataset:
    """Noisy gray images, each a little brighter in the half that is its class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    images = 0.4 + 0.2 * torch.rand(count, 1, side, side, generator=generator)
    images[labels == 0, :, :, : side // 2] += 0.05
    images[labels == 1, :, :, side // 2 :] += 0.05
    return from_arrays(images.numpy(), labels.numpy(), name="halves", num_classes=2)


def by_color() -> Classifier:
    return Classifier(BrightestColor().eval(), num_classes=3)


def by_half() -> Classifier:
    return Classifier(BrightestHalf().eval(), num_classes=2)
