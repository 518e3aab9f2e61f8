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

TOLERANCE = 1e-3  # of the radius: what a flip must gain, and to which its own radius is bisected


@dataclass(frozen=True, slots=True)
class RayS(Attack):
    r"""The direction of signs along which the boundary is nearest, from labels alone.

    .. math:: \min_{s \in \{-1, 1\}^d} \min\{r : f(clip(x + r s)) \text{ is broken}\}

    The signs are flipped block by block: first all of them, then halves, quarters, down to single values,
        again and again. A flip is tested by one query just below the best radius so far; only if that is
        adversarial its radius is bisected. An example that no single flip improves is done. Nothing is
        random.

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
            for first, last in _block_edges(features, block_count):
                active = boundary.queries_left(rows) > 0
                rows, signs, radius, improved = rows[active], signs[active], radius[active], improved[active]
                if not len(rows):
                    return
                # A flip is tried at (1 - 1e-3) of the best radius, one query; only if it is adversarial there
                # is its own radius bisected.
                flipped = signs.clone()
                flipped[:, first:last] *= -1
                x, everyone = search.x[rows], torch.arange(len(rows), device=rows.device)
                radius_tried = torch.where(
                    search.best_size[rows].isfinite(), (1 - TOLERANCE) * radius, radius
                )
                hit = boundary.is_adversarial(
                    ray_path(boundary, x, flipped, radius_tried)(torch.zeros_like(radius_tried), everyone),
                    rows,
                )
                if not hit.any():
                    continue
                signs[hit], improved[hit] = flipped[hit], True
                near = boundary.binary_search(
                    ray_path(boundary, x[hit], flipped[hit], radius_tried[hit]), rows[hit], TOLERANCE
                )
                radius[hit] = search.threat.measure(near, x[hit])
            # blocks: 0 (no flip, for the first radius), 1, 2, 4, ..., d; done after a pass over single
            # coordinates without gain
            if block_count >= features:
                rows, signs, radius, improved = (
                    rows[improved],
                    signs[improved],
                    radius[improved],
                    improved[improved],
                )
                improved = torch.zeros_like(improved)
            else:
                block_count = min(2 * block_count, features) if block_count else 1


def _block_edges(features: int, block_count: int) -> list[tuple[int, int]]:
    """Where ``block_count`` blocks of nearly equal length begin and end; nothing to flip, once, for none."""
    if not block_count:
        return [(0, 0)]
    edges = [features * index // block_count for index in range(block_count + 1)]
    return list(pairwise(edges))


def ray_path(boundary: DecisionBoundary, x: Tensor, signs: Tensor, radius: Tensor) -> Path:
    """Return the way from the points at ``radius`` to ``x``."""

    def path(t: Tensor, index: Tensor) -> Tensor:
        origin = x[index]
        return (
            origin + expand_rows(((1 - t) * radius[index]).to(x.dtype), x) * signs[index].view_as(origin)
        ).clamp(*boundary.box)

    return path
