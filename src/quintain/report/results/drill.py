"""A whole drill: how long each step took, and the memory that it needed."""

from collections.abc import Iterator

from quintain.report import format as fmt
from quintain.report.presentation import Presentation
from quintain.results.records import DrillResult


def _summary(result: DrillResult) -> Iterator[str]:
    times = "  ".join(f"{step.name} {step.seconds:.1f}" for step in result.steps)
    total = sum(step.seconds for step in result.steps)
    limit = f" of {60 * result.minutes:,.0f} s" if result.minutes else ""
    memory = fmt.size_in_bytes(result.peak_memory_bytes)
    yield f"seconds: {times}  = {total:,.0f} s{limit}; peak memory {memory}"


PRESENTATION = Presentation(DrillResult, "Drill", summary=_summary)
