"""A guarantee with everything that it assumes, in one frozen value."""

import math
from dataclasses import dataclass
from typing import Literal

from quintain.core.rounding import bound

LoaderSampling = Literal["poisson", "shuffle", "balls-in-bins"]
Sampling = Literal[LoaderSampling, "full batch"]
Mechanism = Literal["gaussian", "discrete gaussian"]
PrivacyUnit = Literal["record", "group", "patient", "client"]
Adjacency = Literal["add/remove", "replace", "zero-out"]

_SAMPLING_TEXT = {
    "poisson": "batches drawn by Poisson sampling",
    "shuffle": "shuffled batches, without amplification",
    "balls-in-bins": "each {unit} in one random step of every epoch",
    "full batch": "all data in every step",
}
_ADJACENCY_TEXT = {
    "add/remove": "adding or removing one {unit}",
    "replace": "replacing one {unit}",
    "zero-out": "blanking one {unit} out",
}


@dataclass(frozen=True, slots=True)
class EpsilonBounds:
    """Lower and upper bound on the smallest epsilon for which a mechanism is private.

    Args:
        lower: No smaller epsilon holds.
        upper: This epsilon is proved to hold.
    """

    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Guarantee:
    r"""The privacy guarantee that is proved of everything that a run has released.

    .. math:: \Pr[M(D) \in S] \le e^{\varepsilon} \Pr[M(D') \in S] + \delta
        \quad \text{for all } S \text{ and neighbors } D, D'

    Args:
        epsilon, delta: The claim; epsilon is an upper bound.
        epsilon_lower: No smaller epsilon holds in the worst case; None where no lower bound is known.
        accountant: How epsilon was computed.
        adjacency: Which data sets are neighbors.
        unit: Privacy unit: whose presence is hidden.
        sampling: How batches were sampled; several ways joined by " and ".
        noise: "float gaussian" or "discrete gaussian".
        reproducible: Whether noise followed from a seed, so that the claim holds only against those who do
            not know it.
        steps: Number of steps.
        num_units: How many units the data hold; the fewest, if that changed.
        fixed_beforehand: Whether all settings were fixed before the first step; that the number of steps was
            cannot be checked.
        epsilon_if_fixed_beforehand: Epsilon if all settings were fixed beforehand: the claim where
            ``fixed_beforehand``.
        epsilon_if_adaptive: Epsilon if each setting was chosen after seeing earlier releases: the claim
            elsewhere.
    """

    epsilon: float
    delta: float
    epsilon_lower: float | None
    accountant: str
    adjacency: Adjacency
    unit: PrivacyUnit
    sampling: str
    noise: str
    reproducible: bool
    steps: int
    num_units: int
    fixed_beforehand: bool = True
    epsilon_if_fixed_beforehand: float = math.nan
    epsilon_if_adaptive: float = math.nan

    @property
    def warnings(self) -> tuple[str, ...]:
        """What weakens the claim."""
        warnings = []
        if self.num_units and self.delta >= 1 / self.num_units:
            warnings.append(
                f"delta = {self.delta:g} is not below 1/{self.num_units}: publishing one random {self.unit} "
                "in full would pass; expected a smaller one"
            )
        if self.reproducible:
            warnings.append("noise follows from a seed: who knows it can subtract the noise")
        if not self.fixed_beforehand:
            before = bound(self.epsilon_if_fixed_beforehand, up=True)
            warnings.append(
                f"settings were chosen after releases: epsilon would be {before} had they been fixed before "
                "the first"
            )
        if math.isinf(self.epsilon):
            warnings.append("epsilon is infinite: no privacy")
        return tuple(warnings)

    @property
    def text(self) -> str:
        """The claim in one sentence."""
        batches = " and ".join(
            _SAMPLING_TEXT[name].format(unit=self.unit) for name in self.sampling.split(" and ")
        )
        lower = (
            ""
            if self.epsilon_lower is None
            else f" (at least {bound(self.epsilon_lower, up=False)} by any accountant)"
        )
        neighbors = _ADJACENCY_TEXT[self.adjacency].format(unit=self.unit)
        claim = (
            f"({bound(self.epsilon, up=True)}, {self.delta:g})-differential privacy{lower} for {neighbors}"
        )
        warnings = "".join(f"; but {warning}" for warning in self.warnings)
        return (
            f"{claim}, after {self.steps} steps of {self.noise} noise on {batches}, by "
            f"{self.accountant}{warnings}."
        )
