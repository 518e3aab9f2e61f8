"""The verdict on a requirement: it is passed, failed, or undecided by what is known."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn


class Decision(StrEnum):
    """The decision on a requirement; UNDECIDED where the required value lies between the bounds."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on a requirement, and its reason.

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
        """Refuse to be a truth value, since a verdict is one of three decisions.

        Raises:
            TypeError: Always; write ``verdict.passed``.
        """
        raise TypeError(
            "a verdict is one of three decisions and has no truth value; write verdict.passed, or compare "
            "verdict.decision"
        )
