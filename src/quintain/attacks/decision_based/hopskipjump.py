"""HopSkipJump: back to the boundary, ask around, jump along its normal."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.decision_based.decision_boundary import DecisionBoundary, Path, check_queries, segment_path
from quintain.attacks.search import Search
from quintain.core.limits import require_at_least
from quintain.core.threat_specs import threat_name
from quintain.models.protocol import Access
from quintain.threats.broadcast import expand_rows, rows_differ
from quintain.threats.rng import ExampleRNG


@dataclass(frozen=True, slots=True)
class HopSkipJump(Attack):
    r"""A walk along the decision boundary towards the input, from labels alone.

    .. math:: z_t = \Pi_{[x, \tilde z_t]}(\text{boundary}), \quad \tilde z_{t+1} = clip(z_t + \xi_t\, s(g_t)), \quad
        \xi_t = 2^{-k} \frac{\|z_t - x\|}{\sqrt t}

    with :math:`g_t` the normal by :math:`100 \sqrt t` votes at radius :math:`\|\tilde z_t - x\| / d`,
    :math:`s` the threat's steepest step, and the smallest :math:`k` that stays broken. In Linf the way back
    to ``x`` is the shrinking of the largest changes. With targets, a noise must meet the target class by
    itself: likely with few classes, rare with many.

    Args:
        queries: How often an example may be asked about, the unchanged input and the final check included.
        initial_probes: Probes of the first round; round t has :math:`\sqrt t` times as many.
        init_tries: Noises tried for a first broken point; without one an example counts as unbroken.
        early_stop: Stop at the first change within the threat, and do not seek the smallest.

    Raises:
        SettingError: If a setting is out of its range.

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may
        still be breakable.

    Source: Chen, Jordan, Wainwright, 2020, arXiv:1904.02144.
    """

    name: ClassVar[str] = "hopskipjump"
    access: ClassVar[Access] = "labels"
    minimum_norm: ClassVar[bool] = True

    queries: int = 10_000
    initial_probes: int = 100
    init_tries: int = 500
    early_stop: bool = False

    def __post_init__(self) -> None:
        check_queries(self.queries)
        require_at_least(1, initial_probes=self.initial_probes, init_tries=self.init_tries)

    def run(self, search: Search) -> None:
        """Walk until the questions are spent."""
        if not len(search.active_rows):
            return
        boundary, threat = DecisionBoundary(search, self.queries, self.early_stop), search.threat
        features, is_linf = search.x[0].numel(), threat_name(threat.spec) == "linf"
        tolerance = features ** (-2.0 if is_linf else -1.5)
        min_radius = 8 * torch.finfo(search.x.dtype).eps * max(abs(threat.low), abs(threat.high)) * math.sqrt(features)
        rows, z = boundary.initial_points(search.active_rows, self.init_tries)
        last_distance = torch.full((len(rows),), 0.1 * (threat.high - threat.low) * features, dtype=torch.float64, device=z.device)
        iteration = 0
        while len(rows):
            x = search.x[rows]
            if iteration:
                last_distance = threat.measure(z, x)
            z = boundary.binary_search(linf_path(z, x, threat.measure(z, x)) if is_linf else segment_path(z, x), rows, tolerance)
            active = boundary.queries_left(rows) > 1
            rows, x, z, last_distance = rows[active], x[active], z[active], last_distance[active]
            if not len(rows):
                return
            iteration += 1
            probes = min(10_000, int(self.initial_probes * math.sqrt(iteration)))
            radius = (last_distance / features).clamp(min=min_radius)
            normal = boundary.estimate_normal(
                z, rows, radius, probes, search.rng.fold_in("votes", iteration), _uniform if is_linf else ExampleRNG.normal
            )
            z = _jump(boundary, z, rows, threat.steepest_step(normal, 1.0), threat.measure(z, x) / math.sqrt(iteration))


def linf_path(z: Tensor, x: Tensor, size: Tensor) -> Path:
    """The way from ``z`` to ``x`` on which the largest change shrinks and smaller ones stay."""

    def path(t: Tensor, index: Tensor) -> Tensor:
        origin = x[index]
        most = expand_rows(((1 - t) * size[index]).to(origin.dtype), origin)
        return torch.minimum(torch.maximum(z[index], origin - most), origin + most)

    return path


def _uniform(rng: ExampleRNG, like: Tensor) -> Tensor:
    return 2 * rng.uniform(like) - 1


def _jump(boundary: DecisionBoundary, z: Tensor, rows: Tensor, direction: Tensor, distance: Tensor) -> Tensor:
    """The first broken point (n, *S) along each direction, its length halved until there is one; ``z`` where there is none."""
    landed, active = z.clone(), torch.arange(len(rows), device=rows.device)
    while True:
        proposal = (z[active] + expand_rows(distance[active].to(z.dtype), z) * direction[active]).clamp(*boundary.box)
        unresolved = rows_differ(proposal, z[active]) & (boundary.queries_left(rows[active]) > 0)
        active, proposal = active[unresolved], proposal[unresolved]
        if not len(active):
            return landed
        hit = boundary.is_adversarial(proposal, rows[active])
        landed[active[hit]] = proposal[hit]
        active = active[~hit]
        distance = distance / 2
