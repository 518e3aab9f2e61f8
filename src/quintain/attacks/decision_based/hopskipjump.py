"""HopSkipJump: binary search to the boundary, estimate its normal, step along it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.decision_based.decision_boundary import (
    LABELS_SHOW_NO_FAR_REGION,
    DecisionBoundary,
    Path,
    check_queries,
    segment_path,
)
from quintain.attacks.search import Search
from quintain.core.limits import require_at_least
from quintain.core.threat_specs import threat_name
from quintain.models.protocol import Access
from quintain.threats.broadcast import expand_rows, rows_differ
from quintain.threats.rng import ExampleRNG


@dataclass(frozen=True, slots=True)
class HopSkipJump(Attack):
    r"""Approach the input along the decision boundary, from labels alone.

    .. math::
        z_t = \Pi_{[x, \tilde z_t]}(\text{boundary}), \quad \tilde z_{t+1} = clip(z_t + \xi_t\, s(g_t)), \quad
        \xi_t = 2^{-k} \frac{\|z_t - x\|}{\sqrt t}

    with :math:`g_t` the normal estimated from :math:`100 \sqrt t` labels at radius :math:`\|\tilde z_t - x\|
    / d`, :math:`s` the threat's steepest step, and the smallest :math:`k` that stays adversarial. In Linf the
    path back to ``x`` shrinks the largest changes. With targets, a random point must be of the target class
    by chance: likely with few classes, rare with many.

    Args:
        queries: Most forward passes for an example, for the clean input and the confirmation included.
        initial_probes: Probes of the first round; round t has :math:`\sqrt t` times as many.
        init_tries: Random points tried for the initial adversarial example; without one an example counts as
            unbroken.
        early_stop: Stop at the first success within the threat instead of seeking the smallest perturbation.

    Raises:
        SettingError: If a setting is out of its range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Chen, Jordan, Wainwright, 2020, arXiv:1904.02144.
    """

    name: ClassVar[str] = "hopskipjump"
    summary: ClassVar[str] = "a walk along the boundary, its normal by votes on labels"
    default_rank: ClassVar[int] = 1
    use_for: ClassVar[str] = "the first choice"
    cost: ClassVar[str] = "{queries}"
    access: ClassVar[Access] = "labels"
    min_queries: ClassVar[int] = 1500
    minimum_norm: ClassVar[bool] = True
    optimality_gap: ClassVar = {"l2": 0.02, "linf": 0.08}
    test_settings: ClassVar = {"queries": 300, "init_tries": 20}
    exemptions: ClassVar = LABELS_SHOW_NO_FAR_REGION

    queries: int = 10_000
    initial_probes: int = 100
    init_tries: int = 500
    early_stop: bool = False

    def __post_init__(self) -> None:
        check_queries(self.queries)
        require_at_least(1, initial_probes=self.initial_probes, init_tries=self.init_tries)

    def run(self, search: Search) -> None:
        """Iterate until the queries are spent."""
        if not len(search.active_rows):
            return
        boundary = DecisionBoundary(search, self.queries, self.early_stop)
        self.run_from(boundary, *boundary.initial_points(search.active_rows, self.init_tries))

    def run_from(self, boundary: DecisionBoundary, rows: Tensor, z: Tensor) -> None:
        """Iterate from adversarial points until the queries are spent.

        Args:
            boundary: The boundary, with its search and its budget.
            rows: The examples to walk for (n,).
            z: An adversarial point of each (n, *S), at any distance.
        """
        search, threat = boundary.search, boundary.search.threat
        features, is_linf = search.x[0].numel(), threat_name(threat.spec) == "linf"
        # theta = d^{-3/2} (L2) or d^{-2} (Linf); the first radius is 0.1 of the box, later ||z - x|| / d;
        # below min_radius a probe would round back onto z
        tolerance = features ** (-2.0 if is_linf else -1.5)
        min_radius = (
            8 * torch.finfo(search.x.dtype).eps * max(abs(threat.low), abs(threat.high)) * math.sqrt(features)
        )
        last_distance = torch.full(
            (len(rows),), 0.1 * (threat.high - threat.low) * features, dtype=torch.float64, device=z.device
        )
        iteration = 0
        while len(rows):
            x = search.x[rows]
            if iteration:
                last_distance = threat.measure(z, x)
            # binary search to the boundary
            z = boundary.binary_search(
                linf_path(z, x, threat.measure(z, x)) if is_linf else segment_path(z, x), rows, tolerance
            )
            active = boundary.queries_left(rows) > 1
            rows, x, z, last_distance = rows[active], x[active], z[active], last_distance[active]
            if not len(rows):
                return
            iteration += 1
            # direction from 100 sqrt(t) probes, then a geometric step-size search from ||z - x|| / sqrt(t)
            probes = min(10_000, int(self.initial_probes * math.sqrt(iteration)))
            radius = (last_distance / features).clamp(min=min_radius)
            normal = boundary.estimate_normal(
                z,
                rows,
                radius,
                probes,
                search.rng.fold_in("votes", iteration),
                _uniform if is_linf else ExampleRNG.normal,
            )
            z = _jump(
                boundary,
                z,
                rows,
                threat.steepest_step(normal, 1.0),
                threat.measure(z, x) / math.sqrt(iteration),
            )


def linf_path(z: Tensor, x: Tensor, size: Tensor) -> Path:
    """Return the path from ``z`` to ``x`` that clips the perturbation to a shrinking Linf norm."""

    def path(t: Tensor, index: Tensor) -> Tensor:
        origin = x[index]
        # clip the perturbation to (1 - t) times its size instead of scaling it
        most = expand_rows(((1 - t) * size[index]).to(origin.dtype), origin)
        return torch.minimum(torch.maximum(z[index], origin - most), origin + most)

    return path


def _uniform(rng: ExampleRNG, like: Tensor) -> Tensor:
    return 2 * rng.uniform(like) - 1


def _jump(boundary: DecisionBoundary, z: Tensor, rows: Tensor, direction: Tensor, distance: Tensor) -> Tensor:
    """Return the first adversarial point (n, *S) along each direction, halving the distance.

    It is ``z`` if there is none.
    """
    result, active = z.clone(), torch.arange(len(rows), device=rows.device)
    while True:
        proposal = (z[active] + expand_rows(distance[active].to(z.dtype), z) * direction[active]).clamp(
            *boundary.box
        )
        unresolved = rows_differ(proposal, z[active]) & (boundary.queries_left(rows[active]) > 0)
        active, proposal = active[unresolved], proposal[unresolved]
        if not len(active):
            return result
        hit = boundary.is_adversarial(proposal, rows[active])
        result[active[hit]] = proposal[hit]
        active = active[~hit]
        distance = distance / 2
