"""Branch and bound for violations: what linear bounds over the whole box leave open."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from quintain.certify.linear.backward import BackwardBounds
from quintain.certify.linear.region import Region
from quintain.certify.linear.rivals import RivalSearch
from quintain.certify.linear.search import SearchResult
from quintain.verify.boxes import FindViolation, OpenBox, boxes_alike
from quintain.verify.prover import Prover, Rows

TIGHTENING = 0.3
"""Largest fraction of the time in which the bounds of ReLUs' inputs are narrowed before anything is split."""

MAX_BOUNDS = 10**9
"""Regions and parts that may be bounded: it is the time that ends a search."""


def split_signs(
    prover: Prover,
    boxes: Sequence[OpenBox],
    rows: Sequence[Rows],
    deadline: float,
    *,
    find_violation: FindViolation,
    clock: Callable[[], float] = time.monotonic,
) -> list[OpenBox]:
    """Refute open boxes by regions in which all layers are bounded anew and signs of ReLUs' inputs are known.

    An input violates a case only if all of its rows hold there, so that each region is cut by the half-space
    in which a sum of these rows with weights may be at most 0. Cases of one box follow each other, that of
    the best bound first, each within its part of the time that is left.

    Args:
        prover: Of the net.
        boxes: Open ones.
        rows: Of each violation.
        deadline: When to stop, on the clock.
        find_violation: Is given points near each open region.
        clock: Seconds.

    Returns:
        The boxes that are open still; that of a counterexample and those after it are among them.

    Source: Kotha et al., 2023, arXiv:2302.01404; Zhou et al., 2025, arXiv:2512.11087.
    """
    left: list[OpenBox] = []
    is_violated = False
    groups = boxes_alike(boxes)
    for number, group in enumerate(groups):
        now = clock()
        if is_violated or now >= deadline:
            left += group
            continue
        ends = now + (deadline - now) / (len(groups) - number)
        cases = _Cases.of(prover, group, [rows[box.violation] for box in group], ends, clock)
        for turn, case in enumerate(cases.order):
            seconds = (ends - clock()) / (len(group) - turn)
            if is_violated or not seconds > 0:
                left.append(group[case])
                continue
            found = cases.search(case, seconds, find_violation, clock)
            is_violated = found.point is not None
            if not found.is_proven:
                left.append(group[case])
    return left


@dataclass(frozen=True, slots=True, eq=False)
class _Cases:
    """Violations over the one box that they have in common.

    Args:
        prover: Of the net.
        boxes: One for each violation.
        rows: All rows of all of them.
        places: Which rows are those of each.
        order: The violations, that of the best bound first.
        root: The whole box, with what is known of it.
        plain: The net's bounds over intervals, in float32.
    """

    prover: Prover
    boxes: Sequence[OpenBox]
    rows: Rows
    places: Sequence[Tensor]
    order: Sequence[int]
    root: Region
    plain: BackwardBounds

    @staticmethod
    def of(
        prover: Prover,
        boxes: Sequence[OpenBox],
        cases: Sequence[Rows],
        ends: float,
        clock: Callable[[], float],
    ) -> "_Cases":
        """Bound the whole box."""
        rows, lower, upper = Rows.concatenate(cases), boxes[0].lower, boxes[0].upper
        places = torch.arange(len(rows.bounds)).split([len(case.bounds) for case in cases])
        now = clock()
        until = now + TIGHTENING * (ends - now)
        with torch.no_grad():
            _, _, root = prover.region_bounds(lower, upper, rows, until=until, clock=clock)
            plain, _, _ = prover.region_bounds(lower.float(), upper.float(), rows, narrow=False)
        order = sorted(range(len(boxes)), key=lambda case: boxes[case].bound, reverse=True)
        return _Cases(
            prover=prover, boxes=boxes, rows=rows, places=places, order=order, root=root, plain=plain
        )

    def search(
        self, case: int, seconds: float, find_violation: FindViolation, clock: Callable[[], float]
    ) -> SearchResult:
        """Search for a proof that no input of the box violates a case, or for one that does."""
        box, own = self.boxes[case], self.places[case]
        if not len(own):
            return SearchResult(-torch.inf, None, 0)
        search = RivalSearch(
            partial(self.prover.region_bounds, box.lower, box.upper, self.rows),
            self.plain,
            self.root,
            limit=0.0,
            refute=lambda points: find_violation(points, box.violation),
            # one case that stays open leaves the property open, so that no other one has more of the time
            gives_up=False,
        )
        one_each = torch.eye(len(self.rows.bounds), dtype=torch.float64)[own]
        with torch.no_grad():
            return search.exclude(one_each, MAX_BOUNDS, seconds, clock)
