r"""Proofs that a property holds: linear bounds on each row of a violation, over its box and over parts of it.

A violation needs all of its rows; it is refuted over a box where one of them is,

.. math:: \min_{x \in box} \; c \cdot f(x) + a \cdot x - b > 0,

and the property is proven where that is so of every violation. The box is that of the inputs as written,
rounded outward to the model's type; the bounds hold for the model that runs, its rounding included, and in
exact arithmetic, too. What is not finite proves nothing.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction

import torch
from torch import Tensor, nn

from quintain.certify.conditions import require_bounded_rounding, require_own_type, require_readable
from quintain.certify.interval.certifier import cast_input
from quintain.certify.interval.domain import Interval
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.interval.recording import Operation, Recording
from quintain.certify.linear.backward import BackwardBounds, Minimum, Tables
from quintain.certify.linear.half_space import CutMinimum
from quintain.certify.linear.region import Region, RegionNarrowing, intersect
from quintain.certify.rounding import FLOAT64_SAFETY_FACTOR, rounding_model
from quintain.core.errors import DataError
from quintain.verify.properties import Row
from quintain.verify.tightening import narrow_by_slopes

FLOAT64_UNIT = 2.0**-53
WHOLE = Region()
"""All of a box."""

LARGEST_NUMBER = Fraction(10) ** 300
"""Of a property, so that sums of them are finite in float64."""


class FlatOutputs(nn.Module):
    """A net as a function of rows (B, n) of inputs in C order to rows (B, m) of outputs.

    Args:
        net: The net.
        shape: Of one input.
    """

    def __init__(self, net: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        self.net, self.shape = net, tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of each row."""
        return self.net(x.reshape(x.shape[0], *self.shape)).flatten(1)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Inequalities as matrices, in float64: they keep ``outputs @ y + inputs @ x - bounds`` to 0 or less.

    Args:
        outputs, inputs: (R, m) and (R, n).
        bounds: (R,).
    """

    outputs: Tensor
    inputs: Tensor
    bounds: Tensor

    @staticmethod
    def of(rows: Sequence[Row], num_inputs: int, num_outputs: int) -> "Rows":
        """Return the matrices of some rows.

        Raises:
            DataError: If one has a number that float64 does not hold.
        """
        outputs = torch.zeros(len(rows), num_outputs, dtype=torch.float64)
        inputs = torch.zeros(len(rows), num_inputs, dtype=torch.float64)
        for number, row in enumerate(rows):
            for matrix, slopes in ((outputs, row.outputs), (inputs, row.inputs)):
                for at, slope in slopes:
                    matrix[number, at] = _number(slope)
        return Rows(outputs, inputs, torch.tensor([_number(row.bound) for row in rows], dtype=torch.float64))

    @staticmethod
    def concatenate(parts: "Sequence[Rows]") -> "Rows":
        """Return all rows of some parts in one."""
        return Rows(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(Rows)))

    def row(self, at: int) -> "Rows":
        """Return one row by itself."""
        return Rows(self.outputs[at : at + 1], self.inputs[at : at + 1], self.bounds[at : at + 1])


def _number(value: Fraction) -> float:
    if abs(value) > LARGEST_NUMBER:
        raise DataError("the property has a number beyond float64's; expected smaller ones")
    return float(value)


@dataclass(frozen=True, slots=True, eq=False)
class Prover:
    """Linear bounds of one net over boxes.

    Args:
        traced: The net's operations, from rows of inputs to rows of outputs.
        net: The net, whose type decides how it rounds.
        dtype: That type.
        tables: Jacobians that all boxes have in common, in float64 and in float32.
    """

    traced: TracedNetwork
    net: nn.Module
    dtype: torch.dtype
    tables: dict[torch.dtype, Tables] = field(default_factory=dict)

    @staticmethod
    def of(net: nn.Module, shape: Sequence[int], dtype: torch.dtype) -> "Prover":
        """Trace a net in evaluation mode.

        Raises:
            ModelError: For a layer or an operation without a bound rule, by name, and for settings under
                which operations round more than their type does.
        """
        flat = FlatOutputs(net, shape).eval()
        require_readable(flat)
        require_own_type(flat)
        device = torch.device("cpu")

        def check() -> None:
            require_bounded_rounding(flat, device, dtype)

        check()
        traced = TracedNetwork.trace(flat, check)
        if traced.convolves:
            require_bounded_rounding(flat, device, dtype, has_convolutions=True)
        return Prover(traced, flat, dtype)

    def lower(self, lower: Tensor, upper: Tensor, rows: Rows) -> Tensor:
        """Return lower bounds (R,) of rows over one box (n,), (n,), in float64; -inf where there are none."""
        with torch.no_grad():
            backward, output, _ = self.region_bounds(lower, upper, rows)
            found = backward.lower(output, torch.eye(len(rows.bounds), dtype=torch.float64))
        return torch.where(found.isfinite(), found, -torch.inf)

    def region_bounds(
        self,
        lower: Tensor,
        upper: Tensor,
        rows: Rows,
        region: Region = WHOLE,
        *,
        narrow: bool = True,
        until: float = -math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> tuple[BackwardBounds, Operation, Region]:
        """Return the recorded operations over a part of a box, the one that gives the rows (1, R), and the
        part with what is known of it then.

        Args:
            lower, upper: Ends of the box (n,), in float64; in float32 what comes of it is for search alone.
            rows: The rows.
            region: The part, and what is known of it.
            narrow: Whether the bounds of nonlinear layers' inputs are linear ones, too.
            until: Until when, on the clock, slopes are searched for that narrow these further.
            clock: Seconds.

        Raises:
            EmptyRegionError: If no input is left in the part.
        """
        low, high = lower[None], upper[None]
        recording = Recording()
        middle, half = (low + high) / 2, (high - low) / 2
        # of a sum and a difference of two numbers each rounds once
        half = half + 4 * FLOAT64_UNIT * torch.maximum(low.abs(), high.abs())
        terms = torch.maximum(low.abs(), high.abs()) + (high - low)
        minimum: Minimum = _BoxMinimum(middle.flatten(), half.flatten())
        if region.half_space is not None:
            ends = (middle - half).flatten(), (middle + half).flatten()
            minimum = CutMinimum(minimum, region.half_space, low.shape[1:], ends)
        backward = BackwardBounds(recording, minimum, self.tables.setdefault(lower.dtype, Tables()))
        narrowing = RegionNarrowing(backward, region, exact_box=True)

        def refine(
            operation: Operation, below: Tensor, above: Tensor, loose: Tensor
        ) -> tuple[Tensor, Tensor]:
            found = narrowing(operation, below, above, loose)
            found = narrow_by_slopes(backward, operation, *found, until, clock)
            narrowing.bounds[operation.index] = intersect(narrowing.bounds[operation.index], found)
            return found

        if narrow:
            recording.refine = refine if until > -math.inf else narrowing
        rounding = rounding_model(self.dtype)
        start = Interval(middle, half, operation=recording.add_input(terms))
        is_proof = lower.dtype == torch.float64 and region is WHOLE
        points = torch.stack([lower, (lower + upper) / 2, upper]).to(self.dtype)
        outputs = self.traced.logit_bounds(
            cast_input(start, rounding),
            rounding,
            observed=self.traced.observe(points) if is_proof else None,
        )
        assert outputs.operation is not None
        output = _rows_operation(recording, outputs, start, rows)
        return backward, output, narrowing.build_region(recording)


def _rows_operation(recording: Recording, outputs: Interval, inputs: Interval, rows: Rows) -> Operation:
    """Record the rows (1, R) as the last operation, affine in outputs and inputs.

    It has two sources, so that its Jacobian is never kept in the ``tables`` that other rows share.
    """
    by_output, by_input, bounds = (
        part.to(outputs.center.dtype) for part in (rows.outputs, rows.inputs, rows.bounds)
    )

    def f(y: Tensor, x: Tensor) -> Tensor:
        return y @ by_output.T + x @ by_input.T - bounds

    terms = outputs.magnitude @ by_output.abs().T + inputs.magnitude @ by_input.abs().T + bounds.abs()
    # the numbers as written were rounded to float64 once each
    error = FLOAT64_SAFETY_FACTOR * FLOAT64_UNIT * terms
    sources = tuple(part.operation for part in (outputs, inputs) if part.operation is not None)
    return recording.add_affine(sources, f, error, terms, mixes=True)


@dataclass(frozen=True, slots=True, eq=False)
class _BoxMinimum:
    """Least values of linear functions over a box ``middle +- half`` (n,); the caller charges rounding."""

    middle: Tensor
    half: Tensor

    def __call__(self, rows: Tensor, *, columns: Tensor | None = None) -> Tensor:
        if columns is None:
            flat = rows.flatten(1)
            return flat @ self.middle - flat.abs() @ self.half
        return (rows * self.middle[columns]).sum(1) - (rows.abs() * self.half[columns]).sum(1)
