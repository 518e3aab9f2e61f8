"""What ``quintain compare`` leaves behind: two runs claim by claim, and which claims got worse."""

from dataclasses import dataclass
from typing import Literal

from quintain.results.quantity import Metric

ChangeKind = Literal["better", "worse", "same", "undecided", "incomparable", "added", "removed"]


@dataclass(frozen=True, slots=True)
class ClaimChange:
    """One claim before and after.

    Args:
        name: Of the claim.
        title: For people.
        metric: The quantity.
        before, after: Lower and upper side on the tested examples, None where the run does not have the
            claim.
        change: ``better`` or ``worse`` only if the brackets do not overlap.
        reason: In one sentence.
    """

    name: str
    title: str
    metric: Metric
    before: tuple[float, float] | None
    after: tuple[float, float] | None
    change: ChangeKind
    reason: str


@dataclass(frozen=True, slots=True)
class Regression:
    """A claim that got worse, or that can no longer be compared.

    Args:
        name: Of the claim.
        reason: One sentence with the numbers.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class CompareResult:
    """Two runs claim by claim.

    Args:
        before, after: The run folders, as they were named.
        changes: Each claim of either run.
        regressions: The claims of the first run that got worse by more than the tolerance.
        tolerance: By how much a bound may get worse; None where regressions were not asked for.
    """

    before: str
    after: str
    changes: tuple[ClaimChange, ...]
    regressions: tuple[Regression, ...] = ()
    tolerance: float | None = None
    kind: Literal["compare"] = "compare"
