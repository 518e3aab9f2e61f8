"""The sigma-zero attack."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.method import Method
from quintain.attacks.search import Search
from quintain.attacks.smallest.pixels import per_pixel
from quintain.attacks.smallest.radii import divisor
from quintain.attacks.smallest.reach import reach, refine
from quintain.attacks.step import falling
from quintain.core.errors import SettingError
from quintain.core.limits import at_least
from quintain.threats.columns import column, over_pixels
from quintain.threats.rounding import box_inside


@dataclass(frozen=True, slots=True)
class SigmaZero(Method):
    r"""Descent on a smooth count of the changed pixels and on what the margin lacks; small changes are cut to zero.

    .. math:: \min_\delta \max(-m(f(x + \delta), y), 0) + \frac1P \sum_{i=1}^P \frac{\|\delta_i\|_2^2}{\|\delta_i\|_2^2 + \sigma}

    with :math:`\delta_i` a pixel, all its channels. The gradient is divided by its largest absolute value and the steps fall as a
    cosine. After each, a pixel none of whose channels moved by the threshold :math:`\tau` is as in x, exactly; :math:`\tau` of each
    example rises by a share ``pace`` of the step where it is broken, and falls by as much where it is not. The search begins at a
    break reached by signed steps across the box, and at the end the pixels that are not needed are given back.

    Args:
        steps: Gradients per example.
        rate: Length of the first step, in widths of the box.
        sigma: How sharp the count is: a change of its root counts as half a pixel, in squared widths of the box.
        threshold: The first threshold, in widths of the box.
        pace: How fast the threshold moves.

    Raises:
        SettingError: If a setting is not positive, or the threshold not below 1.

    Guarantee:
        What it calls broken is of the size given and was answered wrongly twice; there may be smaller changes.

    Source: Cina et al., 2025, arXiv:2402.01879.
    """

    name: ClassVar[str] = "sigma-zero"
    serves: ClassVar[tuple[str, ...]] = ("l0",)
    smallest: ClassVar[bool] = True

    steps: int = 100
    rate: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    pace: float = 0.01

    def __post_init__(self) -> None:
        at_least(1, steps=self.steps)
        for name, value in (("rate", self.rate), ("sigma", self.sigma), ("pace", self.pace)):
            if not 0 < value < math.inf:
                raise SettingError(f"{name} = {value}; expected a positive number")
        if not 0 < self.threshold < 1:
            raise SettingError(f"threshold = {self.threshold}; expected a share of the box's width between 0 and 1, such as 0.3")

    def pursue(self, search: Search) -> None:
        """Descend, then give back."""
        low, high = box_inside(search.threat.low, search.threat.high, search.x.dtype)
        width = high - low
        reach(search, search.rows)
        rows = search.rows
        clean, change = search.x[rows], search.best[rows] - search.x[rows]
        threshold = change.new_full((len(rows),), self.threshold)
        for step in range(self.steps):
            if not len(rows):
                break
            answer = search.slope((clean + change).clamp(low, high), rows, search.goal.margin)
            still = search.standing(rows)
            rows, clean, change, threshold = rows[still], clean[still], change[still], threshold[still]
            reached, gradient = search.goal.reached(answer.logits[still], rows), answer.gradient[still].nan_to_num(0.0, 0.0, 0.0)
            share = change / width
            pull = _count_slope(share, self.sigma) - column(~reached, share) * gradient * width
            most = pull.flatten(1).abs().amax(1)
            rate = falling(self.rate, 0, step, self.steps)
            moved = share - rate * pull / column(divisor(most), pull)
            moved = ((clean + width * moved).clamp(low, high) - clean) / width
            threshold = (threshold + self.pace * rate * torch.where(reached, 1, -1)).clamp(0, 1)
            largest = moved.abs().amax(1).flatten(1) if moved.dim() == 4 else moved.abs().flatten(1)
            change = torch.where(over_pixels(largest >= threshold[:, None], moved), width * moved, 0)
        still = search.standing(rows)
        if still.any():
            search.scores((clean + change).clamp(low, high)[still], rows[still])
        refine(search, search.rows)


def _count_slope(share: Tensor, sigma: float) -> Tensor:
    """The gradient of the smooth share of changed pixels."""
    squares = per_pixel(share.square())
    return 2 * sigma * share / over_pixels((squares + sigma).square(), share) / squares.shape[1]
