"""Simultaneous perturbation: the sign of chance, twice, and Adam."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.method import Method
from quintain.attacks.scores.probing import falling, follow, require_probes
from quintain.attacks.search import Search
from quintain.models.protocol import Access
from quintain.threats.ball import Room
from quintain.threats.columns import column
from quintain.threats.draw import Draw
from quintain.threats.l2 import L2

MEMORY = (0.9, 0.999)
"""Of Adam's running means of the gradient and of its square."""

State = tuple[Tensor, Tensor, Tensor, Tensor]
"""Points, mean gradients, mean squares, and how many steps each example has made (n,)."""


@dataclass(frozen=True, slots=True)
class SPSA(Method):
    r"""Projected ascent with Adam along gradients that pairs of probes with random signs estimate.

    .. math:: \hat g_t = \frac{1}{2 \sigma m} \sum_{i=1}^{m} u_i \big(\ell(f(z_t + \sigma u_i)) - \ell(f(z_t - \sigma u_i))\big),
        \quad u_i \in \{-1, 1\}^d, \qquad z_{t+1} = \Pi_x\big(z_t + \alpha_t\, Adam(\hat g_t)\big)

    with :math:`\alpha_t` falling from ``rate * eps`` a coordinate to nearly 0 (over :math:`\sqrt d` where lengths are Euclidean).

    Args:
        questions: How often the model is asked about an example, at most; a broken example stops paying.
        pairs: Pairs of probes a step.
        width: How far a probe moves each coordinate, in the units of the data.
        rate: Adam's first step, as a share of the threat's ``eps``.

    Raises:
        SettingError: If a number is out of range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Uesato et al., 2018, arXiv:1802.05666; Spall, 1992.
    """

    name: ClassVar[str] = "spsa"
    access: ClassVar[Access] = "scores"

    questions: int = 5000
    pairs: int = 25
    width: float = 0.01
    rate: float = 0.3

    def __post_init__(self) -> None:
        require_probes(self.questions, self.pairs, self.width, self.rate)

    def pursue(self, search: Search) -> None:
        """Estimate and step, from the clean point."""
        threat = search.threat
        share = math.sqrt(search.x[:1].numel() or 1) if isinstance(threat, L2) else 1.0

        def rule(progress: float, state: State, slope: Tensor, clean: Tensor, room: Room) -> State:
            z, mean, square, turn = state
            slope, turn = slope.nan_to_num(0.0, 0.0, 0.0), turn + 1
            mean, square = mean.lerp(slope, 1 - MEMORY[0]), square.lerp(slope.square(), 1 - MEMORY[1])
            early = [column(1 - memory**turn, z) for memory in MEMORY]
            step = (mean / early[0]) / ((square / early[1]).sqrt() + torch.finfo(z.dtype).tiny)
            length = self.rate * threat.eps * falling(progress) / share
            return threat.project(z + length * step, clean, room), mean, square, turn

        follow(
            search,
            state=start,
            rule=rule,
            noise=signs,
            questions=self.questions,
            pairs=self.pairs,
            width=self.width,
            loss=search.goal.margin,
        )


def start(clean: Tensor) -> State:
    """The clean points, and nothing remembered."""
    return clean, torch.zeros_like(clean), torch.zeros_like(clean), clean.new_zeros(len(clean))


def signs(draw: Draw, like: Tensor) -> Tensor:
    """Random signs of the shape of a tensor."""
    return torch.where(draw.uniform(like) < 0.5, -1.0, 1.0).to(like.dtype)
