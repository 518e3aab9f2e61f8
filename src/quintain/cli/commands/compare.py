"""``quintain compare``."""

from pathlib import Path
from typing import Annotated

import typer

from quintain.cli.commands.command import Command


def run(
    before: Annotated[Path, typer.Argument(help="A run folder.")],
    after: Annotated[Path, typer.Argument(help="Another.")],
) -> int:
    from quintain.cli.console import Terminal
    from quintain.cli.screen import show_changes
    from quintain.core.errors import ExitCode
    from quintain.report import compare, read

    show_changes(Terminal(), compare(read(before), read(after)))
    return ExitCode.OK


VERB = Command(
    "compare",
    run,
    "Compare two runs claim by claim, and say which claims cannot be compared.",
    ("runs/before runs/after", "runs/2026-01-31-attack runs/2026-01-31-attack-2"),
)
