"""Gaussian data augmentation: training under the noise of the smoothed classifier, for its base."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.core.errors import SettingError
from quintain.core.seeds import derive_seed
from quintain.harden.forward import forward_logits
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

    sigma: float
    recipe: Recipe = RECIPE

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise SettingError(
                f"sigma = {self.sigma}; expected a positive number in the units of the data, such as 0.25"
            )

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
        noise = torch.empty(x.shape, dtype=torch.float32).normal_(generator=generator).to(x)
        return F.cross_entropy(forward_logits(net, x + self.sigma * noise), y)
