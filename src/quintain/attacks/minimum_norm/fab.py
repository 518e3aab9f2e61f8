"""The fast adaptive boundary attack (FAB)."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import select_rows
from quintain.attacks.base import Attack
from quintain.attacks.goal import Loss
from quintain.attacks.minimum_norm.hyperplane import ORDER, Norm, project_onto_hyperplane
from quintain.attacks.minimum_norm.refinement import bisect_to_boundary
from quintain.attacks.search import Evaluation, Search
from quintain.core.limits import require_at_least
from quintain.core.threat_specs import threat_name
from quintain.threats.rng import ExampleRNG
from quintain.threats.rounding import representable_box

ALPHA_MAX = 0.1
"""Largest weight of the clean point's own projection (alpha_max)."""

ETA = 1.05
"""How far beyond the linearized boundary a step goes (eta)."""

BETA = 0.9
"""Position on the segment from the clean point after a success (beta)."""

FIRST_BISECTIONS = 6
"""Bisections after the first success of each run."""


@dataclass(frozen=True, slots=True)
class FAB(Attack):
    r"""Steps along the linearized boundary, biased towards the clean point.

    .. math::
        z' = clip\big((1 - a)(z + \eta\, d(z)) + a (x + \eta\, d(x))\big), \quad
        a = \min\Big(\frac{\|d(z)\|}{\|d(z)\| + \|d(x)\|}, 0.1\Big)

    with :math:`d(u)` the smallest change, inside the box, that moves u onto the hyperplane on which the
    linearized margin of a target class over the true one is zero, and :math:`\eta = 1.05`. After each success
    z is first moved back to :math:`x + 0.9 (z - x)`. The margins there and at x are those of the
    linearization at z, so a step costs one forward and one backward pass. The first success of each run is
    moved to the boundary by bisection. The target class only guides the steps: any wrong class is a success.
    If the call gives ``targets=``, FAB runs once, on the margin of the target over the best other class.

    Args:
        steps: Gradients per example, target class and restart.
        target_classes: Number of target classes, those with the largest clean logits first; at most K - 1.
        restarts: Number of runs; the first starts from the clean point, the others from random points.
        early_stop: Stop an example at its first success within the threat's ``eps``.

    Raises:
        SettingError: If a count is not positive.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A smaller perturbation may exist.

    Source: Croce, Hein, 2020, arXiv:1907.02044.
    """

    name: ClassVar[str] = "fab"
    summary: ClassVar[str] = "along the boundary, biased towards the clean point, guided by each target class"
    default_rank: ClassVar[int] = 6
    use_for: ClassVar[str] = "smallest changes where gradients of a loss mislead; part of AutoAttack"
    cost: ClassVar[str] = "{steps} gradients for each of {target_classes} target classes, {restarts} times"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    minimum_norm: ClassVar[bool] = True
    test_settings: ClassVar = {"steps": 10, "target_classes": 3}

    steps: int = 100
    target_classes: int = 9
    restarts: int = 1
    early_stop: bool = False

    def __post_init__(self) -> None:
        require_at_least(1, steps=self.steps, target_classes=self.target_classes, restarts=self.restarts)

    def run(self, search: Search) -> None:
        """Run towards every target class, then refine the best points by bisection."""
        for restart in range(self.restarts):
            for index, loss in enumerate(_margins_by_target_class(search, self.target_classes)):
                rows = self._active_rows(search)
                start_points = (
                    search.x[rows]
                    if restart == 0
                    else _random_start(search, rows, search.rng.fold_in(restart, index).select(rows))
                )
                self._attack_class(search, loss, rows, start_points)
        bisect_to_boundary(search, self._active_rows(search))

    def _active_rows(self, search: Search) -> Tensor:
        """Return the indices of the examples that are still attacked (n,)."""
        rows = search.active_rows
        return rows[self._is_active(search, rows)]

    def _is_active(self, search: Search, rows: Tensor) -> Tensor:
        """Return whether each of the examples ``rows`` (n,) is still attacked (n,)."""
        return search.is_active(rows) & ~(search.success[rows] & self.early_stop)

    def _attack_class(self, search: Search, loss: Loss, rows: Tensor, z: Tensor) -> None:
        """Run the steps on the examples ``rows`` (n,) from the points ``z`` (n, *S), guided by one margin."""
        clean, has_crossed = search.x[rows], torch.zeros_like(rows, dtype=torch.bool)
        for _ in range(self.steps):
            rows, clean, z, has_crossed = select_rows(
                (rows, clean, z, has_crossed), self._is_active(search, rows)
            )
            if not len(rows):
                return
            out = search.value_and_grad(z, rows, loss)
            adversarial = search.goal.is_adversarial(out.logits, rows)
            z, is_first = _step(search, z, clean, out, adversarial), adversarial & ~has_crossed
            # The first success of a run may lie far behind the boundary, where steps back by 0.9 are slow:
            # bisect 6 times.
            if is_first.any():
                bisect_to_boundary(search, rows[is_first], FIRST_BISECTIONS)
                z[is_first] = torch.lerp(clean[is_first], search.best[rows[is_first]], BETA)
            has_crossed = has_crossed | adversarial
        rows, z = select_rows((rows, z), self._is_active(search, rows))
        if len(rows):
            search.query(z, rows)


