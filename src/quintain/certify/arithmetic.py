"""What rounding may add to an exact value."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.core.errors import ModelError

SPARE = 8
"""How many times over the float64 rounding of the bound itself is covered, so that every rule need not count its own operations."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    r"""The error of a model's floating-point operations, to first principles.

    A sum of :math:`n` products, in any order and with or without fused steps, differs from the exact one by at most

    .. math:: \gamma_n \sum_i |w_i h_i|, \qquad \gamma_n = \frac{n u}{1 - n u},

    plus what the products lose below the smallest normal number.

    Args:
        unit: Unit roundoff u of the model that runs (2^-24 for float32); 0 for exact arithmetic.
        tiny: Smallest normal number of the model's type.
        huge: Largest finite number of the model's type; a sum whose terms may exceed it is not bounded at all.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1.
    """

    unit: float = 0.0
    tiny: float = 0.0
    huge: float = torch.inf

    @property
    def rounds(self) -> bool:
        """Whether there is any error to count."""
        return self.unit > 0

    def gamma(self, terms: int) -> float:
        """The share of a sum's absolute values that ``terms`` products may lose, and the bound itself in float64; infinite for too many."""
        if terms * self.unit >= 0.5:
            return math.inf
        return terms * self.unit / (1 - terms * self.unit) + SPARE * (terms + 1) * 2.0**-53

    def slack(self, terms: int, magnitude: Tensor) -> Tensor:
        """Largest error of sums of ``terms`` products whose absolute values add up to ``magnitude``; infinite where it may overflow."""
        if not self.rounds:
            return torch.zeros_like(magnitude)
        gamma = self.gamma(terms)
        error = gamma * magnitude + terms * self.tiny
        return torch.where(magnitude * (1 + gamma) < self.huge, error, torch.inf)


EXACT = Arithmetic()


def deployed(dtype: torch.dtype) -> Arithmetic:
    """The arithmetic of a model that runs in ``dtype``.

    Raises:
        ModelError: For anything but float32 and float64, whose sums have no rule that all devices keep.
    """
    if dtype not in {torch.float32, torch.float64}:
        raise ModelError(f"the model runs in {dtype}; interval bounds hold for float32 and float64. Convert it with net.float()")
    info = torch.finfo(dtype)
    return Arithmetic(info.eps / 2, info.tiny, info.max)
