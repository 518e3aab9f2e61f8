"""``quintain compare``."""

from pathlib import Path
from typing import Annotated

import typer

from quintain.cli.verbs.verb import Verb


def run(
    before: Annotated[Path, typer.Argument(help="A run folder.")],
    after: Annotated[Path, typer.Argument(help="Another.")],
) -> int:
    from quintain.cli.screen import show_changes
    from quintain.cli.terminal import Terminal
    from quintain.core.errors import ExitCode
    from quintain.report import compare, read

    show_changes(Terminal(), compare(read(before), read(after)))
    return ExitCode.OK


VERB = Verb(
    "compare",
    run,
    "What changed between two runs, claim by claim; says where two claims are not about the same thing.",
    ("runs/before runs/after", "runs/2026-01-31-attack runs/2026-01-31-attack-2"),
)
