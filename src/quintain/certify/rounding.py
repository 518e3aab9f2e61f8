"""Bounds on the floating-point rounding errors of the model that runs."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError

FLOAT64_SAFETY_FACTOR = 8
"""Factor on float64's own rounding: bounds are computed in float64, with a few operations per term in each
rule.

One factor covers all of them at once, so that no rule has to count its own.
"""

PLAIN_TYPES = (Tensor, nn.Parameter, nn.Buffer)
"""Types of tensors that compute as torch documents it; subclasses may not."""


@dataclass(frozen=True, slots=True)
class RoundingModel:
    r"""Error bounds for a model's floating-point sums and products.

    A sum of :math:`n` products, in any order and with or without fused steps, differs from the exact one by
    at most

    .. math:: \gamma_n \sum_i |w_i h_i|, \qquad \gamma_n = \frac{n u}{1 - n u},

    plus what is lost below the smallest normal number t, which one device keeps in part and another takes for
    zero: t for each product, t for each partial sum, and t |h_i| where a factor of :math:`h_i` is itself
    below t.

    Args:
        unit_roundoff: u of the model that runs (2^-24 for float32); 0 for exact arithmetic.
        smallest_normal: Smallest normal number t of the model's type.
        largest_finite: Largest finite number of the model's type; a sum that may exceed it is not bounded at
            all.
        dtype: The model's type, None for exact arithmetic.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1.
    """

    unit_roundoff: float = 0.0
    smallest_normal: float = 0.0
    largest_finite: float = torch.inf
    dtype: torch.dtype | None = None

    @property
    def inexact(self) -> bool:
        """Whether the model rounds at all."""
        return self.unit_roundoff > 0

    def gamma(self, roundings: int) -> float:
        """Return gamma_n = n u / (1 - n u) for n = ``roundings``.

        An allowance for computing the bound in float64 is added.

        It is the error of a sum of products relative to the sum of absolute values; infinite from n u = 1/2
        on.
        """
        # gamma_n is defined for n u < 1; from 1/2 on give up instead of dividing by a small number.
        if roundings * self.unit_roundoff >= 0.5:
            return math.inf
        return (
            roundings * self.unit_roundoff / (1 - roundings * self.unit_roundoff)
            + FLOAT64_SAFETY_FACTOR * (roundings + 1) * 2.0**-53
        )

    def underflow_bound(self, roundings: int, factor: Tensor) -> Tensor:
        """Bound what n products and their partial sums may lose below the smallest normal number.

        Args:
            roundings: n.
            factor: Largest absolute value that is multiplied with a weight, which may itself be below the
                smallest normal number.
        """
        # t for each product and for each partial sum; t |h| for each weight below t, here doubled as well
        lost = 2 * roundings * self.smallest_normal
        return lost + lost * factor

    def error_bound(self, roundings: int, magnitude: Tensor, factor: Tensor) -> Tensor:
        """Bound the error of sums of n products whose absolute values add up to ``magnitude``.

        It is infinite where a sum may overflow.
        """
        if not self.inexact:
            return torch.zeros_like(magnitude)
        gamma = self.gamma(roundings)
        error = gamma * magnitude
        if roundings:
            error = error + self.underflow_bound(roundings, factor)
        # (1 + gamma) bounds the rounded partial sums: below the largest finite number none of them overflows.
        return torch.where(magnitude * (1 + gamma) < self.largest_finite, error, torch.inf)

    def number(self, value: float, name: str) -> float:
        """Round a Python number to the model's type, as the model does.

        Raises:
            ModelError: If it is not zero, but below the smallest normal number, where devices differ; or too
                large for the type.
        """
        if self.dtype is None:
            return float(value)
        rounded = float(torch.tensor(float(value), dtype=self.dtype))
        if value != 0 and not self.smallest_normal <= abs(value) <= self.largest_finite:
            raise ModelError(
                f"{name} uses the number {value!r}, which {self.dtype} holds as {rounded:g}: expected 0, or "
                f"a size from {self.smallest_normal:.3g} to {self.largest_finite:.3g}. Scale by a number "
                "inside that range"
            )
        return rounded

    def inverse(self, divisor: Tensor) -> Tensor:
        """Compute ``1 / divisor`` in the type of the bounds.

        Raises:
            ModelError: If the divisor or its inverse is zero, infinite or below the smallest normal number,
                where devices differ.
        """
        inverse, size = 1 / divisor, divisor.abs()
        if self.inexact and not bool(
            (
                (self.smallest_normal <= size)
                & (size <= self.largest_finite)
                & (inverse.abs() >= self.smallest_normal)
            ).all()
        ):
            raise ModelError(
                f"a division by {float(size.min()):g} to {float(size.max()):g}; expected sizes from "
                f"{self.smallest_normal:.3g} to {1 / self.smallest_normal:.3g}. Divide by numbers inside "
                "that range"
            )
        return inverse

    def require_type(self, tensor: Tensor, name: str) -> None:
        """Refuse a tensor of the net that is no plain one, or would make the model compute in another type.

        Raises:
            ModelError: With the type that it has and the one that it should have.
        """
        if type(tensor) not in PLAIN_TYPES:
            raise ModelError(
                f"{name} uses a {type(tensor).__name__}, which may compute otherwise than a plain tensor; "
                "expected a plain one"
            )
        if (
            self.dtype is not None
            and tensor.dtype != self.dtype
            and (tensor.is_floating_point() or tensor.is_complex())
        ):
            raise ModelError(
                f"{name} uses a tensor of {tensor.dtype} in a model of {self.dtype}; expected one type: "
                "convert all with net.float()"
            )


NO_ROUNDING = RoundingModel()


def rounding_model(dtype: torch.dtype) -> RoundingModel:
    """Return the rounding model of a model that runs in ``dtype``.

    Raises:
        ModelError: For anything but float32 and float64, whose sums have no rule that all devices keep.
    """
    if dtype not in {torch.float32, torch.float64}:
        raise ModelError(
            f"the model runs in {dtype}; interval bounds hold for float32 and float64. Convert it with "
            "net.float(), or certify the smoothed model, which is only asked for answers "
            "(--certifier smoothing --threat l2:0.25)"
        )
    info = torch.finfo(dtype)
    return RoundingModel(info.eps / 2, info.tiny, info.max, dtype)


def power_of_two_below(values: Tensor) -> Tensor:
    """Return the largest power of two that is at most each of the values; 1 for 0, inf and nan.

    Numbers divided by it are near 1, without any rounding: squares of numbers below 1e-162 would be 0.
    """
    mantissa = torch.frexp(values).mantissa
    return torch.where((values > 0) & values.isfinite(), values / (2 * mantissa), 1.0)
