"""What a number is about: two bounds may meet only on one quantity."""

import math
from dataclasses import dataclass
from enum import StrEnum


class Metric(StrEnum):
    """The quantities that Quintain bounds."""

    CLEAN_ACCURACY = "clean_accuracy"
    ROBUST_ACCURACY = "robust_accuracy"
    EPSILON = "epsilon"
    MEMBERSHIP_TPR = "membership_tpr"
    MEMBERSHIP_ADVANTAGE = "membership_advantage"
    REIDENTIFIED = "reidentified"

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value that there can be: what a trivial bound says."""
        return (0.0, math.inf) if self is Metric.EPSILON else (0.0, 1.0)

    @property
    def is_leak(self) -> bool:
        """Whether it is what attackers find out, as a fraction: attacks bound it from below."""
        return self in (Metric.MEMBERSHIP_TPR, Metric.MEMBERSHIP_ADVANTAGE, Metric.REIDENTIFIED)

    @property
    def less_is_better(self) -> bool:
        """Whether a requirement limits it from above."""
        return self is Metric.EPSILON or self.is_leak


class Side(StrEnum):
    """Which side of the quantity a bound is on."""

    LOWER = "lower"
    UPPER = "upper"


class Basis(StrEnum):
    """What a bound rests on; what is claimed rests on somebody's word, and passes no requirement."""

    PROOF = "proof"
    WITNESS = "witness"
    STATISTICAL = "statistical"
    CLAIMED = "claimed"
    TRIVIAL = "trivial"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One well-defined number, known or not.

    Args:
        metric: Accuracy under a threat, or a privacy loss.
        subject_hash: Hash of what is measured: a model's weights and inference program, or a private
            mechanism.
        data_hash: Content hash of the examples.
        threat: Exact spec of what the adversary may change.
        delta: The delta of an (epsilon, delta) statement.
        adjacency: Which data sets count as neighbors: ``add/remove`` or ``replace``.
        privacy_unit: Whose privacy it is, such as ``image``.
        released: What the adversary sees, such as ``all iterates``.
        fpr: The false-positive rate of a ``membership_tpr``.
    """

    metric: Metric
    subject_hash: str = ""
    data_hash: str = ""
    threat: str = ""
    delta: float | None = None
    adjacency: str = ""
    privacy_unit: str = ""
    released: str = ""
    fpr: float | None = None

    @property
    def text(self) -> str:
        """The quantity as requirements write it, such as ``robust_accuracy(linf:4/255)``."""
        about = self.threat or ("" if self.delta is None else f"delta={self.delta:g}".replace("e-0", "e-"))
        about = about if self.fpr is None else f"fpr={100 * self.fpr:g}%"
        return f"{self.metric}({about})" if about else str(self.metric)
