"""SuperDeepFool: DeepFool alternating with a projection onto the boundary's tangent plane."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import select_rows
from quintain.attacks.base import Attack
from quintain.attacks.minimum_norm.deepfool import check_deepfool, clamp_to_box, step_past_nearest_boundary
from quintain.attacks.minimum_norm.hyperplane import project_onto_hyperplane
from quintain.attacks.minimum_norm.refinement import bisect_to_boundary
from quintain.attacks.search import Evaluation, Search

MIN_IMPROVEMENT = 1e-3
"""Relative improvement of a success over the best below which an example is done."""


@dataclass(frozen=True, slots=True)
class SuperDeepFool(Attack):
    r"""DeepFool to an adversarial point, then a projection onto the tangent plane there, repeated.

    It is the clean input that is projected.

    .. math::
        \tilde z = DeepFool(z), \qquad
        z' = x + \arg\min_d \{\|d\|_2 : w \cdot d = w \cdot (\tilde z - x), \; x + d \in box\}

    with w the margin's gradient at :math:`\tilde z`: at a minimum-norm point the perturbation is parallel to
    w (up to the box); DeepFool's result need not be, and the projection restores it. An example ends when the
    projected point is adversarial, or when a new adversarial point is less than 0.1 % smaller than the best;
    then it is refined by binary search.

    Args:
        steps: Points per example, moves and turns together.
        candidates: Among how many classes a move seeks the nearest boundary, as in ``DeepFool``.
        overshoot: How far beyond the boundary a move goes, as a fraction of the whole change.

    Raises:
        SettingError: If a count is not positive, or the overshoot is negative.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A smaller perturbation may exist.

    Source: Abdollahpoorrostam et al., 2023, arXiv:2303.12481; Moosavi-Dezfooli, Fawzi, Frossard, 2016,
        arXiv:1511.04599.
    """

    name: ClassVar[str] = "superdeepfool"
    summary: ClassVar[str] = (
        "DeepFool steps and projections on the boundary's tangent plane: near the smallest L2 change"
    )
    use_for: ClassVar[str] = "near the smallest L2 change at few gradients"
    cost: ClassVar[str] = (
        "{steps} points, each a gradient for every one of {candidates} classes; most end early"
    )
    supports: ClassVar[tuple[str, ...]] = ("l2",)
    minimum_norm: ClassVar[bool] = True
    test_settings: ClassVar = {"steps": 20}

    steps: int = 100
    candidates: int = 3
    overshoot: float = 2e-4

    def __post_init__(self) -> None:
        check_deepfool(self.steps, self.candidates, self.overshoot)

    def run(self, search: Search) -> None:
        """Alternate the two steps for each example, then refine."""
        rows = search.active_rows
        z, was_successful = search.x[rows], torch.zeros_like(rows, dtype=torch.bool)
        for _ in range(self.steps):
            if not len(rows):
                break
            last_size = search.best_size[rows]
            out = search.value_and_grad(z, rows, search.goal.margin)
            adversarial = search.goal.is_adversarial(out.logits, rows)
            # done: adversarial, and the point is a projection or improved on the best by less than 0.1 %
            converged = was_successful | (search.best_size[rows] > (1 - MIN_IMPROVEMENT) * last_size)
            active = search.is_active(rows) & ~(adversarial & converged)
            rows, z, out, was_successful = (
                rows[active],
                z[active],
                select_rows(out, active),
                adversarial[active],
            )
            successful, unsuccessful = was_successful, ~was_successful
            # adversarial: project x onto the tangent plane; else: a DeepFool step
            moved = z.clone()
            moved[successful] = _project_on_tangent(
                search, z[successful], search.x[rows[successful]], select_rows(out, successful)
            )
            moved[unsuccessful] = step_past_nearest_boundary(
                search,
                z[unsuccessful],
                rows[unsuccessful],
                select_rows(out, unsuccessful),
                self.candidates,
                self.overshoot,
            )
            moving = (moved != z).flatten(1).any(1) & search.is_active(rows)
            rows, z, was_successful = rows[moving], moved[moving], was_successful[moving]
        if len(rows):
            search.query(z, rows)
        bisect_to_boundary(search, search.active_rows)


def _project_on_tangent(search: Search, z: Tensor, clean: Tensor, out: Evaluation) -> Tensor:
    """Return the points nearest to the clean ones on the planes through broken ``z`` along the boundary."""
    origin, gradient = clean.flatten(1), out.gradient.flatten(1).nan_to_num(0.0, 0.0, 0.0)
    increase = ((z - clean).flatten(1) * gradient).sum(1)
    return clamp_to_box(
        search,
        origin
        + project_onto_hyperplane("l2", origin, gradient, increase, search.threat.low, search.threat.high),
        z,
    )
