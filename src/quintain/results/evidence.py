"""What stands behind a bound, and what it is worth at another confidence."""

from dataclasses import dataclass
from typing import Literal

from quintain.core.errors import SettingError
from quintain.core.statistics import binomial_lower, binomial_tail, binomial_upper
from quintain.results.quantity import Side


@dataclass(frozen=True, slots=True)
class CountEvidence:
    """``hits`` of ``trials`` examples, each judged wrongly with probability at most ``alpha``.

    Args:
        hits: Examples that are correct, and certified (lower side) or unbroken (upper side).
        trials: Examples tested, drawn from the population.
        alpha: Chance that one example's verdict is false; 0 for proofs and witnesses.
    """

    hits: int
    trials: int
    alpha: float = 0.0
    kind: Literal["counted"] = "counted"

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.trials or self.trials == 0:
            raise SettingError(
                f"{self.hits} of {self.trials} examples; expected 0 <= hits <= trials and at least one "
                "example"
            )
        if not 0 <= self.alpha < 1:
            raise SettingError(f"alpha = {self.alpha}; expected the chance of a false verdict, in [0, 1)")

    def on_sample(self, side: Side, confidence: float) -> float:
        """Return a bound on the fraction of these examples.

        As many of their verdicts count as false as chance allows at this confidence.
        """
        false = _quantile(self.trials, self.alpha, confidence)
        return (
            max(self.hits - false, 0) if side is Side.LOWER else min(self.hits + false, self.trials)
        ) / self.trials

    def on_population(self, side: Side, confidence: float) -> float:
        """Return one side of the Clopper-Pearson interval of the fraction in the population.

        If verdicts can be false, half of the error probability is spent on them.
        """
        level = confidence if self.alpha == 0 else (1 + confidence) / 2
        hits = round(self.on_sample(side, level) * self.trials)
        limit = binomial_lower if side is Side.LOWER else binomial_upper
        return limit(hits, self.trials, level)


@dataclass(frozen=True, slots=True)
class ConfidenceLevels:
    """A statistical bound computed at several confidences, highest last.

    Args:
        confidences: In ascending order, each in (0, 1).
        values: The bound at each.
    """

    confidences: tuple[float, ...]
    values: tuple[float, ...]
    kind: Literal["levels"] = "levels"

    def __post_init__(self) -> None:
        rising = list(self.confidences) == sorted(self.confidences) and all(
            0 < level < 1 for level in self.confidences
        )
        if len(self.confidences) != len(self.values) or not rising:
            raise SettingError(
                f"levels {self.confidences} with values {self.values}; expected rising confidences in (0, "
                "1), one value each"
            )

    def at(self, confidence: float, otherwise: float) -> float:
        """The value at the lowest stored confidence of at least ``confidence``, or ``otherwise``."""
        return next(
            (
                value
                for level, value in zip(self.confidences, self.values, strict=True)
                if level >= confidence
            ),
            otherwise,
        )


Evidence = CountEvidence | ConfidenceLevels | None


def _quantile(trials: int, probability: float, confidence: float) -> int:
    """Return the smallest count that a binomial exceeds with probability at most ``1 - confidence``.

    The distribution is Binomial(trials, probability).
    """
    count = 0
    while count < trials and binomial_tail(count + 1, trials, probability) > 1 - confidence:
        count += 1
    return count
