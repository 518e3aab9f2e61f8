"""``quintain list``."""

from typing import Annotated

import typer

from quintain.cli.commands.command import Command

OLD_KINDS = {"defence": "defense", "data": "dataset", "private": "mechanism", "audit": "privacy_attack"}
"""Kinds as earlier versions called them; still taken."""


def run(
    kind: Annotated[
        str,
        typer.Argument(
            help="threat, model, dataset, attack, certifier, defense, mechanism ...; all if not given."
        ),
    ] = "",
    exemptions: Annotated[
        bool, typer.Option("--exemptions", help="Show which laws something is exempt from, and why.")
    ] = False,
    exceptions: Annotated[
        bool, typer.Option("--exceptions", hidden=True, help="The earlier word for --exemptions.")
    ] = False,
) -> int:
    from quintain.cli.console import Terminal
    from quintain.cli.screen import show_entries, show_exemptions
    from quintain.core.errors import ExitCode, UnknownNameError
    from quintain.core.registry import KINDS, entries

    kind = OLD_KINDS.get(kind, kind)
    if kind and kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    found = [entry for one in ([kind] if kind else KINDS) for entry in entries(one).values()]
    if exemptions or exceptions:
        show_exemptions(Terminal(), found)
    else:
        show_entries(Terminal(), found, guarantees=bool(kind))
    return ExitCode.OK


VERB = Command(
    "list",
    run,
    "List what is registered, by kind; of one kind, with its guarantees.",
    ("attack", "--exemptions"),
)
