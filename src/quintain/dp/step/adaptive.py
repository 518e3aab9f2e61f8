"""A bound that follows a quantile of the norms, learnt privately on the way."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.dp.step.clipping import check_bound, factors, whole


@dataclass(frozen=True, slots=True)
class Adaptive:
    r"""Clipping to a bound that moves to a quantile of the norms after each step.

    .. math:: \tilde b = \frac12 + \frac1m \Big(\sum_i \big(1[n_i \le C] - \tfrac12\big) + \sigma_b\, \mathcal{N}(0, 1)\Big),
              \qquad C \leftarrow C\, e^{-\eta (\tilde b - \gamma)}

    with m the expected batch. One record moves the count by 1/2 and the clipped sum by C, so that noise of :math:`\sigma_g C` on the sum,
    :math:`\sigma_g = (\sigma^{-2} - (2 \sigma_b)^{-2})^{-1/2}`, costs with the count together what :math:`\sigma` costs alone.

    Args:
        max_grad_norm: C to begin with.
        count_std: sigma_b, above half of the noise multiplier; an expected batch over 20 by default.
        quantile: gamma, the share of examples that should not be clipped.
        rate: eta.
        lowest, highest: Ends that C stays between.

    Raises:
        SettingError: If a number is out of its range.

    Source: Andrew et al., 2019, arXiv:1905.03871.
    """

    max_grad_norm: float
    count_std: float
    quantile: float = 0.5
    rate: float = 0.2
    lowest: float = 1e-8
    highest: float = 1e8

    def __post_init__(self) -> None:
        check_bound(self.max_grad_norm)
        ranges = {
            "count_std": (self.count_std > 0, "a positive number, such as a twentieth of the expected batch"),
            "quantile": (0 <= self.quantile <= 1, "a share in [0, 1]"),
            "rate": (0 <= self.rate < math.inf, "0 or more"),
            "lowest": (0 < self.lowest <= self.highest < math.inf, "positive, and not above highest"),
        }
        for name, (good, expected) in ranges.items():
            if not good:
                raise SettingError(f"got {name} = {getattr(self, name)}; expected {expected}")

    @property
    def sensitivity(self) -> float:
        return self.max_grad_norm

    def at(self, sensitivity: float) -> "Adaptive":
        return replace(self, max_grad_norm=sensitivity)

    def factors(self, norms: Tensor, precision: torch.finfo) -> Tensor:
        return factors(whole(norms), self.max_grad_norm, precision)

    def gradient_noise(self, noise_multiplier: float) -> float:
        """sigma_g for a cost of ``noise_multiplier`` in all."""
        if noise_multiplier >= 2 * self.count_std:
            raise SettingError(
                f"got noise_multiplier = {noise_multiplier} with a noise on the count of {self.count_std}; expected less than twice that: "
                "the count alone costs more than the whole step may. Give "
                "make_private(clipping='adaptive', unclipped_num_std=...), or Adaptive(..., count_std=...), "
                f"above {noise_multiplier / 2:g} (a twentieth of the expected batch, if left out), or larger batches"
            )
        return 0.0 if noise_multiplier == 0 else (noise_multiplier**-2 - (2 * self.count_std) ** -2) ** -0.5

    def votes(self, norms: Tensor) -> int:
        """Twice the sum over examples of whether they are not clipped, less a half: a whole number that one record moves by 1."""
        return 2 * int((norms <= self.max_grad_norm).sum()) - len(norms)

    def moved(self, votes: float, expected_batch_size: int) -> "Adaptive":
        """The bound for the next step, from noisy votes."""
        share = 0.5 + votes / (2 * expected_batch_size)
        bound = self.max_grad_norm * math.exp(-self.rate * (share - self.quantile))
        return replace(self, max_grad_norm=min(max(bound, self.lowest), self.highest))
