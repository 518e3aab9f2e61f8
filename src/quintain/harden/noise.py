"""Gaussian-noise training: the base of a smoothed model learns to answer under the noise that it will be asked under."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.core.errors import SettingError
from quintain.core.seeds import derive
from quintain.harden.deployed import logits
from quintain.training.objective import Moment
from quintain.training.recipe import Recipe

RECIPE = Recipe(epochs=20, batch=128, rate=3e-3)


@dataclass(frozen=True, slots=True)
class NoiseTraining:
    r"""The least expected loss under Gaussian noise.

    .. math:: \min_\theta\; E_{(x, y)}\, E_{u \sim N(0, I)}\, CE(f_\theta(x + \sigma u), y)

    Noise is fresh in every step, added to the raw inputs, and nothing is clipped, just as ``Smoothed`` adds it.

    Guarantee: none of itself; ``Smoothed(model, sigma)`` then certifies.

    Args:
        sigma: Standard deviation, in the units of the data: that of the smoothed model.
        recipe: Epochs, batch and optimiser.

    Raises:
        SettingError: If ``sigma`` is not positive and finite.

    Source: Cohen, Rosenfeld and Kolter, 2019, arXiv:1902.02918.
    """

    sigma: float
    recipe: Recipe = RECIPE

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise SettingError(f"sigma = {self.sigma}; expected a positive number in the units of the data, such as 0.25")

    def objective(self) -> "NoiseLoss":
        """The loss of a step."""
        return NoiseLoss(self.sigma)


@dataclass(frozen=True, slots=True)
class NoiseLoss:
    """The loss of ``NoiseTraining``."""

    sigma: float

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The scalar loss of a batch."""
        generator = torch.Generator().manual_seed(derive(moment.seed, "noise"))
        noise = torch.empty(x.shape, dtype=torch.float32).normal_(generator=generator).to(x)
        return F.cross_entropy(logits(net, x + self.sigma * noise), y)
