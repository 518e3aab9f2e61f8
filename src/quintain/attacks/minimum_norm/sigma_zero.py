"""The sigma-zero attack."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.minimum_norm.per_example_projection import safe_divisor
from quintain.attacks.minimum_norm.refinement import find_initial_adversarial, refine, sum_channels
from quintain.attacks.search import Search
from quintain.attacks.step_sizes import cosine_decay
from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.threats.broadcast import expand_pixels, expand_rows
from quintain.threats.rounding import representable_box


@dataclass(frozen=True, slots=True)
class SigmaZero(Attack):
    r"""Gradient descent on a smooth L0 surrogate plus the missing margin; small changes are set to zero.

    .. math::
        \min_\delta \max(-m(f(x + \delta), y), 0)
        + \frac1P \sum_{i=1}^P \frac{\|\delta_i\|_2^2}{\|\delta_i\|_2^2 + \sigma}

    with :math:`\delta_i` the change of all channels of pixel i, P the number of pixels and :math:`m` the
    margin. The gradient is divided by its largest absolute value, and the step size falls as a cosine. After
    each step, pixels none of whose channels changed by at least the threshold :math:`\tau` are set back to x
    exactly. Each example has its own :math:`\tau`: it rises by ``threshold_factor`` times the step size where
    the example is adversarial, and falls by as much where it is not. The search starts from an adversarial
    point found by signed gradient steps across the box; at the end, changed pixels that the success does not
    need are restored.

    Args:
        steps: Gradients per example.
        step_size: Length of the first step, in widths of the box.
        sigma: Smoothness of the L0 surrogate, in squared widths of the box: a pixel whose change has the norm
            sqrt(sigma) counts as half a pixel.
        threshold: The threshold at the start, in widths of the box.
        threshold_factor: Change of the threshold at each step, as a fraction of the step size.

    Raises:
        SettingError: If a setting is not positive, or the threshold not below 1.

    Guarantee:
        Each success has the stated size and was confirmed by a second forward pass on the stored point. A
        smaller perturbation may exist.

    Source: Cina et al., 2025, arXiv:2402.01879.
    """

    name: ClassVar[str] = "sigma-zero"
    summary: ClassVar[str] = (
        "descent on a smooth count of changed pixels, small changes cut to zero: the strongest L0"
    )
    use_for: ClassVar[str] = "few pixels: the first choice in L0"
    cost: ClassVar[str] = "{steps} gradients"
    supports: ClassVar[tuple[str, ...]] = ("l0",)
    minimum_norm: ClassVar[bool] = True
    optimality_gap: ClassVar = {"any": 0}
    test_settings: ClassVar = {"steps": 20}

    steps: int = 100
    step_size: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    threshold_factor: float = 0.01

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps)
        for name, value in (
            ("step_size", self.step_size),
            ("sigma", self.sigma),
            ("threshold_factor", self.threshold_factor),
        ):
            if not 0 < value < math.inf:
                raise SettingError(f"{name} = {value}; expected a positive number")
        if not 0 < self.threshold < 1:
            raise SettingError(
                f"threshold = {self.threshold}; expected a fraction of the box's width between 0 and 1, such "
                "as 0.3"
            )

    def run(self, search: Search) -> None:
        """Descend, then restore unneeded pixels."""
        low, high = representable_box(search.threat.low, search.threat.high, search.x.dtype)
        box_width = high - low
        find_initial_adversarial(search, search.active_rows)
        rows = search.active_rows
        clean, change = search.x[rows], search.best[rows] - search.x[rows]
        threshold = change.new_full((len(rows),), self.threshold)
        for step in range(self.steps):
            if not len(rows):
                break
            out = search.value_and_grad((clean + change).clamp(low, high), rows, search.goal.margin)
            active = search.is_active(rows)
            rows, clean, change, threshold = rows[active], clean[active], change[active], threshold[active]
            adversarial, gradient = (
                search.goal.is_adversarial(out.logits[active], rows),
                out.gradient[active].nan_to_num(0.0, 0.0, 0.0),
            )
            delta = change / box_width
            # gradient of max(-m, 0) + L0 surrogate by delta, in widths of the box; the margin counts only
            # where it is missing
            objective_gradient = (
                _l0_surrogate_gradient(delta, self.sigma)
                - expand_rows(~adversarial, delta) * gradient * box_width
            )
            # one step along the gradient, divided by its largest entry, then back into the box
            max_gradient = objective_gradient.flatten(1).abs().amax(1)
            step_size = cosine_decay(self.step_size, 0, step, self.steps)
            moved = delta - step_size * objective_gradient / expand_rows(
                safe_divisor(max_gradient), objective_gradient
            )
            moved = ((clean + box_width * moved).clamp(low, high) - clean) / box_width
            # tau += threshold_factor * step size where adversarial, -= where not; pixels below tau go back to
            # x
            threshold = (
                threshold + self.threshold_factor * step_size * torch.where(adversarial, 1, -1)
            ).clamp(0, 1)
            largest_channel = moved.abs().amax(1).flatten(1) if moved.dim() == 4 else moved.abs().flatten(1)
            change = torch.where(
                expand_pixels(largest_channel >= threshold[:, None], moved), box_width * moved, 0
            )
        # the last step moved the points: query them once more
        active = search.is_active(rows)
        if active.any():
            search.query((clean + change).clamp(low, high)[active], rows[active])
        refine(search, search.active_rows)


def _l0_surrogate_gradient(delta: Tensor, sigma: float) -> Tensor:
    """Return the gradient by ``delta`` (n, *S) of the smooth fraction of changed pixels."""
    # d/d delta of (1/P) sum_i s_i / (s_i + sigma) with s_i = |delta_i|^2 is 2 sigma delta / (s + sigma)^2 / P
    squares = sum_channels(delta.square())
    return 2 * sigma * delta / expand_pixels((squares + sigma).square(), delta) / squares.shape[1]
