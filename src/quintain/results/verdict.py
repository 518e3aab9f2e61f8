"""The verdict on a requirement, and that on a whole run, which says how the command ended."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NoReturn


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


Outcome = Literal["OK", "FAILED", "USAGE", "UNDECIDED", "ALARM", "EXECUTION", "INTERRUPTED"]
"""How a run ended, by the names of the exit codes."""

UndecidedRule = Literal["fail", "warn"]
"""What an undecided requirement does to the exit code: ``fail`` makes it 3, ``warn`` leaves it 0."""


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """The verdict on a whole run: the worst of what was found, and the exit code of its command.

    Args:
        outcome: The worst of what was found; UNDECIDED also where that was only warned of.
        exit_code: What the command returns: that of the outcome, or 0 for a warning.
        reason: One sentence.
        undecided: What was said of undecided requirements.
    """

    outcome: Outcome
    exit_code: int
    reason: str
    undecided: UndecidedRule = "fail"

    @property
    def is_warning(self) -> bool:
        """Whether something is undecided and the exit code does not say so."""
        return self.outcome == "UNDECIDED" and self.exit_code == 0
