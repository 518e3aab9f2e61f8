"""How one kind of result is shown: the same on the screen and on the page."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from quintain.report.blocks import Block
from quintain.report.run_results import RunResults
from quintain.report.table import Table
from quintain.results.robustness_records import Finding

R = TypeVar("R")


def _nothing(_: object) -> tuple[()]:
    return ()


def _no_blocks(_: object, __: RunResults) -> tuple[()]:
    return ()


@dataclass(frozen=True, slots=True)
class Presentation(Generic[R]):
    """How the results of one type are shown.

    Args:
        result_type: The type of result.
        title: Title of a page that has one such result alone.
        summary: The result in a few lines of text.
        findings: What the screen lists instead of the summary, where one command is shown alone.
        tables: What is easier read as a table, below the summary on the screen.
        blocks: What the page shows of this result alone; what it shows of several results together stands in
            ``report.sections``.
    """

    result_type: type[R]
    title: str
    summary: Callable[[R], Iterable[str]] = _nothing
    findings: Callable[[R], Iterable[Finding]] = _nothing
    tables: Callable[[R], Iterable[Table]] = _nothing
    blocks: Callable[[R, RunResults], Iterable[Block]] = _no_blocks
