"""Decoupling direction and norm (DDN): gradient ascent on a sphere whose radius follows success."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import gradient_ascent
from quintain.attacks.base import Attack
from quintain.attacks.minimum_norm.refinement import bisect_to_boundary, find_initial_adversarial
from quintain.attacks.search import Evaluation, Search
from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.threats.broadcast import expand_rows
from quintain.threats.piecewise_linear import solve_capped_sum
from quintain.threats.rng import ExampleRNG
from quintain.threats.rounding import representable_box
from quintain.threats.threat import ProjectionCache


class _State(NamedTuple):
    """Next points (n, *S), the radii of the last ones (n, 1), and the rows (n,) that they belong to."""

    z: Tensor
    radius: Tensor
    rows: Tensor


@dataclass(frozen=True, slots=True)
class DDN(Attack):
    r"""Gradient ascent on spheres that shrink after a success and grow otherwise.

    .. math::
        z' = clip(x + s \delta), \quad \delta = z - x + \alpha_t \frac{g}{\|g\|_2}, \quad
        \|z' - x\|_2 = \rho' = \rho (1 \mp \gamma)

    with g the gradient of the log odds against the true class (or for the target), and :math:`\alpha_t`
    falling from 1 to 0.01 along half a cosine. The factor s puts the clipped point onto the sphere, outwards
    too, where the box has room for it; no iterate is rounded to levels. The unit of the steps is the width of
    the box. The start is a success that signed gradient steps reach, not the clean point: on nets whose
    gradients fade there, the published start ends at changes that are 1.4 times as large. The smallest
    success is refined by binary search.

    Args:
        steps: Gradients per example.
        gamma: Relative change of the radius at each step.

    Raises:
        SettingError: If there is no step, or ``gamma`` is not between 0 and 1.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A smaller perturbation may exist.

    Source: Rony et al., 2019, arXiv:1811.09600.
    """

    name: ClassVar[str] = "ddn"
    summary: ClassVar[str] = "gradient ascent on a sphere that shrinks after a break and grows after none"
    default_rank: ClassVar[int] = 5
    use_for: ClassVar[str] = "small L2 changes at a small budget"
    cost: ClassVar[str] = "{steps} gradients and up to 20 for the start"
    supports: ClassVar[tuple[str, ...]] = ("l2",)
    minimum_norm: ClassVar[bool] = True
    test_settings: ClassVar = {"steps": 20}

    steps: int = 100
    gamma: float = 0.05

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps)
        if not 0 < self.gamma < 1:
            raise SettingError(f"gamma = {self.gamma}; expected a fraction between 0 and 1, such as 0.05")

    def run(self, search: Search) -> None:
        """Run from a first success, or from the clean point where there is none, then refine."""
        threat, box_width = search.threat, search.threat.high - search.threat.low
        find_initial_adversarial(search, search.active_rows)
        first = search.active_rows

        def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> _State:  # noqa: ARG001
            radius = search.best_size[first].to(clean.dtype).nan_to_num(posinf=box_width)
            return _State(search.best[first], radius[:, None], first)

        def update(
            step: int,
            state: _State,
            out: Evaluation,
            clean: Tensor,
            cache: ProjectionCache,  # noqa: ARG001
        ) -> _State:
            step_size = box_width * (0.01 + 0.99 * (1 + math.cos(math.pi * step / self.steps)) / 2)
            shrinks = search.goal.is_adversarial(out.logits, state.rows).unsqueeze(1)
            # radius x (1 - gamma) where adversarial, x (1 + gamma) where not; move along the unit gradient,
            # then rescale
            radius = state.radius * torch.where(shrinks, 1 - self.gamma, 1 + self.gamma)
            change = state.z - clean + threat.steepest_step(out.gradient.nan_to_num(0.0, 0.0, 0.0), step_size)
            return _State(scale_to_radius(clean, change, radius, threat.low, threat.high), radius, state.rows)

        gradient_ascent(
            search,
            rng=search.rng,
            init=init,
            update=update,
            steps=self.steps,
            loss=search.goal.log_odds,
            rows=first,
        )
        bisect_to_boundary(search, search.active_rows)


def scale_to_radius(x: Tensor, change: Tensor, radius: Tensor, low: float, high: float) -> Tensor:
    r"""Scale a change so that, clipped to the box, it has a given Euclidean length.

    .. math:: clip(x + s \delta), \quad \|clip(x + s \delta) - x\|_2 = \rho

    Args:
        x: Clean inputs (B, *S) in the box.
        change: Changes (B, *S); where one is 0, so is the result.
        radius: Lengths (B, 1); where the box has no room for one, every changed coordinate goes to its face.
        low, high: The data box.

    Returns:
        The points (B, *S), in the dtype of ``x``.
    """
    flat = change.flatten(1)
    cap = torch.where(change > 0, high - x, x - low).flatten(1)
    # find s with sum_i min(s^2 d_i^2, cap_i^2) = rho^2: piecewise linear in s^2
    squares, caps = flat.square(), cap.square()
    factor = solve_capped_sum(squares, caps, caps / squares, radius.square()).sqrt()
    return torch.addcmul(x, expand_rows(factor, x), change).clamp_(*representable_box(low, high, x.dtype))
