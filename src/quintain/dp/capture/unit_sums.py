"""Per-unit gradients: weighted sums of the per-example gradients of each unit's records, before clipping."""

from functools import singledispatch

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.capture.captured_pass import CapturedPass
from quintain.dp.per_example.grads import (
    BlockGrads,
    DenseGrads,
    OuterProductGrads,
    PerExampleGrads,
    SummedGrads,
    TableRowGrads,
)
from quintain.dp.per_example.numerics import MAX_WORKING_SET
from quintain.dp.sampling.physical_batch import Indices, Weights


def group_pass_by_unit(
    captured: CapturedPass, unit_sizes: Indices, unit_weights: Weights, *, mean: bool
) -> CapturedPass:
    """A pass whose examples are privacy units, from a pass over their records; for a sum of losses.

    Args:
        captured: A pass over one physical batch.
        unit_sizes: Number of records of each unit, in order, (U,).
        unit_weights: Weight of each record of a unit, (U,).
        mean: Whether the loss was a mean over the pass' records.

    Raises:
        PrivacyError: If the pass did not hold exactly the records of these units.
    """
    rows, expected = captured.batch_size or 0, int(unit_sizes.sum())
    if rows != expected:
        raise PrivacyError(
            f"got a pass over {rows} records out of a piece of {expected}, whose units would be torn; "
            "expected one pass over each piece that the loader yields: for smaller ones, set "
            "max_physical_batch_size"
        )
    grads: dict[nn.Parameter, PerExampleGrads] = {}
    for parameter, gradient in captured.gradients.items():
        weights = torch.from_numpy(np.repeat(unit_weights, unit_sizes) * (rows if mean else 1)).to(
            parameter.device
        )
        grads[parameter] = sum_by_unit(gradient, torch.from_numpy(unit_sizes).to(parameter.device), weights)
    return CapturedPass(captured.physical_batch, grads, len(unit_sizes), consumed=True)


@singledispatch
def sum_by_unit(gradient: PerExampleGrads, unit_sizes: Tensor, weights: Tensor) -> PerExampleGrads:
    """Weighted sums of the per-example gradients of each unit, whose examples follow one another.

    Args:
        gradient: Of B examples.
        unit_sizes: Examples of each unit, (U,), adding up to B.
        weights: Of each example, (B,) float64.
    """
    return _dense(gradient.to_dense(), unit_sizes, weights)


@sum_by_unit.register
def _(gradient: OuterProductGrads, unit_sizes: Tensor, weights: Tensor) -> PerExampleGrads:
    """Outer products over all positions of a unit's examples; materialized where padding needs more room."""
    batch, positions, inputs = gradient.a.shape
    g = gradient.g * weights.to(gradient.g.dtype)[:, None, None]
    units, outputs = len(unit_sizes), g.shape[2]
    longest = int(unit_sizes.max()) if units else 1
    if units * longest == batch:  # equal units: only a reshape
        return OuterProductGrads(
            gradient.a.reshape(units, longest * positions, inputs),
            g.reshape(units, longest * positions, outputs),
        )
    # ragged units padded with zeros, if that takes less room than the gradients themselves
    if longest * positions * (inputs + outputs) <= inputs * outputs:
        unit, position = _unit_and_position(unit_sizes)
        padded = []
        for side in (gradient.a, g):
            rows = side.new_zeros(units, longest, positions, side.shape[2])
            rows[unit, position] = side
            padded.append(rows.flatten(1, 2))
        return OuterProductGrads(*padded)
    # else materialized a slice at a time and added up by unit
    sums = g.new_zeros(units, outputs, inputs)
    size = max(1, MAX_WORKING_SET // (inputs * outputs))
    for unit, part_a, part_g in zip(
        _unit_and_position(unit_sizes)[0].split(size), gradient.a.split(size), g.split(size), strict=True
    ):
        sums.index_add_(0, unit, torch.bmm(part_g.mT, part_a))
    return DenseGrads(sums)


@sum_by_unit.register
def _(gradient: TableRowGrads, unit_sizes: Tensor, weights: Tensor) -> PerExampleGrads:
    unit = _unit_and_position(unit_sizes)[0][gradient.example]
    unique, position = (unit * gradient.shape[0] + gradient.table_row).unique(return_inverse=True)
    weighted = gradient.gradient * weights.to(gradient.gradient.dtype)[gradient.example, None]
    summed = weighted.new_zeros(len(unique), gradient.shape[1]).index_add(0, position, weighted)
    return TableRowGrads(
        unique // gradient.shape[0], unique % gradient.shape[0], summed, len(unit_sizes), gradient.shape
    )


@sum_by_unit.register
def _(gradient: BlockGrads, unit_sizes: Tensor, weights: Tensor) -> PerExampleGrads:
    return BlockGrads([sum_by_unit(part, unit_sizes, weights) for part in gradient.parts])


@sum_by_unit.register
def _(gradient: SummedGrads, unit_sizes: Tensor, weights: Tensor) -> PerExampleGrads:
    return SummedGrads([sum_by_unit(part, unit_sizes, weights) for part in gradient.parts])


def _dense(rows: Tensor, unit_sizes: Tensor, weights: Tensor) -> DenseGrads:
    weighted = rows * weights.to(rows.dtype).view(-1, *(1 for _ in rows.shape[1:]))
    return DenseGrads(
        rows.new_zeros(len(unit_sizes), *rows.shape[1:]).index_add(
            0, _unit_and_position(unit_sizes)[0], weighted
        )
    )


def _unit_and_position(unit_sizes: Tensor) -> tuple[Tensor, Tensor]:
    """For each example its unit, and its position within the unit."""
    units = torch.arange(len(unit_sizes), device=unit_sizes.device)
    unit = units.repeat_interleave(unit_sizes)
    return unit, torch.arange(len(unit), device=unit_sizes.device) - (unit_sizes.cumsum(0) - unit_sizes)[unit]
