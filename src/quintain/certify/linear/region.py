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
        bounds: Lower and upper bounds of operations' values (1, *S), by the operations' places.
        relus: The places of operations whose values no nonlinear layer but ReLUs is given.
        half_space: A half-space in which the inputs lie; None for all of the threat.
    """

    bounds: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    relus: frozenset[int] = frozenset()
    half_space: InputHalfSpace | None = None

    def split(self, place: int, unit: int, sign: int) -> "Region":
        """Return the part in which a value of an operation is at least 0 (sign 1), or at most 0 (sign -1).

        Args:
            place: Of the operation, whose bounds are known.
            unit: The value's position, flattened.
            sign: Its sign.
        """
        lower, upper = (ends.clone() for ends in self.bounds[place])
        end = (lower if sign > 0 else upper).view(-1)
        end[unit] = end[unit].clamp(min=0.0) if sign > 0 else end[unit].clamp(max=0.0)
        return Region({**self.bounds, place: (lower, upper)}, self.relus, self.half_space)


@dataclass(slots=True, eq=False)
class RegionNarrowing:
    """Narrows bounds of what nonlinear layers are given by linear bounds over a region, and keeps them.

    Args:
        backward: Linear bounds, whose minimum is that over the region.
        region: What is known of the inputs.
        exact_box: Whether the threat is a box and nothing less.

    Attributes:
        bounds: What was found, by the operations' places.
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
            EmptyRegionError: If nothing lies between them, where a region is less than the threat.
        """
        known = self.region.bounds.get(operation.index)
        if known is not None:
            lower, upper = require_nonempty(*intersect((lower, upper), known))
            if operation.index in self.region.relus:
                loose = (lower < 0) & (upper > 0)
        is_whole = self.region.half_space is None
        if is_whole and (known is not None or (self.exact_box and _is_one_sum(operation))):
            # there is nothing that would narrow them further
            self.bounds[operation.index] = lower, upper
            return lower, upper
        found = self.backward.narrow(operation, lower, upper, loose) if bool(loose.any()) else (lower, upper)
        both = self.bounds[operation.index] = intersect((lower, upper), found)
        # over the whole threat bounds that cross are an alarm, which the caller raises
        return found if is_whole else require_nonempty(*both)

    def build_region(self, recording: Recording) -> Region:
        """Return the region with what is known of it now."""
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
    """Tell whether an operation follows on one layer of sums, and on nothing that is not affine.

    Intervals of it are exact over a box: each coordinate goes to its own wall.
    """
    before = operation.recording.operations
    return sum(one.mixes for one in before) <= 1 and all(one.lines is None for one in before)


def intersect(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the larger lower and the smaller upper bounds; what is not a number bounds nothing."""
    return torch.where(other[0] > one[0], other[0], one[0]), torch.where(other[1] < one[1], other[1], one[1])


def require_nonempty(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Return bounds between which something lies.

    Raises:
        EmptyRegionError: If nothing does.
    """
    if bool((lower > upper).any()):
        raise EmptyRegionError
    return lower, upper
