"""The elastic-net attack."""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.minimum_norm.constant_search import binary_search_constant
from quintain.attacks.minimum_norm.per_example_projection import safe_divisor
from quintain.attacks.minimum_norm.refinement import find_initial_adversarial, refine
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.threats.broadcast import expand_rows
from quintain.threats.rounding import representable_box


@dataclass(frozen=True, slots=True)
class EAD(Attack):
    r"""Shrinking gradient steps with momentum on a mixture of summed and squared change, and on what the margin lacks.

    .. math:: \min_\delta \; \beta \|\delta\|_1 + \|\delta\|_2^2 + c \max(-m(f(x + \delta), y), 0), \qquad low \le x + \delta \le high

    Each step takes the gradient of the last two terms, then shrinks every coordinate by ``beta`` times the
    step towards 0, never across it: that sets most of them to exactly 0. Of all breaks the one of least
    :math:`\|\delta\|_1` is kept. ``c`` is bisected for each example; the first break comes from signed steps
    across the box, and every search starts from the best point so far.

    Args:
        binary_search_steps: Values of ``c`` per example.
        steps: Gradients of each.
        learning_rate: How far the first step's shrinking moves a coordinate, as a share of the largest change
            so far; later ones fall as a root.
        beta: Weight of the summed change, in widths of the box. A small one spreads the change: at 0.01 it is
            1.25 times the smallest on a linear model, at 1 it is 1.05 times, at 30 within a hundredth.

    Raises:
        SettingError: If a setting is not positive, or there are fewer than 2 steps.

    Guarantee:
        What it calls broken is of the size given and was answered wrongly twice; there may be smaller
        changes.

    Source: Chen et al., 2018, arXiv:1709.04114.
    """

    name: ClassVar[str] = "ead"
    supports: ClassVar[tuple[str, ...]] = ("l1",)
    minimum_norm: ClassVar[bool] = True

    binary_search_steps: int = 9
    steps: int = 50
    learning_rate: float = 0.1
    beta: float = 30.0

    def __post_init__(self) -> None:
        if self.binary_search_steps < 1 or self.steps < 2:
            raise SettingError(f"binary_search_steps = {self.binary_search_steps}, steps = {self.steps}; expected at least 1 and 2")
        if not (0 < self.learning_rate < math.inf and 0 < self.beta < math.inf):
            raise SettingError(f"learning_rate = {self.learning_rate}, beta = {self.beta}; expected positive numbers, such as 0.1 and 30")

    def run(self, search: Search) -> None:
        """Bisect, then refine."""
        find_initial_adversarial(search, search.active_rows)
        rows, first = search.active_rows, torch.ones_like(search.best_margin)
        if len(rows):
            steepest = (
                search.value_and_grad(search.best[rows], rows, search.goal.margin)
                .gradient.nan_to_num(0.0, 0.0, 0.0)
                .flatten(1)
                .abs()
                .amax(1)
            )
            first[rows] = 2 * (self.beta + 1) * (search.threat.high - search.threat.low) / safe_divisor(steepest)
        binary_search_constant(search, self.binary_search_steps, first, partial(self._minimize, search))
        refine(search, search.active_rows)

    def _minimize(self, search: Search, rows: Tensor, constant: Tensor) -> Tensor:
        """One search with ``constant`` (B,); whether its later half held a break (B,)."""
        low, high = representable_box(search.threat.low, search.threat.high, search.x.dtype)
        beta, clean = self.beta * (high - low), search.x[rows]
        change = extrapolated = search.best[rows] - clean
        max_change = change.flatten(1).abs().amax(1)
        scale = expand_rows(safe_divisor(max_change / (high - low)), clean)
        succeeded = torch.zeros_like(search.success)
        for step in range(self.steps):
            out = search.value_and_grad(clean + extrapolated, rows, search.goal.margin)
            adversarial, gradient = search.goal.is_adversarial(out.logits, rows), out.gradient.nan_to_num(0.0, 0.0, 0.0)
            succeeded[rows] |= adversarial & (step >= self.steps // 2)
            step_size = self.learning_rate / (self.beta + 1) * math.sqrt(1 - step / self.steps) * scale
            weight = expand_rows((constant[rows] * ~adversarial).to(clean.dtype), clean)
            gradient_step = extrapolated - step_size * (2 * extrapolated - weight * gradient)
            thresholded = gradient_step.sign() * (gradient_step.abs() - step_size * beta).clamp(min=0)
            iterate = (clean + thresholded).clamp(low, high) - clean
            extrapolated = (clean + iterate + step / (step + 3) * (iterate - change)).clamp(low, high) - clean
            change, active = iterate, search.is_active(rows)
            if not active.all():
                rows, clean, scale, change, extrapolated = rows[active], clean[active], scale[active], change[active], extrapolated[active]
                if not len(rows):
                    return succeeded
        search.query((clean + change).clamp(low, high), rows)
        return succeeded
