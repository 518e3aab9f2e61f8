"""Boxes of inputs over which violations are refuted: whole ones, and halves of those that stay open."""

import heapq
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.verify.properties import Violation, outward_box
from quintain.verify.prover import Prover, Rows

SPLIT_INPUTS = 24
"""Most inputs of a net whose box is halved where bounds leave it open: others have too many parts."""

FindViolation = Callable[[Tensor, int], Tensor | None]
"""Given points (N, n) and the number of a violation, returns an input (n,) that violates, or None."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenBox:
    """A part of a violation's box over which no row is refuted yet.

    Args:
        violation: Its number in the property.
        lower, upper: Ends (n,).
        bound: The best bound of a row over it.
    """

    violation: int
    lower: Tensor
    upper: Tensor
    bound: float


def refute_boxes(
    prover: Prover,
    boxes: Sequence[OpenBox],
    rows: Sequence[Rows],
    deadline: float = math.inf,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> list[OpenBox]:
    """Return those of some boxes over which no row of their violation is refuted, with their bounds.

    Violations over the same box are bounded together. Boxes whose turn comes after the deadline are not
    bounded and left as they are, all but the first.
    """
    left: list[OpenBox] = []
    for number, group in enumerate(boxes_alike(boxes)):
        if number and clock() >= deadline:
            left += group
            continue
        parts = [rows[box.violation] for box in group]
        together = Rows.concatenate(parts)
        bounds = prover.lower(group[0].lower, group[0].upper, together)
        for box, found in zip(group, bounds.split([len(part.bounds) for part in parts]), strict=True):
            best = float(found.max()) if len(found) else -torch.inf
            if not best > 0:
                left.append(OpenBox(box.violation, box.lower, box.upper, best))
    return left


def boxes_alike(boxes: Sequence[OpenBox]) -> list[list[OpenBox]]:
    """Return boxes in groups of the same ends."""
    groups: dict[tuple[bytes, bytes], list[OpenBox]] = {}
    for box in boxes:
        groups.setdefault((box.lower.numpy().tobytes(), box.upper.numpy().tobytes()), []).append(box)
    return list(groups.values())


def whole_boxes(violations: Sequence[Violation], dtype: torch.dtype) -> list[OpenBox]:
    """Return the boxes of all violations, rounded outward."""
    return [
        OpenBox(number, *outward_box(violation, dtype), -torch.inf)
        for number, violation in enumerate(violations)
    ]


def split_boxes(
    prover: Prover,
    boxes: Sequence[OpenBox],
    rows: Sequence[Rows],
    deadline: float,
    *,
    find_violation: FindViolation,
    clock: Callable[[], float] = time.monotonic,
) -> list[OpenBox]:
    """Halve open boxes, of least bound first, until all parts are refuted or the time is up.

    Args:
        prover: Of the net.
        boxes: Open ones.
        rows: Of each violation.
        deadline: When to stop, on the clock.
        find_violation: Is given points of each open part.
        clock: Seconds.

    Returns:
        The parts that are open still; none where all is proven.
    """
    order = 0
    heap: list[tuple[float, int, OpenBox]] = []
    for box in boxes:
        heapq.heappush(heap, (box.bound, order := order + 1, box))
    while heap and clock() < deadline:
        _, _, box = heapq.heappop(heap)
        middle = (box.lower + box.upper) / 2
        if find_violation(torch.stack([box.lower, middle, box.upper]), box.violation) is not None:
            return [box, *(one for _, _, one in heap)]
        at = int((box.upper - box.lower).argmax())
        if not box.lower[at] < middle[at] < box.upper[at]:
            # one number of float64 is left between the ends: nothing to halve
            return [box, *(one for _, _, one in heap)]
        halves = []
        for first, last in ((box.lower[at], middle[at]), (middle[at], box.upper[at])):
            lower, upper = box.lower.clone(), box.upper.clone()
            lower[at], upper[at] = first, last
            halves.append(OpenBox(box.violation, lower, upper, box.bound))
        for part in refute_boxes(prover, halves, rows):
            heapq.heappush(heap, (part.bound, order := order + 1, part))
    return [one for _, _, one in heap]
