"""A step that was not done: why, and what to change so that it can be."""

from quintain.report.presentation import Presentation
from quintain.results.records import SkippedResult

PRESENTATION = Presentation(
    SkippedResult,
    "Step not done",
    summary=lambda result: (f"not done: {result.reason}; {result.remedy}",),
)
