"""Bounds over a part of a threat: where some ReLUs' inputs have a sign, and a margin may be small."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from quintain.certify.interval.recording import Operation, Recording, ReLULines
from quintain.certify.linear.backward import BackwardBounds
from quintain.certify.linear.half_space import InputHalfSpace


class EmptyRegionError(Exception):
    """No input is left in a region: two bounds of a value exclude each other. It never leaves a search."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Some inputs of a threat, and bounds that operations keep to for these.

    Args:
        bounds: Lower and upper bounds of operations' values (1, *S), by the operations' indices.
        relus: The indices of operations whose values go into ReLUs, and into no other nonlinear layer.
        half_space: A half-space in which the inputs lie; None for all of the threat.
    """

    bounds: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    relus: frozenset[int] = frozenset()
    half_space: InputHalfSpace | None = None

    def split(self, index: int, position: int, sign: int) -> "Region":
        """Return the part in which a value of an operation is at least 0 (sign 1), or at most 0 (sign -1).

        Args:
            index: Index of the operation, whose bounds are known.
            position: The value's position, flattened.
            sign: Its sign.
        """
        lower, upper = (ends.clone() for ends in self.bounds[index])
        end = (lower if sign > 0 else upper).view(-1)
        end[position] = end[position].clamp(min=0.0) if sign > 0 else end[position].clamp(max=0.0)
        return Region({**self.bounds, index: (lower, upper)}, self.relus, self.half_space)


@dataclass(slots=True, eq=False)
class RegionNarrowing:
    """Narrows bounds on the inputs of nonlinear layers, by linear bounds over a region, and keeps them.

    Args:
        backward: Linear bounds, with the minimum over the region.
        region: The region, with bounds that are known already.
        exact_box: Whether the threat is exactly a box.

    Attributes:
        bounds: The narrowed bounds, by the operations' indices.
    """

    backward: BackwardBounds
    region: Region
    exact_box: bool
    bounds: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False)

    def __call__(
        self, operation: Operation, lower: Tensor, upper: Tensor, loose: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return narrower bounds (1, *S), as ``Refinement`` says.

        Raises:
            EmptyRegionError: If lower bounds exceed upper ones in a region that is smaller than the threat.
        """
        known = self.region.bounds.get(operation.index)
        if known is not None:
            lower, upper = require_nonempty(*intersect((lower, upper), known))
            if operation.index in self.region.relus:
                loose = (lower < 0) & (upper > 0)
        is_whole = self.region.half_space is None
        if is_whole and (known is not None or (self.exact_box and _is_one_sum(operation))):
            # linear bounds could not narrow them further
            self.bounds[operation.index] = lower, upper
            return lower, upper
        found = self.backward.narrow(operation, lower, upper, loose) if bool(loose.any()) else (lower, upper)
        both = self.bounds[operation.index] = intersect((lower, upper), found)
        # over the whole threat bounds that cross are an alarm, which the caller raises
        return found if is_whole else require_nonempty(*both)

    def build_region(self, recording: Recording) -> Region:
        """Return the region with all bounds that are known now."""
        relus = {one.sources[0].index for one in recording.operations if isinstance(one.lines, ReLULines)}
        others = {
            one.sources[0].index
            for one in recording.operations
            if one.lines is not None and not isinstance(one.lines, ReLULines)
        }
        return Region(
            {**self.region.bounds, **self.bounds}, frozenset(relus - others), self.region.half_space
        )


def _is_one_sum(operation: Operation) -> bool:
    """Return whether an operation depends on the input through affine operations with one layer of sums.

    Its intervals are exact over a box: each coordinate moves to a face of its own.
    """
    before = operation.recording.operations
    return sum(one.mixes for one in before) <= 1 and all(one.lines is None for one in before)


def intersect(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the larger lower and the smaller upper bounds; NaN is ignored."""
    return torch.where(other[0] > one[0], other[0], one[0]), torch.where(other[1] < one[1], other[1], one[1])


def require_nonempty(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bounds unchanged.

    Raises:
        EmptyRegionError: If a lower bound exceeds its upper bound.
    """
    if bool((lower > upper).any()):
        raise EmptyRegionError
    return lower, upper
