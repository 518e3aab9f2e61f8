"""A property of a net as VNN-LIB states it: its violations, each a box of inputs and rows of outputs."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Row:
    r"""One inequality, :math:`\sum_j c_j Y_j + \sum_i a_i X_i \le b`, in rational numbers as written.

    Args:
        outputs: (j, c_j), sorted.
        inputs: (i, a_i), sorted.
        bound: b.
        strict: Whether it is < instead.
    """

    outputs: tuple[tuple[int, Fraction], ...]
    inputs: tuple[tuple[int, Fraction], ...]
    bound: Fraction
    strict: bool = False

    def excess(self, x: Array, y: Array) -> Fraction:
        """Return by how much the left side exceeds b at one input and its outputs, exactly."""
        left = sum((c * Fraction(float(y[j])) for j, c in self.outputs), Fraction(0))
        return left + sum((a * Fraction(float(x[i])) for i, a in self.inputs), Fraction(0)) - self.bound


@dataclass(frozen=True, slots=True)
class Violation:
    """One way to violate a property: an input of the box whose outputs keep to all rows.

    Args:
        lower, upper: Ends of the box, as written.
        rows: All that has to hold.
    """

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Property:
    """Whether some input violates what is wanted of a net: it does if one case holds.

    Args:
        num_inputs, num_outputs: Of the net, flattened in C order.
        violations: All ways to violate it; with none it cannot be violated.
    """

    num_inputs: int
    num_outputs: int
    violations: tuple[Violation, ...]


def outward_box(case: Violation, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the smallest box (n,), (n,) with ends in a type, in float64, that holds the whole box."""
    return _round(case.lower, dtype, up=False), _round(case.upper, dtype, up=True)


def inward_box(case: Violation, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the least and the largest numbers (n,), (n,) of a type inside the box, in float64.

    Where no number of the type lies between both ends, the least is above the largest.
    """
    return _round(case.lower, dtype, up=True), _round(case.upper, dtype, up=False)


@lru_cache(maxsize=256)
def _round(values: tuple[Fraction, ...], dtype: torch.dtype, *, up: bool) -> Tensor:
    kind = np.float64 if dtype == torch.float64 else np.float32
    largest = float(np.finfo(kind).max)
    found = []
    for value in values:
        # far outside of the type: its largest number, or infinity on the outer side
        near = kind(min(max(value, Fraction(-largest)), Fraction(largest)))
        with np.errstate(over="ignore"):
            if up and Fraction(float(near)) < value:
                near = np.nextafter(near, kind(np.inf))
            elif not up and Fraction(float(near)) > value:
                near = np.nextafter(near, kind(-np.inf))
        found.append(float(near))
    return torch.tensor(found, dtype=torch.float64)
