"""Half a claim is a bound, a whole one is a bracket."""

import math
from dataclasses import dataclass
from enum import StrEnum

from quintain.core import rounding
from quintain.core.errors import SettingError
from quintain.core.statistics import binomial_tail, check_confidence
from quintain.results.evidence import Counted, Evidence, Levels
from quintain.results.quantity import Basis, Kind, Quantity, Side
from quintain.results.verdict import Answer, Verdict

CHANCE = 1e-6
"""A crossing that chance explains with less than this probability is a contradiction."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One side of a quantity.

    Args:
        of: What is bounded.
        side: LOWER or UPPER.
        value: The bound: on these examples where it is counted, at its first confidence where it is a level.
        basis: What it rests on.
        evidence: What it can be worked out from again.
        method: How it was found, such as ``interval bounds``.
        assumes: What must be true for it to hold.
    """

    of: Quantity
    side: Side
    value: float
    basis: Basis
    evidence: Evidence = None
    method: str = ""
    assumes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        low, high = self.of.kind.ends
        if math.isnan(self.value) or not low <= self.value <= high:
            raise SettingError(f"a {self.of.kind} of {self.value}; expected a number in [{low}, {high}]")

    @classmethod
    def trivial(cls, of: Quantity, side: Side) -> "Bound":
        """What is true without looking."""
        return cls(of, side, of.kind.ends[side is Side.UPPER], Basis.TRIVIAL, method="nothing known")

    @property
    def has_chance(self) -> bool:
        """Whether it speaks of a population or rests on draws, so that it holds with a confidence only."""
        return self.evidence is not None

    def at(self, confidence: float) -> float:
        """The bound on the population, or on the mechanism, at a one-sided confidence."""
        check_confidence(confidence)
        match self.evidence:
            case Counted() as counted:
                return counted.on_population(self.side, confidence)
            case Levels() as levels:
                return levels.at(confidence, self.of.kind.ends[self.side is Side.UPPER])
        return self.value

    def on_sample(self, confidence: float) -> float:
        """The bound on these very examples: chance is that of the verdicts alone."""
        return self.evidence.on_sample(self.side, confidence) if isinstance(self.evidence, Counted) else self.at(confidence)


class Status(StrEnum):
    """How the two sides of a bracket stand to each other."""

    CONSISTENT = "CONSISTENT"
    SUSPECT = "SUSPECT"
    CONTRADICTION = "CONTRADICTION"


