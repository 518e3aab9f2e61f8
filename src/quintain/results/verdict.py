"""The answer to a requirement."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn


class Decision(StrEnum):
    """Three answers: a bracket may leave a requirement open."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer and its reason.

    Args:
        decision: PASS, FAIL or UNDECIDED.
        reason: One sentence with the numbers that decided.
    """

    decision: Decision
    reason: str

    @property
    def passed(self) -> bool:
        """Whether the answer is PASS."""
        return self.decision is Decision.PASS

    def __bool__(self) -> NoReturn:
        """A verdict has three answers, so it is no truth value.

        Raises:
            TypeError: Always; write ``verdict.holds``.
        """
        raise TypeError("a verdict has three answers and no truth value; write verdict.holds, or compare verdict.answer")
