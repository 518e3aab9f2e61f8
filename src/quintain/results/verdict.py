"""The verdict on a requirement: passed, failed, or left undecided by what is known."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn


class Decision(StrEnum):
    """PASS, FAIL or UNDECIDED: the two sides of a bracket may lie on both sides of a limit."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision and its reason.

    Args:
        decision: PASS, FAIL or UNDECIDED.
        reason: One sentence with the numbers that decided.
    """

    decision: Decision
    reason: str

    @property
    def passed(self) -> bool:
        """Whether the decision is PASS."""
        return self.decision is Decision.PASS

    def __bool__(self) -> NoReturn:
        """A verdict is one of three decisions, so it is no truth value.

        Raises:
            TypeError: Always; write ``verdict.passed``.
        """
        raise TypeError(
            "a verdict is one of three decisions and has no truth value; write verdict.passed, or compare "
            "verdict.decision"
        )
