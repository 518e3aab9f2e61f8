"""``quintain compare``."""

from pathlib import Path
from typing import Annotated

import typer

from quintain.cli.commands.command import Command


def run(
    before: Annotated[Path, typer.Argument(help="A run folder.")],
    after: Annotated[Path, typer.Argument(help="Another.")],
    fail_on_regression: Annotated[
        bool,
        typer.Option(
            "--fail-on-regression",
            help="Exit with 1 if a claim of BEFORE is worse in AFTER, missing there, or cannot be compared; "
            "with 130 if AFTER was not finished.",
        ),
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="By how much a bound may get worse: 0.01 is a point of accuracy, or 0.01 of epsilon; 0.01 "
            "if not given.",
            show_default=False,
        ),
    ] = None,
) -> int:
    from quintain.cli.console import Terminal
    from quintain.cli.screen import show_changes, show_regressions
    from quintain.core.errors import ExitCode, SettingError
    from quintain.report import compare, read
    from quintain.report.regressions import DEFAULT_TOLERANCE, regressions
    from quintain.report.unfinished import unfinished_reason

    if tolerance is not None and not fail_on_regression:
        raise SettingError(
            f"got --tolerance {tolerance:g} without --fail-on-regression; expected both: without it a change "
            "is shown, whatever its size"
        )
    old, new = read(before), read(after)
    cut_before, cut_after = unfinished_reason(old, before), unfinished_reason(new, after)
    if cut_before and fail_on_regression:
        raise SettingError(
            f"{cut_before}; expected a finished run to compare with, since what is not claimed cannot regress"
        )
    allowed = DEFAULT_TOLERANCE if tolerance is None else tolerance
    worse = regressions(old, new, allowed) if fail_on_regression else ()
    console = Terminal()
    show_changes(console, compare(old, new))
    if fail_on_regression:
        show_regressions(console, worse, allowed)
    for cut in filter(None, (cut_before, cut_after)):
        console.print(cut, style="yellow", markup=False, soft_wrap=True)
    if cut_after and fail_on_regression:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED if worse else ExitCode.OK


VERB = Command(
    "compare",
    run,
    "Compare two runs claim by claim, and say which claims cannot be compared.",
    ("runs/before runs/after", "runs/main runs/branch --fail-on-regression --tolerance 0.02"),
)
