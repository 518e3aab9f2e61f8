"""Gradients of units from those of their records, in whatever form these are: the sum comes before the clip."""

from functools import singledispatch

import numpy as np
import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.draws.pieces import Indices, Shares
from quintain.dp.gradients.forms import Blocks, Dense, Outer, PerExample, Rows, Sum
from quintain.dp.gradients.numbers import KEPT
from quintain.dp.gradients.passes import Pass


def grouped(turn: Pass, counts: Indices, shares: Shares, *, mean: bool) -> Pass:
    """A pass whose examples are units, from one over their records; its gradients are those of a sum of losses.

    Args:
        turn: A pass over one piece of a batch.
        counts: Records of each unit in turn, (U,).
        shares: What each of a unit's records counts, (U,).
        mean: Whether the loss was a mean over the pass' records.

    Raises:
        PrivacyError: If the pass did not hold the records of these units.
    """
    rows, expected = turn.batch or 0, int(counts.sum())
    if rows != expected:
        raise PrivacyError(
            f"got a pass over {rows} records out of a piece of {expected}, whose units would be torn; expected one pass over each piece "
            "that the loader yields: for smaller ones, set max_physical_batch"
        )
    found: dict[nn.Parameter, PerExample] = {}
    for parameter, gradient in turn.gradients.items():
        weights = torch.from_numpy(np.repeat(shares, counts) * (rows if mean else 1)).to(parameter.device)
        found[parameter] = gathered(gradient, torch.from_numpy(counts).to(parameter.device), weights)
    return Pass(turn.draw, found, len(counts), taken=True)


@singledispatch
def gathered(gradient: PerExample, counts: Tensor, weights: Tensor) -> PerExample:
    """Gradients of units: the weighted sums of those of their examples, which follow one another.

    Args:
        gradient: Of B examples.
        counts: Examples of each unit, (U,), adding up to B.
        weights: Of each example, (B,) float64.
    """
    return _dense(gradient.dense(), counts, weights)


@gathered.register
def _(gradient: Outer, counts: Tensor, weights: Tensor) -> PerExample:
    """Positions of all of a unit's examples, in a row; built, where filling up to the longest row would need more room."""
    batch, positions, inputs = gradient.a.shape
    g = gradient.g * weights.to(gradient.g.dtype)[:, None, None]
    units, outputs = len(counts), g.shape[2]
    longest = int(counts.max()) if units else 1
    if units * longest == batch:
        return Outer(gradient.a.reshape(units, longest * positions, inputs), g.reshape(units, longest * positions, outputs))
    if longest * positions * (inputs + outputs) <= inputs * outputs:
        owner, place = _places(counts)
        filled = []
        for side in (gradient.a, g):
            rows = side.new_zeros(units, longest, positions, side.shape[2])
            rows[owner, place] = side
            filled.append(rows.flatten(1, 2))
        return Outer(*filled)
    built = g.new_zeros(units, outputs, inputs)
    size = max(1, KEPT // (inputs * outputs))
    for owner, part_a, part_g in zip(_places(counts)[0].split(size), gradient.a.split(size), g.split(size), strict=True):
        built.index_add_(0, owner, torch.bmm(part_g.mT, part_a))
    return Dense(built)


@gathered.register
def _(gradient: Rows, counts: Tensor, weights: Tensor) -> PerExample:
    owner = _places(counts)[0][gradient.owner]
    unique, place = (owner * gradient.shape[0] + gradient.row).unique(return_inverse=True)
    weighted = gradient.gradient * weights.to(gradient.gradient.dtype)[gradient.owner, None]
    summed = weighted.new_zeros(len(unique), gradient.shape[1]).index_add(0, place, weighted)
    return Rows(unique // gradient.shape[0], unique % gradient.shape[0], summed, len(counts), gradient.shape)


@gathered.register
def _(gradient: Blocks, counts: Tensor, weights: Tensor) -> PerExample:
    return Blocks([gathered(part, counts, weights) for part in gradient.parts])


@gathered.register
def _(gradient: Sum, counts: Tensor, weights: Tensor) -> PerExample:
    return Sum([gathered(part, counts, weights) for part in gradient.parts])


def _dense(rows: Tensor, counts: Tensor, weights: Tensor) -> Dense:
    weighted = rows * weights.to(rows.dtype).view(-1, *(1 for _ in rows.shape[1:]))
    return Dense(rows.new_zeros(len(counts), *rows.shape[1:]).index_add(0, _places(counts)[0], weighted))


def _places(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Of each example: its unit, and its place in it."""
    units = torch.arange(len(counts), device=counts.device)
    owner = units.repeat_interleave(counts)
    return owner, torch.arange(len(owner), device=counts.device) - (counts.cumsum(0) - counts)[owner]
