"""Gaussian data augmentation: training under the noise of the smoothed classifier, for its base."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.core.errors import SettingError
from quintain.core.seeds import derive_seed
from quintain.models.adapters import forward_logits
from quintain.threats.l2 import L2
from quintain.training.objective import StepContext
from quintain.training.recipe import Recipe

RECIPE = Recipe(epochs=20, batch_size=128, learning_rate=3e-3)


@dataclass(frozen=True, slots=True)
class GaussianAugmentation:
    r"""Training by Gaussian data augmentation, for the base of a smoothed classifier.

    .. math:: \min_\theta\; E_{(x, y)}\, E_{u \sim N(0, I)}\, CE(f_\theta(x + \sigma u), y)

    Noise is fresh in every step and added to the raw inputs, which are not clamped, as ``SmoothedClassifier``
    adds it.

    Guarantee: none of itself; ``SmoothedClassifier(model, sigma)`` then certifies.

    Args:
        sigma: Standard deviation, in the units of the data: that of the smoothed classifier.
        recipe: Epochs, batch size and optimizer.

    Raises:
        SettingError: If ``sigma`` is not positive and finite.

    Source: Cohen, Rosenfeld and Kolter, 2019, arXiv:1902.02918.
    """

    name: ClassVar[str] = "gaussian"
    summary: ClassVar[str] = "training under Gaussian noise, for the base of a smoothed classifier"
    guarantee: ClassVar[str] = "none of itself; randomized smoothing certifies afterwards"
    supports: ClassVar[tuple[str, ...]] = ("l2",)
    example: ClassVar[str] = "l2:0.5"
    default_rank: ClassVar[int] = 3
    certifier: ClassVar[str] = "smoothing"
    old_names: ClassVar[tuple[str, ...]] = ("smoothed",)

    sigma: float
    recipe: Recipe = RECIPE

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise SettingError(
                f"sigma = {self.sigma}; expected a positive number in the units of the data, such as 0.25"
            )

    @property
    def threat(self) -> L2:
        """The ball that the trained model is attacked and certified in where no other is named: 2 sigma."""
        return L2(2 * self.sigma)

    def objective(self) -> "GaussianAugmentationLoss":
        """Return the loss of a step."""
        return GaussianAugmentationLoss(self.sigma)


@dataclass(frozen=True, slots=True)
class GaussianAugmentationLoss:
    """The loss of ``GaussianAugmentation``."""

    sigma: float

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss of a batch."""
        generator = torch.Generator().manual_seed(derive_seed(context.seed, "noise"))
        shape = (context.batch_size or len(x), *x.shape[1:])
        noise = context.rows_of_batch(
            torch.empty(shape, dtype=torch.float32).normal_(generator=generator)
        ).to(x)
        return F.cross_entropy(forward_logits(net, x + self.sigma * noise), y)
