"""A whole drill: how long each step took, and the memory that it needed."""

from collections.abc import Iterator

from quintain.report import format as fmt
from quintain.report.presentation import Presentation
from quintain.results.records import DrillResult


def _summary(result: DrillResult) -> Iterator[str]:
    done = [(step.name, step.seconds) for step in result.steps]
    parts = [("trials", result.trial_seconds), *done] if result.trial_seconds else done
    times = "  ".join(f"{name} {seconds:.1f}" for name, seconds in parts)
    total = sum(seconds for _, seconds in parts)
    limit = f" of {60 * result.minutes:,.0f} s" if result.minutes else ""
    memory = fmt.size_in_bytes(result.peak_memory_bytes)
    yield f"seconds: {times}  = {total:,.0f} s{limit}; peak memory {memory}"


PRESENTATION = Presentation(DrillResult, "Drill", summary=_summary)
