"""Half a claim is a bound, a whole one is a bracket."""

import math
from dataclasses import dataclass
from enum import StrEnum

from quintain.core import rounding
from quintain.core.errors import SettingError
from quintain.core.notebook import html_repr
from quintain.core.statistics import binomial_tail, check_confidence
from quintain.results.evidence import ConfidenceLevels, CountEvidence, Evidence
from quintain.results.quantity import Basis, Quantity, Side
from quintain.results.verdict import Decision, Verdict

FALSE_ALARM_PROBABILITY = 1e-6
"""A crossing that chance explains with less than this probability is a contradiction."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One side of a quantity.

    Args:
        quantity: What is bounded.
        side: LOWER or UPPER.
        value: The bound: on these examples where it is counted, at its first confidence where it is a level.
        basis: What it rests on.
        evidence: What it can be worked out from again.
        method: How it was found, such as ``interval bounds``.
        assumptions: What must be true for it to hold.
    """

    quantity: Quantity
    side: Side
    value: float
    basis: Basis
    evidence: Evidence = None
    method: str = ""
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        low, high = self.quantity.metric.range
        if math.isnan(self.value) or not low <= self.value <= high:
            raise SettingError(
                f"a {self.quantity.metric} of {self.value}; expected a number in [{low}, {high}]"
            )

    @classmethod
    def trivial(cls, of: Quantity, side: Side) -> "Bound":
        """What is true without looking."""
        return cls(of, side, of.metric.range[side is Side.UPPER], Basis.TRIVIAL, method="nothing known")

    @property
    def is_statistical(self) -> bool:
        """Whether it speaks of a population or rests on draws, so that it holds with a confidence only."""
        return self.evidence is not None

    def at_confidence(self, confidence: float) -> float:
        """The bound on the population, or on the mechanism, at a one-sided confidence."""
        check_confidence(confidence)
        match self.evidence:
            case CountEvidence() as counted:
                return counted.on_population(self.side, confidence)
            case ConfidenceLevels() as levels:
                return levels.at(confidence, self.quantity.metric.range[self.side is Side.UPPER])
        return self.value

    def on_sample(self, confidence: float) -> float:
        """The bound on these very examples: chance is that of the verdicts alone."""
        return (
            self.evidence.on_sample(self.side, confidence)
            if isinstance(self.evidence, CountEvidence)
            else self.at_confidence(confidence)
        )


class Consistency(StrEnum):
    """Whether the two sides of a bracket can both be true."""

    CONSISTENT = "CONSISTENT"
    SUSPECT = "SUSPECT"
    CONTRADICTION = "CONTRADICTION"


