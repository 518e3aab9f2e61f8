"""Consistency regularization: training under noise, with a penalty on predictions that differ."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.harden.trades import divergence
from quintain.models.adapters import forward_logits
from quintain.threats.l2 import L2
from quintain.threats.rng import example_rng
from quintain.training.objective import StepContext
from quintain.training.recipe import Recipe

RECIPE = Recipe(epochs=20, batch_size=128, learning_rate=3e-3)


@dataclass(frozen=True, slots=True)
class ConsistencyTraining:
    r"""Training under Gaussian noise with a penalty on predictions that differ from their mean over noise.

    .. math:: \frac1m \sum_i \Big( CE(f(x + \sigma u_i), y)
        + \lambda\, KL(\bar p(x) \| p(x + \sigma u_i)) \Big) + \eta\, H(\bar p(x)), \qquad
        \bar p(x) = \frac1m \sum_i p(x + \sigma u_i)

    with :math:`u_i \sim N(0, I)`: the base of a smoothed classifier whose votes agree, so that more radii are
    certified. Noise is not clamped, as ``SmoothedClassifier`` does not.

    Guarantee: none of itself; ``SmoothedClassifier(model, sigma)`` then certifies.

    Args:
        sigma: Standard deviation, in the units of the data: that of the smoothed classifier.
        recipe: Epochs, batch size and optimizer.
        samples: Noisy copies of each example, m, at least 2.
        consistency: Weight of the divergence, from 0 up.
        entropy: Weight of the entropy of the mean prediction, from 0 up.

    Raises:
        SettingError: If a number is out of range.

    Source: Jeong and Shin, 2020, arXiv:2006.04062.
    """

    name: ClassVar[str] = "consistency"
    summary: ClassVar[str] = (
        "training under noise with predictions that agree, for the base of a smoothed classifier"
    )
    guarantee: ClassVar[str] = "none of itself; randomized smoothing certifies afterwards"
    supports: ClassVar[tuple[str, ...]] = ("l2",)
    example: ClassVar[str] = "l2:0.5"
    certifier: ClassVar[str] = "smoothing"

    sigma: float
    recipe: Recipe = RECIPE
    samples: int = 2
    consistency: float = 5.0
    entropy: float = 0.5

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise SettingError(
                f"sigma = {self.sigma}; expected a positive number in the units of the data, such as 0.25"
            )
        require_at_least(2, samples=self.samples)
        if not (0 <= self.consistency < math.inf and 0 <= self.entropy < math.inf):
            raise SettingError(
                f"consistency = {self.consistency}, entropy = {self.entropy}; expected finite weights "
                "from 0 up"
            )

    @property
    def threat(self) -> L2:
        """The ball that the trained model is attacked and certified in where no other is named: 2 sigma."""
        return L2(2 * self.sigma)

    def objective(self) -> "ConsistencyLoss":
        """Return the loss of a step."""
        return ConsistencyLoss(self)


@dataclass(frozen=True, slots=True)
class ConsistencyLoss:
    """The loss of ``ConsistencyTraining``."""

    defense: ConsistencyTraining

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:
        """Return the scalar loss of a batch."""
        defense = self.defense
        rng = example_rng(x, context.seed, context.ids).fold_in("consistency")
        logits = [
            forward_logits(net, x + defense.sigma * rng.fold_in(copy).normal(x))
            for copy in range(defense.samples)
        ]
        # The log of the mean of the probabilities over noise: logits of the mean prediction.
        mean = torch.stack([one.log_softmax(1) for one in logits]).logsumexp(0) - math.log(defense.samples)
        cross_entropy = torch.stack([F.cross_entropy(one, y) for one in logits]).mean()
        divergence_from_mean = torch.stack([divergence(mean, one).mean() for one in logits]).mean()
        entropy = -(mean.exp() * mean).sum(1).mean()
        return cross_entropy + defense.consistency * divergence_from_mean + defense.entropy * entropy
