"""Results in VNN-COMP's form: ``unsat``, ``sat`` with a counterexample, or ``unknown``."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from quintain.core.errors import DataError, NotFoundError
from quintain.verify.counterexamples import Counterexample
from quintain.verify.parser import NUMBER

Answer = Literal["unsat", "sat", "unknown"]

ANSWERS = {
    **{"unsat": "unsat", "holds": "unsat", "verified": "unsat"},
    **{"sat": "sat", "violated": "sat", "falsified": "sat"},
    **dict.fromkeys(("unknown", "timeout", "error", "run_instance_timeout", "no_result_in_file"), "unknown"),
}
"""The answer that each word in a verifier's result stands for; some verifiers write other words."""

PAIR = re.compile(r"\(\s*([XY])_(\d+)\s+([^\s()]+)\s*\)")


@dataclass(frozen=True, slots=True, eq=False)
class PropertyVerdict:
    """The result of verifying a property.

    Args:
        answer: ``unsat``: proven that no input violates it; ``sat``: an input violates it; ``unknown``.
        counterexample: The input that violates it, if the answer is ``sat``.
        how: What decided the answer, or what is left open, in words.
        seconds: How long that took.
    """

    answer: Answer
    counterexample: Counterexample | None
    how: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ClaimedResult:
    """The result that another verifier wrote.

    Args:
        answer: ``unknown`` also for a timeout or an error.
        inputs, outputs: Of its counterexample, as written, by number; empty without one.
        problem: What is wrong with the counterexample as it is written; empty if nothing is.
    """

    answer: Answer
    inputs: dict[int, Fraction]
    outputs: dict[int, Fraction]
    problem: str = ""


def result_text(verdict: PropertyVerdict) -> str:
    """Return a verdict in VNN-COMP's form, with numbers that are read back bit for bit."""
    if verdict.counterexample is None:
        return f"{verdict.answer}\n"
    x, y = verdict.counterexample.x, verdict.counterexample.y
    pairs = [
        f"({name}_{index} {float(value)!r})"
        for name, values in (("X", x), ("Y", y))
        for index, value in enumerate(values)
    ]
    return f"{verdict.answer}\n(" + "\n ".join(pairs) + ")\n"


def read_result(result: str | Path, counterexample: str | Path | None = None) -> ClaimedResult:
    """Read another verifier's result.

    Args:
        result: A file that begins with the answer, followed by the counterexample if there is one; or the
            answer itself, such as ``unsat``.
        counterexample: A separate file with the counterexample, ``((X_0 0.5) ... (Y_0 1.0))``.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it begins with no answer.
    """
    text = str(result) if str(result).lower() in ANSWERS else _read_text(Path(result))
    words = text.split(None, 1)
    answer = ANSWERS.get(words[0].lower().strip('",:')) if words else None
    if answer is None:
        raise DataError(
            f"{result} begins with {words[0][:40] if words else 'nothing'!r}; expected {', '.join(ANSWERS)}"
        )
    values = _read_text(Path(counterexample)) if counterexample is not None else "".join(words[1:])
    found: dict[str, dict[int, Fraction]] = {"X": {}, "Y": {}}
    problem = ""
    for name, at, number in PAIR.findall(values):
        if not NUMBER.fullmatch(number):
            problem = problem or f"{name}_{at} = {number!r}, expected a number"
        elif found[name].setdefault(int(at), Fraction(number)) != Fraction(number):
            problem = problem or f"it gives {name}_{at} twice, as two numbers"
    return ClaimedResult(answer, found["X"], found["Y"], problem)  # type: ignore[arg-type]


def _read_text(path: Path) -> str:
    import gzip

    path = path.expanduser()
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}; expected a result, or one of {', '.join(ANSWERS)}")
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no text: {error}; expected a result") from error
