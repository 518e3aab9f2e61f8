"""The judge's net: a small convolutional net, trained on turned and moved pictures."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import ArraySource, Dataset
from quintain.models.nets import initialize
from quintain.training.loop import fit
from quintain.training.recipe import Recipe

BATCH_SIZE = 60
MAX_SIDE = 64
"""Pictures with a longer side than this are averaged down before the first convolution."""

TURN, GROWTH, SHIFT = 0.15, 0.1, 0.05
"""Most that a copy is turned (rad), grown or shrunk (relative), and moved (of the side)."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgeNet:
    """A net that tells people apart.

    Args:
        net: From pictures (n, *S) to logits (n, people); its last layer is Linear.
        people: Number of people.
    """

    net: nn.Sequential
    people: int

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (n, people) of pictures (n, *S)."""
        with torch.no_grad():
            return self.net(x)

    def features(self, x: Tensor) -> Tensor:
        """Return the inputs (n, F) of the last layer for pictures (n, *S)."""
        with torch.no_grad():
            return self.net[:-1](x)


@dataclass(frozen=True, slots=True)
class JudgeRecipe:
    """How a judge is trained.

    Args:
        copies: Mirrored, turned, grown and moved copies of each picture.
        epochs: Passes over all copies.
        learning_rate: Of AdamW; it falls to 0 as a cosine.
    """

    copies: int = 16
    epochs: int = 20
    learning_rate: float = 1e-3

    def __call__(self, x: Tensor, y: Tensor, seed: int, *, progress: Progress = no_progress) -> JudgeNet:
        """Train a net on pictures (n, *S) of people (n,), numbered from 0 without a gap."""
        people = int(y.max()) + 1
        net = judge_net(tuple(x.shape[1:]), people, seed=derive_seed(seed, "judge", "weights"))
        if x.ndim == 4:
            x = altered_copies(x, self.copies, seed=derive_seed(seed, "judge", "copies"))
            y = y.repeat(self.copies)
        data = Dataset(ArraySource(x.numpy()), y.numpy(), name="judge", num_classes=max(2, people))
        recipe = Recipe(self.epochs, batch_size=BATCH_SIZE, learning_rate=self.learning_rate)
        fit(
            net,
            data,
            recipe,
            seed=derive_seed(seed, "judge", "order"),
            progress=progress,
            progress_label="judge",
        )
        return JudgeNet(net, people)


def judge_net(shape: tuple[int, ...], people: int, *, seed: int) -> nn.Sequential:
    """Build the judge: two convolutions of stride 2 (16, 32) and 128 units; for vectors 128 units alone.

    Args:
        shape: Of one picture, (C, H, W) or (F,).
        people: Number of outputs.
        seed: Of the weights.
    """
    if len(shape) != 3:
        features = torch.Size(shape).numel()
        layers: list[nn.Module] = [nn.Flatten()]
    else:
        channels, height, width = shape
        factor = math.ceil(max(height, width) / MAX_SIDE)
        layers = [nn.AvgPool2d(factor, ceil_mode=True)] if factor > 1 else []
        layers += [
            nn.Conv2d(channels, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        ]
        features = 32
        for side in (height, width):
            # Three times rounded up: by the pool, and by each stride of 2.
            features *= math.ceil(side / factor / 4)
    layers += [nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, max(2, people))]
    return initialize(nn.Sequential(*layers), seed)


def altered_copies(x: Tensor, copies: int, *, seed: int) -> Tensor:
    """Return the pictures (n, C, H, W) and ``copies - 1`` altered ones of each, (copies * n, C, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    made = [x]
    for _ in range(copies - 1):
        mirror, turn, growth = torch.rand(3, len(x), generator=generator)
        turn, growth = TURN * (2 * turn - 1), 1 + GROWTH * (2 * growth - 1)
        sign = torch.where(mirror < 0.5, -1.0, 1.0)
        # Rows of the affine map from places of the copy to places of the picture, in [-1, 1].
        affine = torch.zeros(len(x), 2, 3)
        affine[:, 0, 0], affine[:, 0, 1] = sign * growth * turn.cos(), -growth * turn.sin()
        affine[:, 1, 0], affine[:, 1, 1] = sign * growth * turn.sin(), growth * turn.cos()
        affine[:, :, 2] = 2 * SHIFT * (2 * torch.rand(len(x), 2, generator=generator) - 1)
        grid = nn.functional.affine_grid(affine, list(x.shape), align_corners=False)
        made.append(
            nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False).clamp(0, 1)
        )
    return torch.cat(made)
