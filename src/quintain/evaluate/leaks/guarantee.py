"""What a claimed privacy allows attackers to find out: the upper side of a leak."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from quintain.core.errors import SettingError
from quintain.dp.accounting import ADJACENCY, delta_curve
from quintain.leakage import EpsilonDelta
from quintain.results.privacy_records import PrivacyPlan

EPSILONS = tuple(np.concatenate([np.linspace(0, 4, 81), np.linspace(4.25, 12, 32)]).tolist())
"""At which the accountant's curve is read: each gives a valid limit, and the least counts."""


@dataclass(frozen=True)
class PrivacyGuarantee:
    r"""The privacy that is claimed for each training example, as limits on what attackers find out.

    .. math:: T(f) = \min_\varepsilon \min\{e^\varepsilon f + \delta(\varepsilon),\;
              1 - e^{-\varepsilon} (1 - \delta(\varepsilon) - f)\}

    for a test whose false-positive rate is f, with the accountant's curve of delta where the plan is known.

    Args:
        epsilon, delta: Of the claim.
        source: Where it is from, such as ``the accountant's trade-off curve``.
        curve: From epsilon to the smallest proved delta; that of the one pair if not given.
        unit: Whose presence is hidden.

    Guarantee: no attack on what training released, with whatever knowledge, finds more members on average
    over trainings, if the claim holds and each candidate is a member or not independently of the others.

    Source: Dong, Roth and Su, 2022, arXiv:1905.02383; Kairouz, Oh and Viswanath, 2015, arXiv:1311.0776.

    Raises:
        SettingError: If epsilon or delta is out of its range.
    """

    epsilon: float
    delta: float
    source: str
    curve: Callable[[float], float] | None = field(default=None, compare=False, repr=False)
    unit: str = "example"

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < math.inf:
            raise SettingError(f"got a claim of epsilon {self.epsilon}; expected a finite number from 0 up")
        if not 0 <= self.delta < 1:
            raise SettingError(f"got delta {self.delta}; expected a number from 0 up and below 1")

    @classmethod
    def of_plan(cls, plan: PrivacyPlan, *, unit: str = "example") -> "PrivacyGuarantee":
        """Return what the plan of a private training allows, by the accountant's whole curve."""
        return cls(
            plan.epsilon,
            plan.delta,
            f"the accountant's trade-off curve (epsilon {plan.epsilon:.3g} at delta {_plain(plan.delta)}, "
            f"{ADJACENCY})",
            delta_curve(plan.noise_multiplier, plan.sample_rate, plan.steps),
            unit,
        )

    @classmethod
    def from_claim(cls, epsilon: float, delta: float) -> "PrivacyGuarantee":
        """Return the guarantee of a claimed (epsilon, delta), of which no more is known."""
        return cls(epsilon, delta, f"the claim of epsilon {epsilon:g} at delta {_plain(delta)}")

    @cached_property
    def pairs(self) -> tuple[EpsilonDelta, ...]:
        """Pairs (epsilon, delta) that hold together."""
        own = EpsilonDelta(self.epsilon, self.delta)
        if self.curve is None:
            return (own,)
        return (own, *(EpsilonDelta(one, self.curve(one)) for one in EPSILONS))

    def max_tpr(self, fpr: float) -> float:
        """Return the largest true-positive rate at a false-positive rate."""
        return min(pair(fpr) for pair in self.pairs)

    @property
    def max_advantage(self) -> float:
        """The largest difference of the two rates."""
        return min(pair.max_advantage for pair in self.pairs)


def _plain(delta: float) -> str:
    return f"{delta:g}".replace("e-0", "e-")