@dataclass(frozen=True, slots=True)
class Bracket:
    """Both sides of one quantity.

    Args:
        lower: From below: proved accuracy, audited epsilon.
        upper: From above: accuracy under attack, accounted epsilon.
        baseline: What a constant answer reaches, where that means something.
        crossed: Examples at which the two sides cross, though the counts may not.
        errors: Examples that gave no number; any forbids PASS.
    """

    lower: Bound
    upper: Bound
    baseline: float | None = None
    crossed: int = 0
    errors: int = 0

    def __post_init__(self) -> None:
        if self.lower.side is not Side.LOWER or self.upper.side is not Side.UPPER:
            raise SettingError(f"sides {self.lower.side} and {self.upper.side}; expected a lower and an upper bound, in this order")
        if not comparable(self.lower.of, self.upper.of):
            raise SettingError(f"bounds on two quantities, {self.lower.of} and {self.upper.of}; a bracket needs one")
        if self.crossed < 0 or self.errors < 0:
            raise SettingError(f"{self.crossed} crossed and {self.errors} without a number; expected counts of examples")

    @property
    def of(self) -> Quantity:
        """The quantity."""
        return self.upper.of

    @property
    def status(self) -> Status:
        """Whether the two sides cross, taken as the only comparison of its run."""
        return self.status_among(1)

    def status_among(self, comparisons: int) -> Status:
        """Whether the two sides cross, when this is one of several comparisons.

        A crossing of proofs and witnesses is a contradiction. Where a side rests on draws it is one only if chance would bring it about
        with a probability below ``CHANCE`` over all comparisons; else it is suspect: no requirement passes on it, and it wants a rerun.
        """
        if self.lower.value <= self.upper.value and not self.crossed:
            return Status.CONSISTENT
        if {self.lower.basis, self.upper.basis} <= {Basis.PROOF, Basis.WITNESS}:
            return Status.CONTRADICTION
        return Status.CONTRADICTION if self._unlikely(CHANCE / comparisons) else Status.SUSPECT

    def at_least(self, value: float, *, confidence: float = 0.95, population: bool = True) -> Verdict:
        """Whether the quantity is at least ``value``: PASS by the lower side, FAIL by the upper, else UNDECIDED."""
        low, high = self.limits(confidence, population=population)
        return self._verdict(low >= value, high < value, f"{_between(low, high)}, asked >= {value:g}")

    def at_most(self, value: float, *, confidence: float = 0.95, population: bool = True) -> Verdict:
        """Whether the quantity is at most ``value``: PASS by the upper side, FAIL by the lower, else UNDECIDED.

        An epsilon that an audit shows to be larger than ``value`` is FAIL, whatever the accountant says and however the two cross.
        """
        low, high = self.limits(confidence, population=population)
        return self._verdict(high <= value, low > value, f"{_between(low, high)}, asked <= {value:g}")

    def limits(self, confidence: float = 0.95, *, population: bool = True) -> tuple[float, float]:
        """Both sides at a joint confidence: the error is halved where both rest on chance.

        Args:
            confidence: That both sides hold together.
            population: Speak of the population that the examples were drawn from (default), not of these examples.
        """
        level = (1 + confidence) / 2 if self.lower.has_chance and self.upper.has_chance else confidence
        if population:
            return self.lower.at(level), self.upper.at(level)
        return self.lower.on_sample(level), self.upper.on_sample(level)

    def _verdict(self, passes: bool, fails: bool, why: str) -> Verdict:
        if self.status is Status.CONTRADICTION and not (fails and self.of.kind is Kind.EPSILON):
            return Verdict(Answer.UNDECIDED, f"the two sides contradict each other, so neither can be trusted: {why}")
        if fails:
            return Verdict(Answer.FAIL, why)
        if passes and self.status is Status.SUSPECT:
            return Verdict(Answer.UNDECIDED, f"the two sides cross, which chance may explain, so that a rerun has to decide: {why}")
        if passes and self.errors:
            return Verdict(Answer.UNDECIDED, f"{self.errors} examples gave no number: {why}")
        return Verdict(Answer.PASS if passes else Answer.UNDECIDED, why)

    def _unlikely(self, chance: float) -> bool:
        """Whether a crossing has less than this chance: of so many false verdicts, or of sides that still cross at that confidence."""
        counted = [side.evidence for side in (self.lower, self.upper) if isinstance(side.evidence, Counted)]
        if not counted:
            low, high = self.limits(1 - chance)
            return low > high
        trials, alpha = counted[0].trials, sum(evidence.alpha for evidence in counted)
        false = max(self.crossed, round((self.lower.value - self.upper.value) * trials))
        return binomial_tail(false, trials, min(alpha, 1.0)) < chance


def _between(low: float, high: float) -> str:
    """An interval, rounded outwards."""
    return f"between {rounding.bound(low, up=False)} and {rounding.bound(high, up=True)}"


_IMPLIED_BY = {("all iterates", "last iterate"), ("patient", "image")}


def comparable(lower: Quantity, upper: Quantity) -> bool:
    """Whether a lower bound on one quantity may meet an upper bound on another: equal, or implied by the short table.

    An upper bound on the epsilon of all iterates holds for the last one, and a patient's for one image of hers.
    """

    def implied(narrow: str, wide: str) -> bool:
        return narrow == wide or (wide, narrow) in _IMPLIED_BY

    same = (lower.kind, lower.subject, lower.data, lower.threat, lower.delta, lower.adjacency) == (
        upper.kind,
        upper.subject,
        upper.data,
        upper.threat,
        upper.delta,
        upper.adjacency,
    )
    return same and implied(lower.released, upper.released) and implied(lower.unit, upper.unit)
