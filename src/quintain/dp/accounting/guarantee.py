"""A guarantee with everything that it assumes, in one frozen value."""

import math
from dataclasses import dataclass
from typing import Literal

from quintain.core.rounding import bound

Sampling = Literal["poisson", "shuffle", "balls-in-bins", "full batch"]
Mechanism = Literal["gaussian", "discrete gaussian"]
Unit = Literal["record", "group", "patient", "client"]
Adjacency = Literal["add/remove", "replace", "zero-out"]

_DRAWN = {
    "poisson": "batches drawn by Poisson sampling",
    "shuffle": "shuffled batches, without amplification",
    "balls-in-bins": "each {unit} in one random step of every pass",
    "full batch": "all data in every step",
}
_NEIGHBOURS = {
    "add/remove": "adding or removing one {unit}",
    "replace": "replacing one {unit}",
    "zero-out": "blanking one {unit} out",
}


@dataclass(frozen=True, slots=True)
class Bracket:
    """Bounds on the smallest epsilon for which a mechanism is private.

    Args:
        lower: No smaller epsilon holds.
        upper: This epsilon is proved to hold.
    """

    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Guarantee:
    r"""What is proved of everything that a run has released.

    .. math:: \Pr[M(D) \in S] \le e^{\varepsilon} \Pr[M(D') \in S] + \delta \quad \text{for all } S \text{ and neighbours } D, D'

    Args:
        epsilon, delta: The claim; epsilon is an upper bound.
        lower: No smaller epsilon is true of the mechanism in the worst case; None where no lower bound is known.
        accountant: How epsilon was computed.
        adjacency: Which data sets are neighbours.
        unit: Whose presence is hidden.
        sampling: How batches were chosen; several ways joined by " and ".
        noise: "float gaussian" or "discrete gaussian".
        reproducible: Whether noise followed from a seed, so that the claim holds only against those who do not know it.
        steps: How many.
        units: How many units the data hold; the fewest, if that changed.
        fixed_beforehand: Whether all settings were fixed before the first step; that the number of steps was
            cannot be checked.
        if_fixed_beforehand: Epsilon if all settings were fixed beforehand: the claim where
            ``fixed_beforehand``.
        if_chosen_meanwhile: Epsilon if each setting was chosen after seeing earlier releases: the claim
            elsewhere.
    """

    epsilon: float
    delta: float
    lower: float | None
    accountant: str
    adjacency: Adjacency
    unit: Unit
    sampling: str
    noise: str
    reproducible: bool
    steps: int
    units: int
    fixed_beforehand: bool = True
    if_fixed_beforehand: float = math.nan
    if_chosen_meanwhile: float = math.nan

    @property
    def warnings(self) -> tuple[str, ...]:
        """What weakens the claim."""
        found = []
        if self.units and self.delta >= 1 / self.units:
            found.append(
                f"delta = {self.delta:g} is not below 1/{self.units}: publishing one random {self.unit} in full would pass; "
                "expected a smaller one"
            )
        if self.reproducible:
            found.append("noise follows from a seed: who knows it can subtract the noise")
        if not self.fixed_beforehand:
            before = bound(self.if_fixed_beforehand, up=True)
            found.append(f"settings were chosen after releases: epsilon would be {before} had they been fixed before the first")
        if math.isinf(self.epsilon):
            found.append("epsilon is infinite: no privacy")
        return tuple(found)

    @property
    def text(self) -> str:
        """The claim in one sentence."""
        drawn = " and ".join(_DRAWN[name].format(unit=self.unit) for name in self.sampling.split(" and "))
        lower = "" if self.lower is None else f" (at least {bound(self.lower, up=False)} by any accountant)"
        neighbours = _NEIGHBOURS[self.adjacency].format(unit=self.unit)
        told = f"({bound(self.epsilon, up=True)}, {self.delta:g})-differential privacy{lower} for {neighbours}"
        warned = "".join(f"; but {warning}" for warning in self.warnings)
        return f"{told}, after {self.steps} steps of {self.noise} noise on {drawn}, by {self.accountant}{warned}."
