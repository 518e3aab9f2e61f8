"""The elastic-net attack (EAD)."""

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
from quintain.core.limits import require_at_least
from quintain.threats.broadcast import expand_rows
from quintain.threats.rounding import representable_box


@dataclass(frozen=True, slots=True)
class EAD(Attack):
    r"""FISTA on the L1 and squared L2 norm of the perturbation plus the missing margin.

    .. math::
        \min_\delta \; \beta \|\delta\|_1 + \|\delta\|_2^2 + c \max(-m(f(x + \delta), y), 0), \qquad
        low \le x + \delta \le high

    with m the margin, positive where x + delta is adversarial. Each step follows the gradient of the last two
    terms, then applies the soft threshold of the first, which sets most coordinates to exactly 0. Of all
    successes the one of least :math:`\|\delta\|_1` is kept. c is found per example by binary search. The
    first adversarial point comes from signed gradient steps, and each binary-search step starts at the best
    point so far.

    Args:
        binary_search_steps: Values of ``c`` per example.
        steps: Gradients for each value of ``c``.
        learning_rate: About the soft threshold of the first step, as a fraction of the largest change at the
            start of the binary-search step (exactly, ``beta / (beta + 1)`` of that); in later steps it is
            multiplied by sqrt(1 - step / steps).
        beta: Weight of the L1 term, in widths of the box. Small values give dense perturbations: on a linear
            model the L1 norm is 1.25 times the minimum at 0.01, 1.05 times at 1 and within 1 % at 30.

    Raises:
        SettingError: If a count is no whole number or too small, or another setting is not positive.

    Guarantee:
        Each success has the stated size and was confirmed by a second forward pass on the stored point. A
        smaller perturbation may exist.

    Source: Chen et al., 2018, arXiv:1709.04114.
    """

    name: ClassVar[str] = "ead"
    summary: ClassVar[str] = (
        "FISTA on the L1 and squared L2 norm of the change, which sets most values of the change to 0"
    )
    use_for: ClassVar[str] = "few pixels, without a limit on their number"
    cost: ClassVar[str] = "{steps} gradients, {binary_search_steps} times"
    supports: ClassVar[tuple[str, ...]] = ("l1",)
    minimum_norm: ClassVar[bool] = True
    test_settings: ClassVar = {"binary_search_steps": 3, "steps": 15}

    binary_search_steps: int = 9
    steps: int = 50
    learning_rate: float = 0.1
    beta: float = 30.0

    def __post_init__(self) -> None:
        require_at_least(1, binary_search_steps=self.binary_search_steps)
        require_at_least(2, steps=self.steps)
        if not (0 < self.learning_rate < math.inf and 0 < self.beta < math.inf):
            raise SettingError(
                f"learning_rate = {self.learning_rate}, beta = {self.beta}; expected positive numbers, such "
                "as 0.1 and 30"
            )

    def run(self, search: Search) -> None:
        """Find a first adversarial point, run the binary search, then refine the best points."""
        find_initial_adversarial(search, search.active_rows)
        rows, initial_constant = search.active_rows, torch.ones_like(search.best_margin)
        if len(rows):
            max_gradient = (
                search.value_and_grad(search.best[rows], rows, search.goal.margin)
                .gradient.nan_to_num(0.0, 0.0, 0.0)
                .flatten(1)
                .abs()
                .amax(1)
            )
            # c times the largest margin gradient is then 2 (beta + 1) widths of the box: more than the soft
            # threshold's weight beta and the gradient 2 |delta| of the L2 term together
            initial_constant[rows] = (
                2 * (self.beta + 1) * (search.threat.high - search.threat.low) / safe_divisor(max_gradient)
            )
        binary_search_constant(
            search, self.binary_search_steps, initial_constant, partial(self._minimize, search)
        )
        refine(search, search.active_rows)

    def _minimize(self, search: Search, rows: Tensor, constant: Tensor) -> Tensor:
        """Minimize for ``rows`` (n,); return which examples (B,) succeeded in the second half of steps."""
        low, high = representable_box(search.threat.low, search.threat.high, search.x.dtype)
        beta, clean = self.beta * (high - low), search.x[rows]
        change = extrapolated = search.best[rows] - clean
        max_change = change.flatten(1).abs().amax(1)
        scale = expand_rows(safe_divisor(max_change / (high - low)), clean)
        succeeded = torch.zeros_like(search.success)
        for step in range(self.steps):
            out = search.value_and_grad(clean + extrapolated, rows, search.goal.margin)
            adversarial, gradient = (
                search.goal.is_adversarial(out.logits, rows),
                out.gradient.nan_to_num(0.0, 0.0, 0.0),
            )
            succeeded[rows] |= adversarial & (step >= self.steps // 2)
            step_size = self.learning_rate / (self.beta + 1) * math.sqrt(1 - step / self.steps) * scale
            weight = expand_rows((constant[rows] * ~adversarial).to(clean.dtype), clean)
            # ISTA: gradient step on |delta|^2 + c max(-m, 0), then soft threshold by step_size * beta
            gradient_step = extrapolated - step_size * (2 * extrapolated - weight * gradient)
            thresholded = gradient_step.sign() * (gradient_step.abs() - step_size * beta).clamp(min=0)
            iterate = (clean + thresholded).clamp(low, high) - clean
            # extrapolate with FISTA's momentum k / (k + 3)
            extrapolated = (clean + iterate + step / (step + 3) * (iterate - change)).clamp(low, high) - clean
            change, active = iterate, search.is_active(rows)
            if not active.all():
                rows, clean, scale, change, extrapolated = (
                    rows[active],
                    clean[active],
                    scale[active],
                    change[active],
                    extrapolated[active],
                )
                if not len(rows):
                    return succeeded
        # the last step moved the points: query them once more
        search.query((clean + change).clamp(low, high), rows)
        return succeeded
