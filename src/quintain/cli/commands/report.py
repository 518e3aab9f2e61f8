"""``quintain report``."""

from pathlib import Path
from typing import Annotated

import typer

from quintain.cli.commands.command import Command


def run(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> int:
    from quintain.cli.ci_files import note_requirements
    from quintain.cli.console import Terminal
    from quintain.cli.project_settings import find_project_settings
    from quintain.core.errors import ExitCode
    from quintain.report import read, write
    from quintain.report.unfinished import unfinished_reason

    page = write(folder)
    # an unfinished run may have decided none of them: CI files then list the project's as undecided
    if unfinished_reason(read(folder), folder):
        note_requirements(find_project_settings(Path.cwd()).require)
    Terminal().print(str(page), markup=False, soft_wrap=True)
    return ExitCode.OK


VERB = Command(
    "report",
    run,
    "Write report.html from the records and pictures of a run folder.",
    ("runs/2026-01-31-attack", "runs/first"),
)
