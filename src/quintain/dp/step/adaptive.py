"""Adaptive clipping: a bound that follows a quantile of the gradient norms, learned privately."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.dp.step.clipping import check_bound, flat_clip_factors, global_norms


@dataclass(frozen=True, slots=True)
class AdaptiveClipping:
    r"""Clipping to a bound that moves to a quantile of the norms after each step.

    .. math:: \tilde b = \frac12 + \frac1m
        \Big(\sum_i \big(1[n_i \le C] - \tfrac12\big) + \sigma_b\, \mathcal{N}(0, 1)\Big),
        \qquad C \leftarrow C\, e^{-\eta (\tilde b - \gamma)}

    with m the expected batch. One record moves the count by 1/2 and the clipped sum by C, so that noise of
    :math:`\sigma_g C` on the sum, :math:`\sigma_g = (\sigma^{-2} - (2 \sigma_b)^{-2})^{-1/2}`, costs with the
    count together what :math:`\sigma` costs alone.

    Args:
        max_grad_norm: C to begin with.
        unclipped_count_std: sigma_b, above half of the noise multiplier; an expected batch over 20 by
            default.
        target_quantile: gamma, the fraction of examples that should not be clipped.
        learning_rate: eta.
        min_bound, max_bound: Limits of C.

    Raises:
        SettingError: If a number is out of its range.

    Source: Andrew et al., 2019, arXiv:1905.03871.
    """

    max_grad_norm: float
    unclipped_count_std: float
    target_quantile: float = 0.5
    learning_rate: float = 0.2
    min_bound: float = 1e-8
    max_bound: float = 1e8

    def __post_init__(self) -> None:
        check_bound(self.max_grad_norm)
        ranges = {
            "unclipped_count_std": (
                self.unclipped_count_std > 0,
                "a positive number, such as a twentieth of the expected batch",
            ),
            "target_quantile": (0 <= self.target_quantile <= 1, "a fraction in [0, 1]"),
            "learning_rate": (0 <= self.learning_rate < math.inf, "0 or more"),
            "min_bound": (
                0 < self.min_bound <= self.max_bound < math.inf,
                "positive, and not above max_bound",
            ),
        }
        for name, (good, expected) in ranges.items():
            if not good:
                raise SettingError(f"got {name} = {getattr(self, name)}; expected {expected}")

    @property
    def sensitivity(self) -> float:
        return self.max_grad_norm

    def with_sensitivity(self, sensitivity: float) -> "AdaptiveClipping":
        return replace(self, max_grad_norm=sensitivity)

    def clip_factors(self, norms: Tensor, finfo: torch.finfo) -> Tensor:
        return flat_clip_factors(global_norms(norms), self.max_grad_norm, finfo)

    def gradient_noise_multiplier(self, noise_multiplier: float) -> float:
        """The noise multiplier of the gradient, sigma_g, for a cost of ``noise_multiplier`` in all."""
        # Theorem 1 of arXiv:1905.03871: noise of gradient and count together cost sigma
        if noise_multiplier >= 2 * self.unclipped_count_std:
            raise SettingError(
                f"got noise_multiplier = {noise_multiplier} with a noise on the count of "
                f"{self.unclipped_count_std}; expected less than twice that: "
                "the count alone costs more than the whole step may. Give "
                "make_private(clipping='adaptive', unclipped_num_std=...), or AdaptiveClipping(..., "
                f"unclipped_count_std=...), above {noise_multiplier / 2:g} (a twentieth of the expected "
                "batch, if left out), or larger batches"
            )
        return (
            0.0
            if noise_multiplier == 0
            else (noise_multiplier**-2 - (2 * self.unclipped_count_std) ** -2) ** -0.5
        )

    def doubled_centered_count(self, norms: Tensor) -> int:
        """Twice the number of unclipped examples less the number of examples; one record moves it by 1."""
        return 2 * int((norms <= self.max_grad_norm).sum()) - len(norms)

    def for_next_step(self, noisy_count: float, expected_batch_size: int) -> "AdaptiveClipping":
        """The clipping method for the next step, from the noisy doubled centered count."""
        unclipped_fraction = 0.5 + noisy_count / (2 * expected_batch_size)
        bound = self.max_grad_norm * math.exp(
            -self.learning_rate * (unclipped_fraction - self.target_quantile)
        )
        return replace(self, max_grad_norm=min(max(bound, self.min_bound), self.max_bound))
