"""Branch and bound over ReLUs for rows of a property: what linear bounds over the whole box leave open."""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from quintain.certify.linear.parts import are_proven
from quintain.certify.linear.search import PartSearch
from quintain.certify.linear.search_bounds import quick_bounds
from quintain.verify.prover import Look, OpenBox, Prover, Rows, boxes_alike

TIGHTENING = 0.3
"""Largest share of the time in which the bounds of ReLUs' inputs are narrowed before anything is split."""

MOST_BOUNDS = 10**9
"""Parts that may be bounded: it is the time that ends a search."""


def split_signs(
    prover: Prover,
    boxes: Sequence[OpenBox],
    rows: Sequence[Rows],
    deadline: float,
    *,
    look: Look,
    clock: Callable[[], float] = time.monotonic,
) -> list[OpenBox]:
    """Refute open boxes by parts in which signs of ReLUs' inputs are known, until the time is up.

    Violations of one row over the same box are searched for together; of one with several rows each by
    itself, that of the best bound first, since one that is refuted everywhere suffices.

    Args:
        prover: Of the net.
        boxes: Open ones.
        rows: Of each violation.
        deadline: When to stop, on the clock.
        look: Tries points near an open part.
        clock: Seconds.

    Returns:
        The boxes that are open still; those after a counterexample was met are among them.
    """
    left: list[OpenBox] = []
    for group in boxes_alike(boxes):
        single = [box for box in group if len(rows[box.violation].bounds) == 1]
        if single and not _is_refuted(
            prover, single, [rows[box.violation] for box in single], deadline, look, clock
        ):
            left += single
        for box in group:
            if len(rows[box.violation].bounds) != 1 and not _one_row_is_refuted(
                prover, box, rows[box.violation], deadline, look, clock
            ):
                left.append(box)
    return left


def _one_row_is_refuted(
    prover: Prover, box: OpenBox, rows: Rows, deadline: float, look: Look, clock: Callable[[], float]
) -> bool:
    """Tell whether some row of a violation is refuted everywhere, each in an equal share of the time."""
    bounds = prover.lower(box.lower, box.upper, rows) if len(rows.bounds) else torch.zeros(0)
    order = bounds.argsort(descending=True).tolist()
    for place, row in enumerate(order):
        now = clock()
        share = now + (deadline - now) / (len(order) - place)
        if now < deadline and _is_refuted(prover, [box], [rows.row(row)], share, look, clock):
            return True
    return False


def _is_refuted(
    prover: Prover,
    boxes: Sequence[OpenBox],
    rows: Sequence[Rows],
    deadline: float,
    look: Look,
    clock: Callable[[], float],
) -> bool:
    """Tell whether all these rows are refuted over the one box that they have in common."""
    seconds = deadline - clock()
    if not seconds > 0:
        return False
    together, lower, upper = Rows.concatenate(rows), boxes[0].lower, boxes[0].upper

    def refute(points: Tensor) -> Tensor | None:
        tried = (look(points, box.violation) for box in boxes)
        return next((found for found in tried if found is not None), None)

    with torch.no_grad():
        until = time.monotonic() + TIGHTENING * seconds
        backward, output = prover.backward_bounds(lower, upper, together, until=until)
        wanted = torch.eye(len(together.bounds), dtype=torch.float64)
        found = backward.lower(output, wanted)
        wanted = wanted[~are_proven(found)]
        if not len(wanted):
            return True
        plain, _ = prover.backward_bounds(lower.float(), upper.float(), together, narrow=False)
        quick = quick_bounds(backward, plain)
        search = PartSearch(backward, quick, output=output, rows=wanted, refute=refute)
        parts = search.run(MOST_BOUNDS, seconds, clock)
    return parts.point is None and 0 < parts.margin < torch.inf
