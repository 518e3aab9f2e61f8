r"""Privacy profiles that are given to an audit: for each epsilon the delta that goes with it.

A profile :math:`\delta(\varepsilon)` says of any two neighbors and any event that

.. math:: P(E) \le \min_\varepsilon \big(\delta(\varepsilon) + e^\varepsilon P'(E)\big), \qquad
    P(E) \le \min_\varepsilon \big(1 - e^{-\varepsilon} (1 - \delta(\varepsilon) - P'(E))\big)

(the second from the complement of E), which is the trade-off curve of the mechanism. At some epsilons only,
and with deltas that are too large, it says less, so that it refutes no mechanism that keeps to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from quintain.core.errors import SettingError
from quintain.leakage.audit.gaussian_audit import gaussian_delta, gaussian_dp_epsilon

GAUSSIAN_VALUES = (
    *(round(0.05 * step, 2) for step in range(1, 80)),
    *(round(4 + 0.1 * step, 1) for step in range(61)),
    *(round(10.25 + 0.25 * step, 2) for step in range(40)),
)
"""Epsilons of the Gaussian mechanisms that an audit by a Gaussian curve tells apart."""

_GRID = (0.0, 0.05, *(0.1 * step for step in range(1, 40)), *(4 + 0.25 * step for step in range(60)))

_ROUNDING = 1e-9
"""Deltas are raised by this, far more than their error."""


@dataclass(frozen=True, slots=True)
class ProfileFamily:
    """Profiles from more to less private: those of one mechanism with less and less noise.

    Args:
        values: For each profile, what is shown when it is refuted (n,), rising: an epsilon at the audit's
            delta that the mechanism of that noise exceeds or reaches.
        epsilons: Where the profiles are known (k,), at least 0, rising.
        deltas: Upper bounds on delta (n, k), for both directions of adjacency. A larger one than that of the
            next profile is taken for that one, too: each then allows all that those before it allow.

    Raises:
        SettingError: If shapes do not match, values do not rise, or deltas are no probabilities.
    """

    values: NDArray[np.float64]
    epsilons: NDArray[np.float64]
    deltas: NDArray[np.float64]

    def __post_init__(self) -> None:
        rising = (np.diff(self.values) > 0).all() and (np.diff(self.epsilons) > 0).all()
        if self.deltas.shape != (len(self.values), len(self.epsilons)) or not rising or not self.deltas.size:
            raise SettingError(
                f"{len(self.values)} values, {len(self.epsilons)} epsilons and deltas of shape "
                f"{self.deltas.shape}; expected rising values (n,), rising epsilons (k,) and deltas (n, k)"
            )
        if not ((self.deltas >= 0) & (self.deltas <= 1)).all() or not self.epsilons[0] >= 0:
            raise SettingError("deltas or epsilons out of range; expected 0 <= delta <= 1 and 0 <= epsilon")
        object.__setattr__(self, "deltas", np.maximum.accumulate(self.deltas))

    def __len__(self) -> int:
        return len(self.values)

    def value(self, place: int) -> float:
        """Return what is shown if the profiles up to a place are refuted; 0 for -1, where none is."""
        return float(self.values[place]) if place >= 0 else 0.0

    def least(self, place: int, probability: float) -> float:
        """Return the smallest P'(E) that the profile of a place allows where P(E) is ``probability``."""
        deltas, odds = self.deltas[place], np.exp(self.epsilons)
        allowed = np.maximum((probability - deltas) / odds, 1 - deltas - odds * (1 - probability))
        return max(0.0, float(allowed.max()))

    def most(self, place: int, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the largest P(E) that the profile of a place allows where P'(E) is each of some (j,)."""
        deltas, odds, rates = self.deltas[place], np.exp(self.epsilons), probabilities[:, None]
        return np.minimum(deltas + odds * rates, 1 - (1 - deltas - rates) / odds).min(axis=1)


def last_refuted(family: ProfileFamily, refutes: Callable[[int], bool], refuted: int = -1) -> int:
    """Return the place of the last profile that is refuted, -1 if none is.

    Each profile allows all that those before it allow, so that one that is refuted refutes those: a bisection
    finds the last. A true profile is refuted with the error of one test, whatever the number of profiles.

    Args:
        family: The profiles.
        refutes: Whether the profile of a place is refuted.
        refuted: A place that is known to be refuted.
    """
    if refuted + 1 >= len(family) or not refutes(refuted + 1):
        return refuted
    refuted, not_refuted = refuted + 1, len(family)
    while not_refuted - refuted > 1:
        middle = (refuted + not_refuted) // 2
        if refutes(middle):
            refuted = middle
        else:
            not_refuted = middle
    return refuted


@lru_cache(maxsize=8)
def gaussian_family(delta: float) -> ProfileFamily:
    """Return the profiles of Gaussian mechanisms, by their epsilons at ``delta``."""
    mus = [float(brentq(lambda mu, e=e: gaussian_delta(mu, e) - delta, 1e-6, 100)) for e in GAUSSIAN_VALUES]
    deltas = np.array([[gaussian_delta(mu, epsilon) for epsilon in _GRID] for mu in mus])
    return ProfileFamily(
        np.array([gaussian_dp_epsilon(mu, delta) for mu in mus]),
        np.array(_GRID),
        np.minimum(deltas * (1 + _ROUNDING) + _ROUNDING**2, 1.0),
    )
