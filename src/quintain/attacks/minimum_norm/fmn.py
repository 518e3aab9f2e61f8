"""The fast minimum-norm attack (FMN)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from quintain.attacks.base import Attack
from quintain.attacks.minimum_norm.per_example_projection import (
    change_norm,
    dual_norm,
    project_to_radius,
    safe_l2_norm,
)
from quintain.attacks.minimum_norm.refinement import find_initial_adversarial, refine
from quintain.attacks.search import Search
from quintain.attacks.step_sizes import cosine_decay
from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.core.threat_specs import threat_name
from quintain.threats.broadcast import expand_rows


@dataclass(frozen=True, slots=True)
class FMN(Attack):
    r"""Gradient steps on the margin, projected onto a radius that follows each example's smallest success.

    .. math::
        z_{t+1} = \Pi_{r_t}\Big(z_t + \alpha_t \frac{g_t}{\|g_t\|_2}\Big), \quad g_t = \nabla m(f(z_t), y)

    with :math:`\Pi_r` the projection onto ball and box at once. The radius is, with :math:`q` the dual norm
    and :math:`\gamma_t` falling,

    .. math::
        r_t = \min\big((1 - \gamma_t) r_{t-1},\; best\big), \qquad (1 + \gamma_t) r_{t-1}, \qquad
        \|z_t - x\| + |m| / \|g_t\|_q

    (a) where :math:`z_t` is adversarial, (b) where it is not but an earlier point was, and (c) before the
    first success, where the distance to the linearized boundary is multiplied by :math:`1 + \gamma_t`, which
    makes up for coordinates that the box stops. In L0 the radius changes by at least one pixel per step. The
    step has a Euclidean length in every norm. The search starts at an adversarial point found by signed
    gradient steps, so that a flat or noisy gradient at the clean point does not end it there.

    Args:
        steps: Gradients per example, beside those of the last refinement.
        step_size: Length of the first step, in widths of the box; the last is a hundredth of it (a cosine).
            The authors take 1.
        gamma: Relative change of the radius at the first step; it falls to a fiftieth of that.

    Raises:
        SettingError: If a setting is not positive, or ``gamma`` not below 1.

    Guarantee:
        Each success has the stated size and was confirmed by a second forward pass on the stored point. A
        smaller perturbation may exist.

    Source: Pintor et al., 2021, arXiv:2102.12827.
    """

    name: ClassVar[str] = "fmn"
    summary: ClassVar[str] = (
        "gradient steps inside a radius that follows the smallest break, from a break that signed steps reach"
    )
    default_rank: ClassVar[int] = 4
    use_for: ClassVar[str] = "one attack for all norms; the curve over sizes"
    cost: ClassVar[str] = "{steps} gradients and a refinement"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")
    minimum_norm: ClassVar[bool] = True
    optimality_gap: ClassVar = {"l0": 0}
    test_settings: ClassVar = {"steps": 20}

    steps: int = 100
    step_size: float = 2.0
    gamma: float = 0.05

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps)
        if not 0 < self.step_size < math.inf:
            raise SettingError(
                f"step_size = {self.step_size}; expected a positive fraction of the box's width, such as 2"
            )
        if not 0 < self.gamma < 1:
            raise SettingError(f"gamma = {self.gamma}; expected a fraction between 0 and 1, such as 0.05")

    def run(self, search: Search) -> None:
        """Run, then refine."""
        threat = search.threat
        is_l0 = threat_name(threat.spec) == "l0"
        find_initial_adversarial(search, search.active_rows)
        rows = search.active_rows
        clean, z, radius = search.x[rows], search.best[rows], search.best_size[rows].to(search.x.dtype)
        if is_l0:
            radius = radius.nan_to_num(posinf=1.0)
        for step in range(self.steps):
            if not len(rows):
                break
            out = search.value_and_grad(z, rows, search.goal.margin)
            active = search.is_active(rows)
            rows, clean, z, radius = rows[active], clean[active], z[active], radius[active]
            gradient, values = out.gradient[active].nan_to_num(0.0, 0.0, 0.0), out.loss_values[active]
            adversarial, best = (
                search.goal.is_adversarial(out.logits[active], rows),
                search.best_size[rows].to(z.dtype),
            )
            # gamma falls along a cosine to 1/50, the step size to 1/100
            gamma, step_size = (
                cosine_decay(self.gamma, 0.02, step, self.steps),
                cosine_decay(self.step_size, 0.01, step, self.steps),
            )
            inner, outer = (1 - gamma) * radius, (1 + gamma) * radius
            if is_l0:
                # L0: at least one pixel
                inner, outer = (
                    torch.minimum(radius - 1, inner.floor()),
                    torch.maximum(radius + 1, outer.floor()),
                )
            else:
                # linearized distance |z - x| + |m| / |g|_q before the first success
                jump = change_norm(threat, z - clean) + values.abs() / dual_norm(threat, gradient)
                outer = torch.where(best.isinf(), (1 + gamma) * jump.nan_to_num(torch.inf), outer)
            radius = torch.where(adversarial, torch.minimum(inner, best), outer)
            # step along the unit L2 gradient, then project on ball (one radius per example) and box
            unit = gradient / expand_rows(safe_l2_norm(gradient), gradient)
            z = project_to_radius(threat, z + step_size * (threat.high - threat.low) * unit, clean, radius)
        active = search.is_active(rows)
        if active.any():
            search.query(z[active], rows[active])
        refine(search, search.active_rows)
