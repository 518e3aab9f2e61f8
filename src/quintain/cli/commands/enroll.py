"""``quintain enroll``."""

from pathlib import Path
from typing import Annotated

import typer

from quintain.cli.commands.command import Command


def run(
    name: Annotated[
        str, typer.Argument(help="The site's name; none to write the roster of others.", show_default=False)
    ] = "",
    member: Annotated[
        list[Path] | None,
        typer.Option(
            help="A site's member.toml; repeatable, one for each site of the roster.", show_default=False
        ),
    ] = None,
    to: Annotated[Path, typer.Option(help="The folder of the files.")] = Path(),
) -> int:
    from quintain.cli.console import Terminal
    from quintain.core.errors import ExitCode, SettingError
    from quintain.federated.enrolment import enroll, fingerprint, write_roster

    if bool(name) == bool(member):
        raise SettingError(
            "expected the NAME of a site, which gets an identity, or a --member for each site, which make a "
            "roster"
        )
    screen = Terminal()
    if member:
        roster = write_roster(to, member)
        keys = dict(zip(roster.names, roster.keys, strict=True))
    else:
        keys = enroll(to, name)
    for one, key in keys.items():
        screen.print(f"{_readable_name(one)}: {fingerprint(key)}", markup=False, soft_wrap=True)
    text = (
        f"{to / 'roster.toml'}: read these words to each other, on a way that nobody can forge, before the "
        "first round"
        if member
        else f"{to / 'identity.toml'} stays at this site; send {to / 'member.toml'} to the others"
    )
    screen.print(text, markup=False, soft_wrap=True, style="dim")
    return ExitCode.OK


def _readable_name(name: str) -> str:
    """Return a name with escapes for control characters and for letters that only look like ASCII's.

    The name comes from another site.
    """
    if not name.isprintable():
        return ascii(name)
    return name if name.isascii() else f"{name} = {name!a}"


VERB = Command(
    "enroll",
    run,
    "Make a site's identity for secure sums, or the roster of all sites from what each has sent, and show "
    "the words by which keys are compared.",
    ("hospital-a --to /etc/quintain", "--member a/member.toml --member b/member.toml --member c/member.toml"),
)
