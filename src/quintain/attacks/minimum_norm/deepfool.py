"""DeepFool: step onto the closest linearized boundary until an adversarial point is found."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import select_rows
from quintain.attacks.base import Attack
from quintain.attacks.minimum_norm.hyperplane import ORDER, Norm, project_onto_hyperplane
from quintain.attacks.minimum_norm.refinement import bisect_to_boundary
from quintain.attacks.search import Evaluation, Search
from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.core.threat_specs import threat_name
from quintain.threats.rounding import representable_box


@dataclass(frozen=True, slots=True)
class DeepFool(Attack):
    r"""Move onto the closest linearized boundary until the point is adversarial, then bisect.

    .. math:: z' = clip\big(x + (1 + o) (z + d_k(z) - x)\big), \quad k = \arg\min_k \|d_k(z)\|

    with :math:`d_k(z)` the smallest change inside the box that closes the linearized lead of the true class
    over class k, and :math:`o` the overshoot. Where targets are given, the lead of the target over the best
    other class is the only one.

    Args:
        steps: Moves per example.
        candidates: Number of wrong classes, those with the largest logits at z, of which the nearest boundary
            is taken. Each costs a forward and a backward pass per move; a point that is adversarial already
            costs one pair alone.
        overshoot: How far beyond the boundary a move goes, as a fraction of the whole change.

    Raises:
        SettingError: If a count is not positive, or the overshoot is negative.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A smaller perturbation may exist.

    Source: Moosavi-Dezfooli, Fawzi, Frossard, 2016, arXiv:1511.04599.
    """

    name: ClassVar[str] = "deepfool"
    summary: ClassVar[str] = (
        "from one linearized boundary to the next until the prediction changes: fast, rough"
    )
    use_for: ClassVar[str] = "a quick, rough size"
    cost: ClassVar[str] = (
        "{steps} moves, each a gradient for every one of {candidates} classes; most end after a few"
    )
    minimum_norm: ClassVar[bool] = True
    test_settings: ClassVar = {"steps": 20}

    steps: int = 50
    candidates: int = 10
    overshoot: float = 2e-4

    def __post_init__(self) -> None:
        check_deepfool(self.steps, self.candidates, self.overshoot)

    def run(self, search: Search) -> None:
        """Move until adversarial or stuck, then refine."""
        rows, z = search.active_rows, search.x[search.active_rows]
        for _ in range(self.steps):
            if not len(rows):
                break
            out = search.value_and_grad(z, rows, search.goal.margin)
            active = search.is_active(rows) & search.best_size[rows].isinf()
            rows, z, out = rows[active], z[active], select_rows(out, active)
            moved = step_past_nearest_boundary(search, z, rows, out, self.candidates, self.overshoot)
            moving = (moved != z).flatten(1).any(1) & search.is_active(rows)
            rows, z = rows[moving], moved[moving]
        if len(rows):
            search.query(z, rows)
        bisect_to_boundary(search, search.active_rows)


def check_deepfool(steps: int, candidates: int, overshoot: float) -> None:
    """Raise if a setting of DeepFool is out of range.

    Raises:
        SettingError: If a count is not positive, or the overshoot is negative or not finite.
    """
    require_at_least(1, steps=steps, candidates=candidates)
    if not 0 <= overshoot < torch.inf:
        raise SettingError(
            f"overshoot = {overshoot}; expected a fraction of the change, at least 0, such as 2e-4"
        )


def step_past_nearest_boundary(
    search: Search, z: Tensor, rows: Tensor, out: Evaluation, candidates: int, overshoot: float
) -> Tensor:
    """Return points (n, *S) just beyond the nearest of the boundaries linearized at ``z``.

    Where the query budget ends, fewer boundaries are linearized, so that one query is left for the move.

    Args:
        search: Runs the model and counts its queries.
        z: Points (n, *S) that are not adversarial.
        rows: The examples that they belong to (n,).
        out: Value and gradient of the margin at ``z``.
        candidates: Number of wrong classes whose boundaries are linearized.
        overshoot: How far beyond the boundary, as a fraction of the whole change from the clean input.
    """
    flat = z.flatten(1)
    # Closest of the linearized boundaries of the largest wrong logits: the first is already evaluated, each
    # other costs a forward and a backward pass.
    change, distance = _step_to_boundary(search, flat, out)
    for target_class in _other_candidates(search, rows, out, candidates):
        affordable = search.is_active(rows, queries=2)
        if not affordable.any():
            break
        lead = search.goal.toward_class(search.goal.y.index_copy(0, rows, target_class))
        other_out = search.value_and_grad(z[affordable], rows[affordable], lead)
        other_change, other_distance = _step_to_boundary(search, flat[affordable], other_out)
        nearer = other_distance < distance[affordable]
        nearer_rows = affordable.nonzero().squeeze(1)[nearer]
        change[nearer_rows], distance[nearer_rows] = other_change[nearer], other_distance[nearer]
    # overshoot relative to x: x + (1 + o) (z + d - x)
    origin = search.x[rows].flatten(1)
    return clamp_to_box(search, torch.lerp(origin, flat + change, 1 + overshoot), z)


def clamp_to_box(search: Search, point: Tensor, like: Tensor) -> Tensor:
    """Flat points (n, F) as points of the box, in the shape and dtype of ``like``."""
    return (
        point.to(like.dtype)
        .clamp_(*representable_box(search.threat.low, search.threat.high, like.dtype))
        .view_as(like)
    )


def _other_candidates(search: Search, rows: Tensor, out: Evaluation, candidates: int) -> tuple[Tensor, ...]:
    """Return the wrong classes (n,) by falling logit, without the largest; none where there is a target."""
    if search.goal.targets is not None:
        return ()
    wrong = out.logits.scatter(1, search.goal.y[rows].unsqueeze(1), -torch.inf)
    return wrong.topk(min(candidates, wrong.shape[1] - 1), dim=1).indices.unbind(1)[1:]


def _step_to_boundary(search: Search, z: Tensor, out: Evaluation) -> tuple[Tensor, Tensor]:
    """Return the smallest change (n, F) of ``z`` (n, F) onto a linearized boundary, and its size (n,).

    The size is infinite where the box ends before the boundary.
    """
    norm = cast(Norm, threat_name(search.threat.spec))
    gradient = out.gradient.flatten(1).nan_to_num(0.0, 0.0, 0.0)
    change = project_onto_hyperplane(
        norm, z, gradient, -out.loss_values, search.threat.low, search.threat.high
    )
    # the change reaches the hyperplane if it raises the linearized loss by what was missing, but for rounding
    reached = (change * gradient).sum(1) >= -out.loss_values * (1 - 1e-3)
    return change, torch.linalg.vector_norm(change, ORDER[norm], dim=1).where(reached, torch.inf)
