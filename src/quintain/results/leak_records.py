"""What leakage attacks found, as records keep it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quintain.results.artifacts import Picture
from quintain.results.evidence import ConfidenceLevels
from quintain.results.quantity import Metric, Quantity

TITLES: Mapping[Metric, str] = {
    Metric.MEMBERSHIP_TPR: "Training examples found",
    Metric.MEMBERSHIP_ADVANTAGE: "Membership advantage",
    Metric.REIDENTIFIED: "People identified",
}
"""What a claim on each metric is about."""

ATTRIBUTE_ACCURACY = "attribute accuracy"
"""How measures begin that say how often a hidden attribute is guessed rightly, of members or of others."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A point of a curve, such as a false-positive rate and the true-positive rate there."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class LeakMeasurement:
    """How well one attack guessed on one model, beside what needs no access to it.

    Args:
        attack: Name of the attack.
        goal: What it guesses, such as ``membership``.
        access: What it saw: ``labels``, ``scores``, ``gradients``, ``update`` or ``sum``.
        model: The model or defense that it was tried on, such as ``private, epsilon 3``.
        candidates: Which candidates it guessed about, such as ``mislabeled canaries``.
        measure: What is measured, such as ``TPR at 1 % FPR``.
        value: The attack's value.
        low, high: Its interval at ``confidence``.
        confidence: Of the interval.
        baseline: The best value that needs no access, with the same freedom to choose.
        baseline_name: What gives it, such as ``guessing``.
        unit: What one trial is, such as ``image``.
        count: How many trials there were.
        queries: Queries of each candidate, on average; all of them where the one candidate is the model.
        ceiling: The largest value that a claimed guarantee allows; None where nothing is claimed.
        curve: Points of a curve to be drawn, such as the ROC.
        exposed: Ids of the candidates that it tells most surely and rightly, the surest first.
        metric: Of the claim that it bounds from below; None where it bounds none.
        fpr: The false-positive rate of a ``membership_tpr``.
        lower: What the best attack reaches at least, at several one-sided confidences; None where it bounds
            no claim.
    """

    attack: str
    goal: str
    access: str
    model: str
    candidates: str
    measure: str
    value: float
    low: float
    high: float
    confidence: float
    baseline: float
    baseline_name: str
    unit: str
    count: int
    queries: float
    ceiling: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    exposed: tuple[int, ...] = ()
    metric: Metric | None = None
    fpr: float | None = None
    lower: ConfidenceLevels | None = None

    @property
    def gain(self) -> float:
        """What access gave beyond the baseline."""
        return self.value - self.baseline

    @property
    def may_hold_for_everyone(self) -> bool:
        """Whether what access gave may be true of people who were never trained on, and then is no leak.

        So it is of accuracies on hidden attributes: only their gain on members less that on others tells.
        """
        return self.goal == "attributes" and self.measure.startswith(ATTRIBUTE_ACCURACY)


@dataclass(frozen=True, slots=True)
class LeakPictures:
    """One original beside what was made of it, where pictures may be shown.

    Args:
        title: What is shown, such as the class; no name of a private person.
        original: The private picture that is nearest to the reconstruction.
        reconstructed: What the attack made.
        baseline: The best picture that needs no access.
    """

    title: str
    original: Picture | None
    reconstructed: Picture | None
    baseline: Picture | None = None


def worst_of(measurements: Sequence[LeakMeasurement]) -> tuple[LeakMeasurement, ...]:
    """Return for each goal, model, kind of candidates and measure the attack that gained most."""
    best: dict[tuple[str, str, str, str], LeakMeasurement] = {}
    for one in measurements:
        key = (one.goal, one.model, one.candidates, one.measure)
        if key not in best or one.gain > best[key].gain:
            best[key] = one
    return tuple(best.values())


def name_of_title(title: str) -> str:
    """Return a model's title as claims and requirements name it: ``private-epsilon-3``."""
    return re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip("-")


def title_of_claim(quantity: Quantity, candidates: str) -> str:
    """Return what a claim is about: ``Training examples found at 1 % false alarms, canaries``."""
    return f"{TITLES[quantity.metric]}{at_false_alarms(quantity.fpr)}, {candidates}"


def at_false_alarms(fpr: float | None) -> str:
    """Return a false-positive rate in words, to end a phrase with; nothing where there is none."""
    return "" if fpr is None else f" at {100 * fpr:g} % false alarms"
