"""A run as a job summary in GitHub's Markdown: the verdict, each requirement, the claims."""

from collections.abc import Iterable, Iterator

from quintain.report.ci.cases import REGRESSION, Case, CIRun, Status, cases
from quintain.report.ci.plain_text import plain_text
from quintain.report.claim_rows import all_rows, key_rows
from quintain.report.results.compare import sides_text
from quintain.report.run_results import RunResults
from quintain.results.comparison_records import CompareResult

MAX_BYTES = 1_000_000
"""A summary of a step may have 1 MiB, those before it included; GitHub drops a longer one altogether."""

_CUT = "\n\n**Cut here: a job summary has room for no more.**\n"

_ORDER = (Status.ERROR, Status.FAIL, Status.UNDECIDED, Status.PASS)


def summary(run: CIRun, *, used_bytes: int = 0) -> str:
    """Return a run as Markdown, to be added to a job summary.

    Args:
        run: The run.
        used_bytes: Bytes that the summary has already; what has no room beside them is cut, which is said.
    """
    return _shorten("\n".join(_lines(run)) + "\n", MAX_BYTES - used_bytes)


def _lines(run: CIRun) -> Iterator[str]:
    verdict = run.verdict
    yield f"## {_cell(run.name)}: {verdict.outcome}"
    yield ""
    yield f"{_cell(verdict.reason)} (exit code {verdict.exit_code})."
    judged = sorted(
        (case for case in cases(run) if case.rule and case.group != "run"),
        key=lambda case: _ORDER.index(case.status),
    )
    if judged:
        yield ""
        what = "claim" if any(case.rule == REGRESSION for case in judged) else "requirement"
        yield from _table(("decision", what, "reason"), map(_case_row, judged))
    for result in RunResults.of(run.records).results_of(CompareResult):
        yield ""
        yield from _table(
            ("claim", "before", "after", "change", "reason"),
            (
                tuple(map(_cell, (one.name, *sides_text(one), one.change, one.reason)))
                for one in result.changes
            ),
        )
    left = dict.fromkeys(run.not_checked)
    if left:
        yield ""
        names = ", ".join(f"`{_code(one)}`" for one in left)
        yield f"Not checked, because this run does not measure it: {names}."
    rows = key_rows(run.records) if len(run.records) > 1 else all_rows(run.records)
    if rows:
        yield ""
        head = ("claim", "lower bound", "95 % interval", "upper bound", "majority class")
        cells = [(row.title, row.lower, row.interval, row.upper, row.baseline) for row in rows]
        filled = [place for place in range(len(head)) if any(row[place] for row in cells)]
        yield from _table(
            tuple(head[place] for place in filled),
            (tuple(_cell(row[place]) for place in filled) for row in cells),
        )
    yield ""
    yield f"`{_code(run.command)}`" + (f", run folder `{_code(run.folder)}`" if run.folder else "")
    yield ""


def _case_row(case: Case) -> tuple[str, str, str]:
    word = f"{case.kind} (warning)" if case.is_tolerated else case.kind
    return word, f"`{_code(case.name)}`", _cell(case.message)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _cell(text: str) -> str:
    """Return a text that Markdown and HTML leave as it is, on one line."""
    text = " ".join(plain_text(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]#|~@" else letter for letter in text)


def _code(text: str) -> str:
    """Return a text that can stand between backticks, in a table too."""
    return " ".join(plain_text(text).split()).replace("`", "'").replace("|", "\\|")


def _shorten(text: str, room: int) -> str:
    """Return a text of at most so many bytes, which says where it was cut; nothing where no room is left."""
    encoded = text.encode()
    if len(encoded) <= room:
        return text
    kept = room - len(_CUT.encode())
    return encoded[:kept].rpartition(b"\n")[0].decode() + _CUT if kept > 0 else ""
