"""Clipping methods: the factors that bound the gradients of examples, from their norms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Protocol, SupportsFloat, TypeGuard, cast

import numpy as np
import torch
from torch import Tensor

from quintain.core.errors import SettingError


class ClippingMethod(Protocol):
    """A clipping method: how the gradients of examples are bounded."""

    @property
    def sensitivity(self) -> float:
        """The Euclidean bound on what one record adds to the sum, to which noise is scaled."""

    def with_sensitivity(self, sensitivity: float) -> "ClippingMethod":
        """The same method with another bound; noise is then scaled to that."""

    def clip_factors(self, norms: Tensor, finfo: torch.finfo) -> Tensor:
        """The factors of gradients with these norms (P, B), float64.

        (P, B) by parameter in the order of the optimizer, or (B,) for all parameters alike.
        """


@dataclass(frozen=True, slots=True)
class FlatClipping:
    """Flat clipping: the norm over all parameters together.

    Args:
        max_grad_norm: C.

    Source: Abadi et al., 2016, arXiv:1607.00133.
    """

    max_grad_norm: float

    def __post_init__(self) -> None:
        check_bound(self.max_grad_norm)

    @property
    def sensitivity(self) -> float:
        return self.max_grad_norm

    def with_sensitivity(self, sensitivity: float) -> "FlatClipping":
        return replace(self, max_grad_norm=sensitivity)

    def clip_factors(self, norms: Tensor, finfo: torch.finfo) -> Tensor:
        return flat_clip_factors(global_norms(norms), self.max_grad_norm, finfo)


@dataclass(frozen=True, slots=True)
class PerLayerClipping:
    r"""Clipping of each parameter by itself (Opacus: per layer); one record adds at most :math:`\sqrt{\sum_k
    C_k^2}`.

    Args:
        max_grad_norms: C for each parameter, in the order of the optimizer.
    """

    max_grad_norms: tuple[float, ...]

    def __post_init__(self) -> None:
        for bound in self.max_grad_norms:
            check_bound(bound)

    @property
    def sensitivity(self) -> float:
        return math.hypot(*self.max_grad_norms)

    def with_sensitivity(self, sensitivity: float) -> "PerLayerClipping":
        return PerLayerClipping(
            tuple(bound * sensitivity / self.sensitivity for bound in self.max_grad_norms)
        )

    def clip_factors(self, norms: Tensor, finfo: torch.finfo) -> Tensor:
        return torch.stack(
            [
                flat_clip_factors(norm, bound, finfo)
                for norm, bound in zip(norms, self.max_grad_norms, strict=True)
            ]
        )


@dataclass(frozen=True, slots=True)
class AutomaticClipping:
    r"""Automatic clipping: every gradient is normalized, :math:`f_i = C / (n_i + \gamma)`.

    C then scales the step like the learning rate, and needs no search.

    Args:
        max_grad_norm: C, which no clipped gradient reaches.
        stability: gamma.

    Source: Bu et al., 2023, arXiv:2206.07136.
    """

    max_grad_norm: float
    stability: float = 0.01

    def __post_init__(self) -> None:
        check_bound(self.max_grad_norm)
        if not self.stability > 0:
            raise SettingError(f"got stability = {self.stability}; expected a positive number, such as 0.01")

    @property
    def sensitivity(self) -> float:
        return self.max_grad_norm

    def with_sensitivity(self, sensitivity: float) -> "AutomaticClipping":
        return replace(self, max_grad_norm=sensitivity)

    def clip_factors(self, norms: Tensor, finfo: torch.finfo) -> Tensor:
        shrunk = self.max_grad_norm * (1 - 4 * finfo.eps) / (global_norms(norms) + self.stability)
        return torch.where(shrunk.isfinite() & (shrunk >= finfo.tiny), shrunk, 0)


def as_clipping_method(max_grad_norm: float | Sequence[float] | ClippingMethod) -> ClippingMethod:
    """Convert ``max_grad_norm``: a number means flat clipping, a sequence per-parameter clipping.

    A clipping method is returned as it is.
    """
    if is_number(max_grad_norm):
        return FlatClipping(float(max_grad_norm))
    return (
        PerLayerClipping(tuple(map(float, max_grad_norm)))
        if isinstance(max_grad_norm, Sequence)
        else cast(ClippingMethod, max_grad_norm)
    )


def is_number(bound: object) -> TypeGuard[SupportsFloat]:
    """Whether the value is one number, of Python, NumPy or torch."""
    return isinstance(bound, Real) or (isinstance(bound, (Tensor, np.ndarray)) and bound.ndim == 0)


def check_bound(bound: float) -> None:
    """Raise unless ``bound`` is positive."""
    if not bound > 0:
        raise SettingError(f"got max_grad_norm = {bound}; expected a positive number, such as 1.0")


def global_norms(norms: Tensor) -> Tensor:
    """The norms over all parameters, (B,), from those of each parameter, (P, B)."""
    return norms.square().sum(0).sqrt()


def flat_clip_factors(norms: Tensor, max_grad_norm: float, finfo: torch.finfo) -> Tensor:
    r"""The factors that clip gradients of these norms to ``max_grad_norm``, (B,) float64.

    .. math:: f_i = \min(1, C / n_i), \qquad f_i = 0 \text{ where } n_i \text{ is not finite}

    Rounded down by a few units of ``finfo`` (that of the gradients), so that no norm comes out above C (1 +
    1e-6); also 0 where it is too small to be told exactly in that precision.
    """
    # 1 - 4 eps: the product of factor and gradient, rounded, stays within C
    shrunk = (max_grad_norm * (1 - 4 * finfo.eps) / norms).clamp(max=1)
    return torch.where(norms.isfinite() & (shrunk >= finfo.tiny), shrunk, 0)
