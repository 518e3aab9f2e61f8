"""``quintain list``."""

from typing import Annotated

import typer

from quintain.cli.verbs.verb import Verb


def run(
    kind: Annotated[str, typer.Argument(help="threat, model, data, attack, certifier, defense ...; all if not given.")] = "",
    exceptions: Annotated[bool, typer.Option("--exceptions", help="Show which laws something is exempt from, and why.")] = False,
) -> int:
    from quintain.cli.screen import show_entries, show_exceptions
    from quintain.cli.terminal import Terminal
    from quintain.core.errors import ExitCode, UnknownName
    from quintain.core.registry import CATALOGUES, entries

    kind = {"defence": "defense"}.get(kind, kind)  # as earlier versions spelled it
    if kind and kind not in CATALOGUES:
        raise UnknownName("kind", kind, CATALOGUES)
    found = [entry for one in ([kind] if kind else CATALOGUES) for entry in entries(one).values()]
    show = show_exceptions if exceptions else show_entries
    show(Terminal(), found)
    return ExitCode.HOLDS


VERB = Verb("list", run, "Everything that is registered, by kind, with its guarantee.", ("attack", "--exceptions"))
