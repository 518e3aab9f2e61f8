"""``quintain list``."""

from typing import Annotated

import typer

from quintain.cli.commands.command import Command

OLD_KINDS = {"defence": "defense", "data": "dataset", "private": "mechanism", "privacy_attack": "leak"}
"""Kinds as earlier versions called them; still taken."""


def run(
    kind: Annotated[
        str,
        typer.Argument(
            help="threat, model, dataset, attack, certifier, defense, mechanism ...: one line for each of "
            "that kind; the names of all kinds if not given."
        ),
    ] = "",
    long: Annotated[
        bool, typer.Option("--long", help="Show the whole summary and what each guarantees.")
    ] = False,
    exemptions: Annotated[
        bool, typer.Option("--exemptions", help="Show which laws something is exempt from, and why.")
    ] = False,
    exceptions: Annotated[
        bool, typer.Option("--exceptions", hidden=True, help="The earlier word for --exemptions.")
    ] = False,
) -> int:
    from quintain.cli.console import Terminal
    from quintain.cli.screen import show_entries, show_entries_in_full, show_exemptions, show_names
    from quintain.core.errors import ExitCode, UnknownNameError
    from quintain.core.registry import KINDS, entries

    kind = OLD_KINDS.get(kind, kind)
    if kind and kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    kinds = {one: list(entries(one).values()) for one in ([kind] if kind else KINDS)}
    found = [entry for each in kinds.values() for entry in each]
    if exemptions or exceptions:
        show_exemptions(Terminal(), found)
    elif long:
        show_entries_in_full(Terminal(), found)
    elif kind:
        show_entries(Terminal(), found)
    else:
        show_names(Terminal(), kinds)
        Terminal().print("quintain list KIND has a line for each; --long has all", style="dim")
    return ExitCode.OK


VERB = Command(
    "list",
    run,
    "List what is registered: the names by kind, a line for each of one kind, or all that each says of "
    "itself.",
    ("attack", "attack --long"),
)
