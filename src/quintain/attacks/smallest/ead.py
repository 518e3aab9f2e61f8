"""The elastic-net attack."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.method import Method
from quintain.attacks.search import Search
from quintain.attacks.smallest.constant import bisect_constant
from quintain.attacks.smallest.radii import divisor
from quintain.attacks.smallest.reach import reach, refine
from quintain.core.errors import SettingError
from quintain.threats.columns import column
from quintain.threats.rounding import box_inside


@dataclass(frozen=True, slots=True)
class EAD(Method):
    r"""Shrinking gradient steps with momentum on a mixture of summed and squared change, and on what the margin lacks.

    .. math:: \min_\delta \; \beta \|\delta\|_1 + \|\delta\|_2^2 + c \max(-m(f(x + \delta), y), 0), \qquad low \le x + \delta \le high

    Each step takes the gradient of the last two terms, then shrinks every coordinate by ``beta`` times the step towards 0, never
    across it: that sets most of them to exactly 0. Of all breaks the one of least :math:`\|\delta\|_1` is kept. ``c`` is bisected
    for each example; the first break comes from signed steps across the box, and every search starts from the best point so far.

    Args:
        searches: Values of ``c`` per example.
        steps: Gradients of each.
        rate: How far the first step's shrinking moves a coordinate, as a share of the largest change so far; later ones fall as a root.
        beta: Weight of the summed change, in widths of the box. A small one spreads the change: at 0.01 it is 1.25 times the
            smallest on a linear model, at 1 it is 1.05 times, at 30 within a hundredth.

    Raises:
        SettingError: If a setting is not positive, or there are fewer than 2 steps.

    Guarantee:
        What it calls broken is of the size given and was answered wrongly twice; there may be smaller changes.

    Source: Chen et al., 2018, arXiv:1709.04114.
    """

    name: ClassVar[str] = "ead"
    serves: ClassVar[tuple[str, ...]] = ("l1",)
    smallest: ClassVar[bool] = True

    searches: int = 9
    steps: int = 50
    rate: float = 0.1
    beta: float = 30.0

    def __post_init__(self) -> None:
        if self.searches < 1 or self.steps < 2:
            raise SettingError(f"searches = {self.searches}, steps = {self.steps}; expected at least 1 and 2")
        if not (0 < self.rate < math.inf and 0 < self.beta < math.inf):
            raise SettingError(f"rate = {self.rate}, beta = {self.beta}; expected positive numbers, such as 0.1 and 30")

    def pursue(self, search: Search) -> None:
        """Bisect, then refine."""
        reach(search, search.rows)
        rows, first = search.rows, torch.ones_like(search.height)
        if len(rows):
            steepest = search.slope(search.best[rows], rows, search.goal.margin).gradient.nan_to_num(0.0, 0.0, 0.0).flatten(1).abs().amax(1)
            first[rows] = 2 * (self.beta + 1) * (search.threat.high - search.threat.low) / divisor(steepest)
        bisect_constant(search, self.searches, first, partial(self._descend, search))
        refine(search, search.rows)

    def _descend(self, search: Search, rows: Tensor, constant: Tensor) -> Tensor:
        """One search with ``constant`` (B,); whether its later half held a break (B,)."""
        low, high = box_inside(search.threat.low, search.threat.high, search.x.dtype)
        beta, clean = self.beta * (high - low), search.x[rows]
        change = ahead = search.best[rows] - clean
        farthest = change.flatten(1).abs().amax(1)
        scale = column(divisor(farthest / (high - low)), clean)
        held = torch.zeros_like(search.broken)
        for step in range(self.steps):
            answer = search.slope(clean + ahead, rows, search.goal.margin)
            reached, gradient = search.goal.reached(answer.logits, rows), answer.gradient.nan_to_num(0.0, 0.0, 0.0)
            held[rows] |= reached & (step >= self.steps // 2)
            rate = self.rate / (self.beta + 1) * math.sqrt(1 - step / self.steps) * scale
            weight = column((constant[rows] * ~reached).to(clean.dtype), clean)
            moved = ahead - rate * (2 * ahead - weight * gradient)
            shrunk = moved.sign() * (moved.abs() - rate * beta).clamp(min=0)
            following = (clean + shrunk).clamp(low, high) - clean
            ahead = (clean + following + step / (step + 3) * (following - change)).clamp(low, high) - clean
            change, still = following, search.standing(rows)
            if not still.all():
                rows, clean, scale, change, ahead = rows[still], clean[still], scale[still], change[still], ahead[still]
                if not len(rows):
                    return held
        search.scores((clean + change).clamp(low, high), rows)
        return held