def _margins_by_target_class(search: Search, target_classes: int) -> list[Loss]:
    """Return the margins to linearize: of each target class over the true one, or of the given target."""
    if search.goal.targets is not None:
        return [search.goal.margin]
    classes = search.top_wrong_classes(torch.arange(len(search.x), device=search.x.device), target_classes)
    return [search.goal.toward_class(target_class) for target_class in classes.unbind(1)]


def _random_start(search: Search, rows: Tensor, rng: ExampleRNG) -> Tensor:
    """Return random points (n, *S), within half of the smallest known change and half of the threat."""
    clean, threat = search.x[rows], search.threat
    fraction = (search.best_size[rows] / max(threat.eps, torch.finfo(torch.float64).tiny)).clamp(max=1) / 2
    return torch.lerp(
        clean, threat.sample(clean, rng), fraction.to(clean.dtype).view(-1, *[1] * (clean.dim() - 1))
    )


def _step(search: Search, z: Tensor, clean: Tensor, out: Evaluation, adversarial: Tensor) -> Tensor:
    """Return the next points (n, *S).

    Args:
        search: Gives the threat.
        z: The points (n, *S).
        clean: Clean inputs (n, *S).
        out: Margins (n,) and their gradients (n, *S) at ``z``.
        adversarial: Whether each point is adversarial (n,).
    """
    threat = search.threat
    norm = cast(Norm, threat_name(threat.spec))
    flat, flat_clean = z.flatten(1), clean.flatten(1)
    gradient = out.gradient.flatten(1).nan_to_num(0.0, 0.0, 0.0)
    # backward step where adversarial: x + beta (z - x), beta = 0.9
    base = torch.where(adversarial.unsqueeze(1), torch.lerp(flat_clean, flat, BETA), flat)
    points = torch.cat((base, flat_clean))
    # the margin at that point and at x by the linearization at z: d(z) and d(x) raise it to 0
    margins = out.loss_values.repeat(2) + ((points - flat.repeat(2, 1)) * gradient.repeat(2, 1)).sum(1)
    changes = project_onto_hyperplane(norm, points, gradient.repeat(2, 1), -margins, threat.low, threat.high)
    size, clean_size = torch.linalg.vector_norm(changes, ORDER[norm], dim=1, keepdim=True).chunk(2)
    # x_new = (1 - a) (z + eta d(z)) + a (x + eta d(x)), a = min(|d(z)| / (|d(z)| + |d(x)|), 0.1)
    alpha = torch.where(size > 0, size / (size + clean_size), 1).clamp_(max=ALPHA_MAX)
    from_z, from_clean = (points + ETA * changes).chunk(2)
    return (
        torch.lerp(from_z, from_clean, alpha)
        .to(z.dtype)
        .clamp_(*representable_box(threat.low, threat.high, z.dtype))
        .view_as(z)
    )
