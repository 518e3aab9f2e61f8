"""``quintain report``."""

from pathlib import Path
from typing import Annotated

import typer

from quintain.cli.commands.command import Command


def run(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> int:
    from quintain.cli.console import Terminal
    from quintain.core.errors import ExitCode
    from quintain.report import write

    Terminal().print(str(write(folder)), markup=False, soft_wrap=True)
    return ExitCode.OK


VERB = Command(
    "report",
    run,
    "Write report.html from the records and pictures of a run folder.",
    ("runs/2026-01-31-attack", "runs/first"),
)
