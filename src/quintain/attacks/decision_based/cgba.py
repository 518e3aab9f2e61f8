"""CGBA: binary search along half circles through the boundary point and the input."""

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
from quintain.models.protocol import Access
from quintain.threats.broadcast import expand_rows
from quintain.threats.rng import ExampleRNG


@dataclass(frozen=True, slots=True)
class CGBA(Attack):
    r"""Bisection on half circles through the input and the boundary, from labels alone.

    .. math::
        z(\theta) = clip\big(x + \|\delta\| \cos\theta\, (\cos\theta\, v + \sin\theta\, u)\big), \quad
        \delta = z_t - x,\; v = \delta / \|\delta\|

    with :math:`u` the component of the normal, estimated by :math:`initial\_probes \sqrt t` labels,
    orthogonal to :math:`v`. Points on the half circle with diameter x to z_t come closer to x as the angle
    grows; by Thales' theorem the circle meets a flat boundary at the foot of the perpendicular from x, the
    closest boundary point. Coordinates that sit on a face of the box while the normal points outside keep
    their current change, and the half circle is taken in the remaining coordinates; otherwise clipping would
    move the end point away from the closest point inside the box. With targets, a random point must be of the
    target class by chance.

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

    Source: Reza, Rahmati, Wu, Dai, 2023, arXiv:2308.03163; the treatment of the box is not in the paper.
    """

    name: ClassVar[str] = "cgba"
    summary: ClassVar[str] = "binary search on half circles from the boundary to the input, by labels alone"
    default_rank: ClassVar[int] = 3
    use_for: ClassVar[str] = "a second opinion in L2"
    cost: ClassVar[str] = "{queries}"
    access: ClassVar[Access] = "labels"
    min_queries: ClassVar[int] = 1500
    supports: ClassVar[tuple[str, ...]] = ("l2",)
    minimum_norm: ClassVar[bool] = True
    test_settings: ClassVar = {"queries": 300, "init_tries": 20}
    exemptions: ClassVar = LABELS_SHOW_NO_FAR_REGION

    queries: int = 10_000
    initial_probes: int = 30
    init_tries: int = 500
    early_stop: bool = False

    def __post_init__(self) -> None:
        check_queries(self.queries)
        require_at_least(1, initial_probes=self.initial_probes, init_tries=self.init_tries)

    def run(self, search: Search) -> None:
        """Iterate until the queries are spent."""
        if not len(search.active_rows):
            return
        boundary, threat = DecisionBoundary(search, self.queries, self.early_stop), search.threat
        features = search.x[0].numel()
        tolerance = features**-1.5
        min_radius = (
            8 * torch.finfo(search.x.dtype).eps * max(abs(threat.low), abs(threat.high)) * math.sqrt(features)
        )
        rows, z = boundary.initial_points(search.active_rows, self.init_tries)
        if len(rows):
            z = boundary.binary_search(segment_path(z, search.x[rows]), rows, tolerance)
        iteration = 0
        while True:
            active = boundary.queries_left(rows) > 1
            rows, z = rows[active], z[active]
            if not len(rows):
                return
            x = search.x[rows]
            iteration += 1
            radius = (threat.measure(z, x) / features).clamp(min=min_radius)
            probes = min(10_000, int(self.initial_probes * math.sqrt(iteration)))
            normal = boundary.estimate_normal(
                z, rows, radius, probes, search.rng.fold_in("votes", iteration), ExampleRNG.normal
            )
            z = boundary.binary_search(half_circle_path(z, x, normal, boundary.box), rows, tolerance)


def half_circle_path(z: Tensor, x: Tensor, normal: Tensor, box: tuple[float, float]) -> Path:
    r"""Return half circles from ``z`` at fraction 0 to ``x`` at fraction 1.

    The half circles lie in the plane of the change and the normal.

    A coordinate on a face of the box where the normal points out of the box keeps its change, unless that is
    more than :math:`l n_i`, its part of the change along the normal, with :math:`l = \langle \delta, n
    \rangle / \|n\|^2` over the free coordinates.
    """
    low, high = box
    change, normal_flat = (z - x).flatten(1), normal.flatten(1)
    flat = z.flatten(1)
    stuck = ((flat <= low) & (normal_flat < 0)) | ((flat >= high) & (normal_flat > 0))
    # l = <change, n> / |n|^2 over the free coordinates; fix those on a face whose normal points outside,
    # unless their change exceeds l |n_i|
    level = (change * normal_flat).masked_fill(stuck, 0).sum(1) / normal_flat.square().masked_fill(
        stuck, 0
    ).sum(1)
    stuck &= change.abs() <= level.nan_to_num(0.0)[:, None] * normal_flat.abs()
    fixed = torch.where(stuck, change, 0)
    free, normal_flat = change - fixed, normal_flat.masked_fill(stuck, 0)
    radius = torch.linalg.vector_norm(free, dim=1, keepdim=True)
    # v = change / |change|, u = component of the normal orthogonal to v, over the free coordinates
    along = free / radius.clamp(min=torch.finfo(x.dtype).tiny)
    across = normal_flat - (normal_flat * along).sum(1, keepdim=True) * along
    across = across / torch.linalg.vector_norm(across, dim=1, keepdim=True).clamp(
        min=torch.finfo(x.dtype).tiny
    )

    def path(t: Tensor, index: Tensor) -> Tensor:
        # theta = t pi / 2; z(theta) = x + |change| cos(theta) (cos(theta) v + sin(theta) u); ends exactly at
        # z and x
        angle = (t * (math.pi / 2))[:, None]
        turned = angle.cos().to(x.dtype) * along[index] + angle.sin().to(x.dtype) * across[index]
        moved = fixed[index] + angle.cos().to(x.dtype) * radius[index] * turned
        point = (x[index] + moved.view_as(x[index])).clamp(low, high)
        return torch.where(
            expand_rows(t == 0, x), z[index], torch.where(expand_rows(t == 1, x), x[index], point)
        )

    return path
