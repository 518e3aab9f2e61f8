"""The search for a proof about margins over a threat: over regions first, then over parts."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.certify.linear.backward import BackwardBounds
from quintain.certify.linear.region import EmptyRegionError, Region
from quintain.certify.linear.region_search import Propagate, RegionSearch
from quintain.certify.linear.search import PartSearch, SearchResult
from quintain.certify.linear.search_bounds import quick_bounds

REGIONS = 0.75
"""Fraction of a margin's time and bounds for the search over regions, where all bounds are narrowed anew;
the rest is for the search over parts, which are many more and have looser bounds.
"""

CHECK_BOUNDS = 3
"""Bounds over regions by which a search is checked against an example."""


@dataclass(frozen=True, slots=True, eq=False)
class RivalSearch:
    """The search for a proof that some margins of an example are above a limit.

    Args:
        propagate: Bounds the example over a region.
        plain: Its bounds over intervals, in float32.
        root: The whole threat, with what is known of it.
        limit: The limit, at least 0.
        refute: Given inputs near the threat (N, *S), returns an allowed one that breaks the example, or None.
        gives_up: Whether a search over regions is given up where their splits gain too little, so that others
            have the time.
    """

    propagate: Propagate
    plain: BackwardBounds
    root: Region
    limit: float
    refute: Callable[[Tensor], Tensor | None]
    gives_up: bool = True

    def run(
        self, rows: Tensor, most_bounds: int, ends: float, clock: Callable[[], float] = time.monotonic
    ) -> SearchResult:
        """Search until all margins (R, K) over the logits are proven, one is refuted, or the time is up.

        Args:
            rows: The margins.
            most_bounds: Most regions and parts that are bounded.
            ends: When the time is up, on the clock.
        """
        margin, used = torch.inf, 0
        for number, row in enumerate(rows):
            left = len(rows) - number
            bounds, seconds = (most_bounds - used) // left, max(0.0, ends - clock()) / left
            found = self.exclude(row[None], bounds, seconds, clock)
            used += found.bounds
            if not found.is_proven:
                return SearchResult(-torch.inf, found.point, used)
            margin = min(margin, found.margin)
        return SearchResult(margin, None, used)

    def proves_more(self, row: Tensor, limit: float) -> bool:
        """Tell whether a few bounds over regions prove a margin (1, K) to be above another limit."""
        search = RegionSearch(self.propagate, self.plain, rows=row, limit=limit, refute=lambda _: None)
        return search.run(self.root, CHECK_BOUNDS, math.inf).is_proven

    def exclude(
        self, rows: Tensor, most_bounds: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> SearchResult:
        """Search for a proof that no input has all of some margins of at most the limit.

        Args:
            rows: One margin (1, K); or several (R, K), as of ``JointRows``, with the limit 0.
            most_bounds: Most regions and parts that are bounded.
            seconds: Until the time is up, on the clock.

        Returns:
            What was found; the margin is that of the one row, or of a sum of them with weights.
        """
        started = clock()
        ends = started + seconds
        search = RegionSearch(
            self.propagate,
            self.plain,
            rows=rows,
            limit=self.limit,
            refute=self.refute,
            gives_up=self.gives_up,
        )
        found = search.run(self.root, max(1, int(REGIONS * most_bounds)), REGIONS * seconds, clock)
        if found.is_proven:
            return SearchResult(self.limit, None, found.bounds)
        if found.is_given_up:
            # parts, which are looser, are tried half as long as regions were
            ends = min(ends, clock() + (clock() - started) / 2)
        left = most_bounds - found.bounds
        if found.point is not None or found.weights is None or left <= 0 or clock() >= ends:
            return SearchResult(-torch.inf, found.point, found.bounds)
        # inputs outside of the region have a larger margin than the limit anyway
        try:
            backward, output, _ = self.propagate(found.region)
        except EmptyRegionError:
            return SearchResult(self.limit, None, found.bounds)
        parts = PartSearch(
            backward,
            quick_bounds(backward, self.plain),
            output=output,
            rows=search.joint.sum(found.weights, rows.dtype),
            refute=self.refute,
            limit=self.limit,
        ).run(left, ends - clock(), clock)
        margin = min(self.limit, parts.margin)
        return SearchResult(margin, parts.point, found.bounds + parts.bounds)
