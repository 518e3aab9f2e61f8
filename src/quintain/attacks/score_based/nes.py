"""Natural evolution strategies."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.score_based.gradient_estimation import (
    ascend_estimated_gradient,
    check_probe_settings,
    cosine_decay,
)
from quintain.attacks.search import Search
from quintain.attacks.step_sizes import ascent_step
from quintain.core.errors import SettingError
from quintain.models.protocol import Access
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache


@dataclass(frozen=True, slots=True)
class NES(Attack):
    r"""Projected ascent along a running mean of gradients estimated from pairs of normal probes.

    .. math:: g_t = \mu g_{t-1} + (1 - \mu) \hat g_t, \qquad z_{t+1} = \Pi_x(z_t + s_t), \quad
        s_t = \arg\max_{\|s\| \le \alpha_t} \langle s, g_t \rangle

    with the estimate :math:`\hat g_t` at the current point, and :math:`\alpha_t` falling from ``rel_step_size
    * eps`` to nearly 0.

    Args:
        queries: Most queries per example; an example stops at its first success.
        pairs: Pairs of probes per step.
        sigma: Standard deviation of the probes, in the units of the data.
        rel_step_size: Length of the first step, as a fraction of the threat's ``eps``.
        momentum: The weight :math:`\mu` of the earlier gradients in the running mean, in [0, 1).

    Raises:
        SettingError: If a number is out of range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Ilyas et al., 2018, arXiv:1804.08598.
    """

    name: ClassVar[str] = "nes"
    summary: ClassVar[str] = "gradient ascent with gradients estimated from pairs of normal probes"
    use_for: ClassVar[str] = "a second opinion: estimated gradients with momentum"
    cost: ClassVar[str] = "{queries}"
    access: ClassVar[Access] = "scores"
    min_queries: ClassVar[int] = 1000
    optimality_gap: ClassVar = {"any": 0.08}
    test_settings: ClassVar = {"queries": 200, "pairs": 5}

    queries: int = 5000
    pairs: int = 25
    sigma: float = 0.01
    rel_step_size: float = 0.5
    momentum: float = 0.9

    def __post_init__(self) -> None:
        check_probe_settings(self.queries, self.pairs, self.sigma, self.rel_step_size)
        if not 0 <= self.momentum < 1:
            raise SettingError(f"momentum = {self.momentum}; expected a number in [0, 1), such as 0.9")

    def run(self, search: Search) -> None:
        """Estimate gradients and step along their running mean, from the clean point."""
        threat = search.threat

        def init(clean: Tensor) -> tuple[Tensor, Tensor]:
            return clean, clean.new_zeros(clean.shape)

        def update(
            progress: float,
            state: tuple[Tensor, Tensor],
            gradient: Tensor,
            clean: Tensor,
            cache: ProjectionCache,
        ) -> tuple[Tensor, Tensor]:
            mean = state[1].lerp(gradient.nan_to_num(0.0, 0.0, 0.0), 1 - self.momentum)
            return ascent_step(
                threat, self.rel_step_size * threat.eps * cosine_decay(progress), state[0], mean, clean, cache
            ), mean

        ascend_estimated_gradient(
            search,
            init=init,
            update=update,
            noise=ExampleRNG.normal,
            queries=self.queries,
            pairs=self.pairs,
            sigma=self.sigma,
            loss=search.goal.margin,
        )
