"""The fast adaptive boundary attack."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from quintain.attacks.goal import Loss
from quintain.attacks.loop import kept
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.attacks.smallest.bisection import shrink
from quintain.attacks.smallest.hyperplane import ORDER, Norm, nearest
from quintain.core.limits import at_least
from quintain.core.tokens import kind_of
from quintain.threats.draw import Draw
from quintain.threats.rounding import box_inside

BIAS = 0.1
"""The most that an iterate is pulled towards the clean point's own projection."""

OVERSHOOT = 1.05
"""How far beyond the linearised boundary a step goes."""

RETREAT = 0.9
"""Where, on the segment from the clean point, the search goes on after a break."""

FIRST = 6
"""How often the first break of each walk is bisected: it may lie far behind the boundary, and a retreat alone is slow."""


@dataclass(frozen=True, slots=True)
class FAB(Method):
    r"""Walk along a boundary, always biased towards the clean point, and step back towards it after every break.

    .. math::
        z' = clip\big((1 - a)(z + \eta\, d(z)) + a (x + \eta\, d(x))\big), \quad
        a = \min\Big(\frac{\|d(z)\|}{\|d(z)\| + \|d(x)\|}, 0.1\Big)

    with :math:`d(u)` the smallest change, inside the box, of u onto the hyperplane on which the linearised lead of a rival class over
    the true one is zero, and :math:`\eta = 1.05`. After a break z is first moved to :math:`x + 0.9 (z - x)`, and its lead is read off
    the same linearisation: a step costs one answer and one gradient. The first break of each walk is bisected first. The rivals are
    guides: any wrong class is a break. Where targets are given, the lead of the target over the best other class is the only guide.

    Args:
        steps: Gradients per example, guide and restart.
        targets: How many rivals to follow, those with the largest clean logits first; at most the number of wrong classes.
        restarts: How often; the first starts from the clean point, the others from random points.
        within: Stop an example at its first break of at most the threat's ``eps``.

    Raises:
        SettingError: If a count is not positive.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; no smaller change is ruled out.

    Source: Croce, Hein, 2020, arXiv:1907.02044.
    """

    name: ClassVar[str] = "fab"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    smallest: ClassVar[bool] = True

    steps: int = 100
    targets: int = 9
    restarts: int = 1
    within: bool = False

    def __post_init__(self) -> None:
        at_least(1, steps=self.steps, targets=self.targets, restarts=self.restarts)

    def pursue(self, search: Search) -> None:
        """Follow every guide, then bisect."""
        for restart in range(self.restarts):
            for place, guide in enumerate(_guides(search, self.targets)):
                rows = self._open(search)
                start = search.x[rows] if restart == 0 else _around(search, rows, search.draw.at(restart, place).of(rows))
                self._follow(search, guide, rows, start)
        shrink(search, self._open(search))

    def _open(self, search: Search) -> Tensor:
        """The examples that are still worth a question (n,)."""
        rows = search.rows
        return rows[self._goes_on(search, rows)]

    def _goes_on(self, search: Search, rows: Tensor) -> Tensor:
        """Which of ``rows`` they are (n,) bool."""
        return search.standing(rows) & ~(search.broken[rows] & self.within)

    def _follow(self, search: Search, guide: Loss, rows: Tensor, z: Tensor) -> None:
        clean, crossed = search.x[rows], torch.zeros_like(rows, dtype=torch.bool)
        for _ in range(self.steps):
            rows, clean, z, crossed = kept((rows, clean, z, crossed), self._goes_on(search, rows))
            if not len(rows):
                return
            answer = search.slope(z, rows, guide)
            broken = search.goal.reached(answer.logits, rows)
            z, first = _step(search, z, clean, answer, broken), broken & ~crossed
            if first.any():
                shrink(search, rows[first], FIRST)
                z[first] = torch.lerp(clean[first], search.best[rows[first]], RETREAT)
            crossed = crossed | broken
        rows, z = kept((rows, z), self._goes_on(search, rows))
        if len(rows):
            search.scores(z, rows)


def _guides(search: Search, count: int) -> list[Loss]:
    """What the steps linearise: the lead of each rival, or of the target."""
    if search.goal.targets is not None:
        return [search.goal.margin]
    rivals = search.rivals(torch.arange(len(search.x), device=search.x.device), count)
    return [search.goal.towards(rival) for rival in rivals.unbind(1)]


def _around(search: Search, rows: Tensor, draw: Draw) -> Tensor:
    """Random points, within half of the smallest change known and half of the threat."""
    clean, threat = search.x[rows], search.threat
    share = (search.size[rows] / max(threat.eps, torch.finfo(torch.float64).tiny)).clamp(max=1) / 2
    return torch.lerp(clean, threat.sample(clean, draw), share.to(clean.dtype).view(-1, *[1] * (clean.dim() - 1)))


def _step(search: Search, z: Tensor, clean: Tensor, answer: Answer, broken: Tensor) -> Tensor:
    """The next points, from what the model says at ``z`` (n, *S)."""
    threat = search.threat
    norm = cast(Norm, kind_of(threat.token))
    here, origin, slope = z.flatten(1), clean.flatten(1), answer.gradient.flatten(1).nan_to_num(0.0, 0.0, 0.0)
    base = torch.where(broken.unsqueeze(1), torch.lerp(origin, here, RETREAT), here)
    ends = torch.cat((base, origin))
    leads = answer.values.repeat(2) + ((ends - here.repeat(2, 1)) * slope.repeat(2, 1)).sum(1)
    changes = nearest(norm, ends, slope.repeat(2, 1), -leads, threat.low, threat.high)
    length, longest = torch.linalg.vector_norm(changes, ORDER[norm], dim=1, keepdim=True).chunk(2)
    bias = torch.where(length > 0, length / (length + longest), 1).clamp_(max=BIAS)
    own, home = (ends + OVERSHOOT * changes).chunk(2)
    return torch.lerp(own, home, bias).to(z.dtype).clamp_(*box_inside(threat.low, threat.high, z.dtype)).view_as(z)
