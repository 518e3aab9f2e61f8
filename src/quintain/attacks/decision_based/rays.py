"""RayS: search for the sign direction with the closest boundary, by flipping ever smaller blocks of signs."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.decision_based.decision_boundary import (
    LABELS_SHOW_NO_FAR_REGION,
    DecisionBoundary,
    Path,
    check_queries,
)
from quintain.attacks.search import Search
from quintain.models.protocol import Access
from quintain.threats.broadcast import expand_rows

TOLERANCE = 1e-3
"""Fraction of the radius by which a flip must lower it, and to which the new radius is bisected."""


@dataclass(frozen=True, slots=True)
class RayS(Attack):
    r"""Search over sign vectors for the direction with the smallest radius to the boundary, by labels alone.

    .. math:: \min_{s \in \{-1, 1\}^d} \min\{r : f(clip(x + r s)) \ne y\}

    The signs are flipped block by block: first all of them, then halves, quarters, down to single values,
    again and again. A flip is tested by one query just below the best radius so far; only if that is
    adversarial its radius is bisected. An example that no single flip improves is done. Nothing is random.

    Args:
        queries: Most forward passes for an example, for the clean input and the confirmation included.
        early_stop: Stop at the first success within the threat instead of seeking the smallest perturbation.

    Raises:
        SettingError: If a setting is out of its range.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Chen, Gu, 2020, arXiv:2006.12792.
    """

    name: ClassVar[str] = "rays"
    summary: ClassVar[str] = "flips blocks of signs and bisects along the ray, from labels; nothing is random"
    default_rank: ClassVar[int] = 2
    use_for: ClassVar[str] = "Linf; nothing about it is random"
    cost: ClassVar[str] = "{queries}"
    access: ClassVar[Access] = "labels"
    min_queries: ClassVar[int] = 1500
    ends_exhausted: ClassVar[bool] = True
    supports: ClassVar[tuple[str, ...]] = ("linf",)
    minimum_norm: ClassVar[bool] = True
    test_settings: ClassVar = {"queries": 200}
    exemptions: ClassVar = LABELS_SHOW_NO_FAR_REGION

    queries: int = 10_000
    early_stop: bool = False

    def __post_init__(self) -> None:
        check_queries(self.queries)

    def run(self, search: Search) -> None:
        """Flip and bisect until nothing helps or the queries are spent."""
        rows = search.active_rows
        if not len(rows):
            return
        boundary = DecisionBoundary(search, self.queries, self.early_stop)
        signs = torch.ones_like(search.x[rows]).flatten(1)
        radius = torch.full(
            (len(rows),), search.threat.high - search.threat.low, dtype=torch.float64, device=rows.device
        )
        features = signs.shape[1]
        block_count, improved = 0, torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        while len(rows):
            for start, stop in _block_ranges(features, block_count):
                active = boundary.queries_left(rows) > 0
                rows, signs, radius, improved = rows[active], signs[active], radius[active], improved[active]
                if not len(rows):
                    return
                # One query at (1 - TOLERANCE) of the best radius, or at the largest one before any success;
                # only if that is adversarial is the flip's own radius bisected.
                flipped = signs.clone()
                flipped[:, start:stop] *= -1
                x = search.x[rows]
                radius_tried = torch.where(
                    search.best_size[rows].isfinite(), (1 - TOLERANCE) * radius, radius
                )
                hit = boundary.is_adversarial(_ray_points(boundary, x, flipped, radius_tried), rows)
                if not hit.any():
                    continue
                signs[hit], improved[hit] = flipped[hit], True
                near = boundary.binary_search(
                    _ray_path(boundary, x[hit], flipped[hit], radius_tried[hit]), rows[hit], TOLERANCE
                )
                radius[hit] = search.threat.measure(near, x[hit])
            # Numbers of blocks: 0 (no flip, for the first radius), 1, 2, 4, ..., d. From there on each pass
            # flips single coordinates, of those examples only that were improved since the last pass of them.
            if block_count >= features:
                rows, signs, radius = rows[improved], signs[improved], radius[improved]
                improved = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
            else:
                block_count = min(2 * block_count, features) if block_count else 1


def _block_ranges(features: int, block_count: int) -> list[tuple[int, int]]:
    """Return start and stop of blocks of nearly equal length; one empty range where there are none."""
    if not block_count:
        return [(0, 0)]
    edges = [features * index // block_count for index in range(block_count + 1)]
    return list(pairwise(edges))


def _ray_points(boundary: DecisionBoundary, x: Tensor, signs: Tensor, radius: Tensor) -> Tensor:
    """Return the points (n, *S) at ``radius`` (n,) along ``signs`` (n, d), clipped to the box."""
    return (x + expand_rows(radius.to(x.dtype), x) * signs.view_as(x)).clamp(*boundary.box)


def _ray_path(boundary: DecisionBoundary, x: Tensor, signs: Tensor, radius: Tensor) -> Path:
    """Return the paths from the points at ``radius`` along ``signs`` to ``x``."""
    return lambda t, index: _ray_points(boundary, x[index], signs[index], (1 - t) * radius[index])
