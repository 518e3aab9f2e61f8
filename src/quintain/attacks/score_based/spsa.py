"""SPSA: gradients estimated from pairs of probes with random signs, followed by Adam."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.score_based.gradient_estimation import (
    ascend_estimated_gradient,
    check_probe_settings,
    cosine_decay,
)
from quintain.attacks.search import Search
from quintain.models.protocol import Access
from quintain.threats.broadcast import expand_rows
from quintain.threats.l2 import L2
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache

ADAM_BETAS = (0.9, 0.999)
"""Adam's decay rates: of the running mean of the gradient, and of that of its square."""

State = tuple[Tensor, Tensor, Tensor, Tensor]
"""Points, mean gradients, mean squares, and how many steps each example has made (n,)."""


@dataclass(frozen=True, slots=True)
class SPSA(Attack):
    r"""Projected ascent with Adam along gradients estimated from pairs of probes with random signs.

    .. math::
        \hat g_t = \frac{1}{2 \sigma m} \sum_{i=1}^{m} u_i
        \big(\ell(f(z_t + \sigma u_i)) - \ell(f(z_t - \sigma u_i))\big), \quad
        u_i \in \{-1, 1\}^d, \qquad z_{t+1} = \Pi_x\big(z_t + \alpha_t\, Adam(\hat g_t)\big)

    with :math:`\alpha_t` falling from ``rel_step_size * eps`` a coordinate to nearly 0 (over :math:`\sqrt d`
    where lengths are Euclidean).

    Args:
        queries: Most queries per example; an example stops at its first success.
        pairs: Pairs of probes per step.
        sigma: How far a probe moves each coordinate, in the units of the data.
        rel_step_size: Adam's first step, as a fraction of the threat's ``eps``.

    Raises:
        SettingError: If a number is out of range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Uesato et al., 2018, arXiv:1802.05666; Spall, 1992.
    """

    name: ClassVar[str] = "spsa"
    summary: ClassVar[str] = "gradient ascent with Adam, with gradients estimated from pairs of random signs"
    use_for: ClassVar[str] = "a second opinion: estimated gradients with Adam"
    cost: ClassVar[str] = "{queries}"
    access: ClassVar[Access] = "scores"
    min_queries: ClassVar[int] = 1500
    optimality_gap: ClassVar = {"any": 0.1}
    test_settings: ClassVar = {"queries": 200, "pairs": 5}

    queries: int = 5000
    pairs: int = 25
    sigma: float = 0.01
    rel_step_size: float = 0.3

    def __post_init__(self) -> None:
        check_probe_settings(self.queries, self.pairs, self.sigma, self.rel_step_size)

    def run(self, search: Search) -> None:
        """Estimate gradients and follow them with Adam, from the clean point."""
        threat = search.threat
        l2_scale = math.sqrt(search.x[:1].numel() or 1) if isinstance(threat, L2) else 1.0

        def update(
            progress: float, state: State, gradient: Tensor, clean: Tensor, cache: ProjectionCache
        ) -> State:
            z, mean, square, steps_done = state
            gradient, steps_done = gradient.nan_to_num(0.0, 0.0, 0.0), steps_done + 1
            # Adam with bias correction; step counts per example, since examples may stop apart
            mean = mean.lerp(gradient, 1 - ADAM_BETAS[0])
            square = square.lerp(gradient.square(), 1 - ADAM_BETAS[1])
            corrections = [expand_rows(1 - beta**steps_done, z) for beta in ADAM_BETAS]
            step = (mean / corrections[0]) / ((square / corrections[1]).sqrt() + torch.finfo(z.dtype).tiny)
            step_size = self.rel_step_size * threat.eps * cosine_decay(progress) / l2_scale
            return threat.project(z + step_size * step, clean, cache), mean, square, steps_done

        ascend_estimated_gradient(
            search,
            init=init,
            update=update,
            noise=random_signs,
            queries=self.queries,
            pairs=self.pairs,
            sigma=self.sigma,
            loss=search.goal.margin,
        )


def init(clean: Tensor) -> State:
    """Return the first state: the clean points, zero running means and no step made."""
    return clean, torch.zeros_like(clean), torch.zeros_like(clean), clean.new_zeros(len(clean))


def random_signs(rng: ExampleRNG, like: Tensor) -> Tensor:
    """Return random signs of the shape of a tensor."""
    return torch.where(rng.uniform(like) < 0.5, -1.0, 1.0).to(like.dtype)
