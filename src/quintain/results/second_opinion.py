"""The audit of anybody's training or mechanism, beside the epsilon that is claimed for it."""

from dataclasses import dataclass
from typing import Literal

from quintain.results.bounds import Bound, Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import AuditRun
from quintain.results.quantity import Basis, Side

CLAIMED = "claimed"
"""The method of an epsilon that is somebody's word."""


@dataclass(frozen=True, slots=True)
class SecondOpinionResult:
    """What an audit shows of code that is not Quintain's own, and whether the claim stands.

    Args:
        subject: What was audited, such as ``mine.py:train``.
        of: Whether it trains a model, or releases numbers.
        audit: The audit; of a mechanism ``canaries`` is the number of its runs that bound epsilon, and
            nothing is guessed.
        claim: The epsilon that is claimed; None where none is.
        control: The audit of a training that was named as the same without noise; None without one.
        canary_kind: The kind of canaries; empty for a mechanism.
        repeats_with_seed: Whether the same seed gave the same model twice; None where that was not tried.
        training_seconds: Processor time of each training, or of all runs of a mechanism.
        audit_seconds: Processor time of what the audit adds to each.
        fit: How many of the records that it was trained on, canaries apart, the first model predicts right;
            some of them, where there are many. None for a mechanism.
    """

    subject: str
    of: Literal["training", "mechanism"]
    audit: AuditRun
    claim: float | None = None
    control: AuditRun | None = None
    canary_kind: str = ""
    repeats_with_seed: bool | None = None
    training_seconds: tuple[float, ...] = ()
    audit_seconds: tuple[float, ...] = ()
    fit: ClassCounts | None = None
    kind: Literal["second_opinion"] = "second_opinion"

    @property
    def bracket(self) -> Bracket:
        """What was measured beside what is claimed, which passes no requirement: it is somebody's word."""
        quantity = self.audit.lower.quantity
        if self.claim is None:
            return Bracket(self.audit.lower, Bound.trivial(quantity, Side.UPPER))
        upper = Bound(quantity, Side.UPPER, self.claim, Basis.CLAIMED, method=CLAIMED)
        return Bracket(self.audit.lower, upper)

    @property
    def can_contradict(self) -> bool:
        """Whether an audit of this size can show more than the claim at all."""
        return self.claim is None or self.audit.max_auditable_epsilon > self.claim
