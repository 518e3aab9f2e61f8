"""The fast minimum-norm attack."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from quintain.attacks.method import Method
from quintain.attacks.search import Search
from quintain.attacks.smallest.radii import euclidean, length, project, steepness
from quintain.attacks.smallest.reach import reach, refine
from quintain.attacks.step import falling
from quintain.core.errors import SettingError
from quintain.core.limits import at_least
from quintain.core.tokens import kind_of
from quintain.threats.columns import column


@dataclass(frozen=True, slots=True)
class FMN(Method):
    r"""Gradient steps on the margin, held by a radius that follows the smallest break of each example.

    .. math:: z_{t+1} = \Pi_{r_t}\Big(z_t + \alpha_t \frac{g_t}{\|g_t\|_2}\Big), \quad g_t = \nabla m(f(z_t), y)

    with :math:`\Pi_r` the projection onto ball and box at once. The radius is, with :math:`q` the dual norm and :math:`\gamma_t` falling,

    .. math:: r_t = \min\big((1 - \gamma_t) r_{t-1},\; best\big), \qquad (1 + \gamma_t) r_{t-1}, \qquad \|z_t - x\| + |m| / \|g_t\|_q

    where :math:`z_t` breaks, where it does not but an earlier point did, and before the first break (by a share :math:`\gamma_t` more,
    since the box makes it fall short); in L0 it moves by at least one pixel. The step is of Euclidean length in every norm. The search
    begins at a break reached by signed steps across the box, so that a flat or noisy slope at the clean point does not end it there.

    Args:
        steps: Gradients per example, beside those of the last refinement.
        rate: Length of the first step, in widths of the box; the last is a hundredth of it (a cosine). The authors take 1.
        gamma: By what share the radius moves at first; at the end by a fiftieth of it.

    Raises:
        SettingError: If a setting is not positive, or ``gamma`` not below 1.

    Guarantee:
        What it calls broken is of the size given and was answered wrongly twice; there may be smaller changes.

    Source: Pintor et al., 2021, arXiv:2102.12827.
    """

    name: ClassVar[str] = "fmn"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    smallest: ClassVar[bool] = True

    steps: int = 100
    rate: float = 2.0
    gamma: float = 0.05

    def __post_init__(self) -> None:
        at_least(1, steps=self.steps)
        if not 0 < self.rate < math.inf:
            raise SettingError(f"rate = {self.rate}; expected a positive share of the box's width, such as 2")
        if not 0 < self.gamma < 1:
            raise SettingError(f"gamma = {self.gamma}; expected a share between 0 and 1, such as 0.05")

    def pursue(self, search: Search) -> None:
        """Follow the boundary, then refine."""
        threat = search.threat
        pixels = kind_of(threat.token) == "l0"
        reach(search, search.rows)
        rows = search.rows
        clean, z, radius = search.x[rows], search.best[rows], search.size[rows].to(search.x.dtype)
        if pixels:
            radius = radius.nan_to_num(posinf=1.0)
        for step in range(self.steps):
            if not len(rows):
                break
            answer = search.slope(z, rows, search.goal.margin)
            still = search.standing(rows)
            rows, clean, z, radius = rows[still], clean[still], z[still], radius[still]
            gradient, values = answer.gradient[still].nan_to_num(0.0, 0.0, 0.0), answer.values[still]
            reached, best = search.goal.reached(answer.logits[still], rows), search.size[rows].to(z.dtype)
            gamma, rate = falling(self.gamma, 0.02, step, self.steps), falling(self.rate, 0.01, step, self.steps)
            inner, outer = (1 - gamma) * radius, (1 + gamma) * radius
            if pixels:
                inner, outer = torch.minimum(radius - 1, inner.floor()), torch.maximum(radius + 1, outer.floor())
            else:
                jump = length(threat, z - clean) + values.abs() / steepness(threat, gradient)
                outer = torch.where(best.isinf(), (1 + gamma) * jump.nan_to_num(torch.inf), outer)
            radius = torch.where(reached, torch.minimum(inner, best), outer)
            unit = gradient / column(euclidean(gradient), gradient)
            z = project(threat, z + rate * (threat.high - threat.low) * unit, clean, radius)
        still = search.standing(rows)
        if still.any():
            search.scores(z[still], rows[still])
        refine(search, search.rows)
