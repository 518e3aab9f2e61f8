"""What an audit of privacy returns: a lower bound on epsilon, and the largest that it could have been."""

from collections.abc import Callable
from dataclasses import dataclass

from quintain.core.errors import SettingError
from quintain.results.bounds import Bound
from quintain.results.evidence import ConfidenceLevels
from quintain.results.quantity import Basis, Metric, Quantity, Side

EXTRA_CONFIDENCES = (0.95, 0.99, 0.999, 1 - 1e-6, 1 - 1e-8)
"""Confidences at which every bound is computed, besides the requested one."""


@dataclass(frozen=True, slots=True)
class EpsilonAudit:
    """The bound of one audit, and the largest one that it could have given.

    Args:
        bound: The lower bound on epsilon, at the requested confidence and at the higher ones.
        max_auditable_epsilon: The largest bound that scores of so many canaries (or runs) can give: no audit
            of this size can contradict a larger claim.
        canaries: How many scores there are: canaries of one run, or runs with one canary each.
        confidence: Of the bound's value.
    """

    bound: Bound
    max_auditable_epsilon: float
    canaries: int
    confidence: float

    @property
    def epsilon(self) -> float:
        """The bound's value."""
        return self.bound.value


def epsilon_quantity(quantity: Quantity | None, delta: float) -> Quantity:
    """Return what is bounded; the epsilon of one record under add/remove adjacency if not given.

    Raises:
        SettingError: If the quantity has another delta.
    """
    if quantity is None:
        return Quantity(Metric.EPSILON, delta=delta, adjacency="add/remove", privacy_unit="record")
    if quantity.delta != delta:
        raise SettingError(
            f"delta = {delta}, but the quantity has delta = {quantity.delta}; give the same one to both"
        )
    return quantity


def epsilon_bound(
    epsilon_at: Callable[[float], float],
    quantity: Quantity,
    confidence: float,
    *,
    method: str,
    assumptions: tuple[str, ...],
) -> Bound:
    """Return a lower bound on epsilon with its value at a confidence and at the higher ones.

    Args:
        epsilon_at: The bound at a confidence; none at a higher one is larger.
        quantity: What is bounded.
        confidence: Of the bound's value.
        method, assumptions: As in ``Bound``.
    """
    confidences = (confidence, *(level for level in EXTRA_CONFIDENCES if level > confidence))
    levels: list[float] = []
    for level in confidences:
        levels.append(epsilon_at(level) if not levels or levels[-1] > 0 else 0.0)
    return Bound(
        quantity,
        Side.LOWER,
        levels[0],
        Basis.STATISTICAL,
        ConfidenceLevels(confidences, tuple(levels)),
        method=method,
        assumptions=assumptions,
    )