@dataclass(frozen=True, slots=True)
class Bracket:
    """Both sides of one quantity.

    Args:
        lower: From below: proved accuracy, audited epsilon, what an attack found out.
        upper: From above: accuracy under attack, accounted epsilon, what a guarantee allows to find out.
        baseline: What always answering the most frequent class reaches, where that means something.
        num_contradictory: Examples at which the two sides cross, though the counts may not.
        num_invalid: Examples with an invalid output (NaN); any forbids PASS.
    """

    lower: Bound
    upper: Bound
    baseline: float | None = None
    num_contradictory: int = 0
    num_invalid: int = 0

    def __post_init__(self) -> None:
        if self.lower.side is not Side.LOWER or self.upper.side is not Side.UPPER:
            raise SettingError(
                f"sides {self.lower.side} and {self.upper.side}; expected a lower and an upper bound, in "
                "this order"
            )
        if not comparable(self.lower.quantity, self.upper.quantity):
            raise SettingError(
                f"bounds on two quantities, {self.lower.quantity} and {self.upper.quantity}; a bracket needs "
                "one"
            )
        if self.num_contradictory < 0 or self.num_invalid < 0:
            raise SettingError(
                f"{self.num_contradictory} crossed and {self.num_invalid} without a number; expected counts "
                "of examples"
            )

    def __repr__(self) -> str:
        return f"Bracket({self.text})"

    _repr_html_ = html_repr("quintain.report.notebook:bracket_html")

    @property
    def text(self) -> str:
        """The quantity and both its bounds, rounded outwards.

        For example ``robust_accuracy(linf:4/255) between 0.729 and 0.739``.
        """
        alarm = "" if self.consistency is Consistency.CONSISTENT else f", {self.consistency}"
        return f"{self.quantity.text} {_between(self.lower.value, self.upper.value)}{alarm}"

    @property
    def quantity(self) -> Quantity:
        """The quantity."""
        return self.upper.quantity

    @property
    def consistency(self) -> Consistency:
        """Whether the two sides cross, taken as the only comparison of its run."""
        return self.consistency_among(1)

    def consistency_among(self, comparisons: int) -> Consistency:
        """Whether the two sides cross, when this is one of several comparisons.

        A crossing of proofs and witnesses is a contradiction. Where a side is statistical it is one only if
        chance would bring it about with a probability below ``FALSE_ALARM_PROBABILITY`` over all comparisons;
        else it is suspect: no requirement passes on it, and the step has to be run again.
        """
        if self.lower.value <= self.upper.value and not self.num_contradictory:
            return Consistency.CONSISTENT
        if {self.lower.basis, self.upper.basis} <= {Basis.PROOF, Basis.WITNESS}:
            return Consistency.CONTRADICTION
        return (
            Consistency.CONTRADICTION
            if self._unlikely(FALSE_ALARM_PROBABILITY / comparisons)
            else Consistency.SUSPECT
        )

    def at_least(self, value: float, *, confidence: float = 0.95, population: bool = True) -> Verdict:
        """Whether the quantity is at least ``value``.

        The lower bound decides PASS and the upper bound FAIL; otherwise it is UNDECIDED.
        """
        low, high = self.confidence_interval(confidence, population=population)
        return self._verdict(low >= value, high < value, f"{_between(low, high)}, required >= {value:g}")

    def at_most(self, value: float, *, confidence: float = 0.95, population: bool = True) -> Verdict:
        """Whether the quantity is at most ``value``.

        The upper bound decides PASS and the lower bound FAIL; otherwise it is UNDECIDED.

        What an audit or an attack shows to be larger than ``value`` is FAIL, whatever the accountant says
        and however the two cross.
        """
        low, high = self.confidence_interval(confidence, population=population)
        why = f"{_between(low, high)}, required <= {value:g}"
        if self.upper.basis is Basis.CLAIMED and low <= value:
            return Verdict(Decision.UNDECIDED, f"the upper bound is claimed, and not shown: {why}")
        return self._verdict(high <= value, low > value, why)

    def confidence_interval(
        self, confidence: float = 0.95, *, population: bool = True
    ) -> tuple[float, float]:
        """Both sides at a joint confidence: the error is halved where both rest on chance.

        Args:
            confidence: That both sides hold together.
            population: Speak of the population that the examples were drawn from (default), not of these
                examples.
        """
        level = (
            (1 + confidence) / 2 if self.lower.is_statistical and self.upper.is_statistical else confidence
        )
        if population:
            return self.lower.at_confidence(level), self.upper.at_confidence(level)
        return self.lower.on_sample(level), self.upper.on_sample(level)

    def _verdict(self, passes: bool, fails: bool, why: str) -> Verdict:
        if self.consistency is Consistency.CONTRADICTION and not (
            fails and self.quantity.metric.less_is_better
        ):
            return Verdict(
                Decision.UNDECIDED, f"the two bounds contradict each other, so neither can be trusted: {why}"
            )
        if fails:
            return Verdict(Decision.FAIL, why)
        if passes and self.consistency is Consistency.SUSPECT:
            return Verdict(
                Decision.UNDECIDED,
                "the two bounds cross within statistical error, so that a rerun with another seed has to "
                f"decide: {why}",
            )
        if passes and self.num_invalid:
            return Verdict(
                Decision.UNDECIDED, f"{self.num_invalid} examples have an invalid output (NaN): {why}"
            )
        return Verdict(Decision.PASS if passes else Decision.UNDECIDED, why)

    def _unlikely(self, chance: float) -> bool:
        """Return whether chance explains the crossing with less than this probability.

        By the binomial tail of so many wrong per-example results, or because the bounds still cross at
        confidence 1 - chance.
        """
        counted = [
            side.evidence for side in (self.lower, self.upper) if isinstance(side.evidence, CountEvidence)
        ]
        if not counted:
            low, high = self.confidence_interval(1 - chance)
            return low > high
        trials, alpha = counted[0].trials, sum(evidence.alpha for evidence in counted)
        false = max(self.num_contradictory, round((self.lower.value - self.upper.value) * trials))
        return binomial_tail(false, trials, min(alpha, 1.0)) < chance


def _between(low: float, high: float) -> str:
    """Return an interval in words, rounded outwards."""
    return f"between {rounding.bound(low, up=False)} and {rounding.bound(high, up=True)}"


_IMPLIED_BY = {("all iterates", "last iterate"), ("patient", "image")}


def comparable(lower: Quantity, upper: Quantity) -> bool:
    """Whether a lower bound on one quantity may meet an upper bound on another.

    It may if the quantities are equal, or one implies the other by the short table.

    An upper bound on the epsilon of all iterates holds for the last one, and a patient's for one image of
    hers.
    """

    def implied(narrow: str, wide: str) -> bool:
        return narrow == wide or (wide, narrow) in _IMPLIED_BY

    same = (
        lower.metric,
        lower.subject_hash,
        lower.data_hash,
        lower.threat,
        lower.delta,
        lower.adjacency,
        lower.fpr,
    ) == (
        upper.metric,
        upper.subject_hash,
        upper.data_hash,
        upper.threat,
        upper.delta,
        upper.adjacency,
        upper.fpr,
    )
    return (
        same and implied(lower.released, upper.released) and implied(lower.privacy_unit, upper.privacy_unit)
    )
