"""``quintain enroll``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command

if TYPE_CHECKING:
    from quintain.cli.console import Terminal
    from quintain.federated.enrollment import SignedRoster
    from quintain.federated.secagg.keys import Roster

NEXT_VERSION = frozenset({"--roster", "--member", "--revoke"})
SIGNATURE = frozenset({"--sign", "--identity", "--roster"})


def run(
    name: Annotated[
        str, typer.Argument(help="The site's name; none for what concerns a roster.", show_default=False)
    ] = "",
    member: Annotated[
        list[Path] | None,
        typer.Option(
            help="A site's member.toml; repeatable. One for each site of the first roster; with --roster, of "
            "each site that joins or has another key.",
            show_default=False,
        ),
    ] = None,
    roster: Annotated[
        list[Path] | None,
        typer.Option(
            help="A roster to show. With --member or --revoke the last one, of which the next version is "
            "made; with --sign the last one, which the new one must follow. Repeated: copies of one "
            "roster, whose signatures are put together.",
            show_default=False,
        ),
    ] = None,
    revoke: Annotated[
        list[str] | None,
        typer.Option(help="A site that leaves the --roster; repeatable.", show_default=False),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(help="A roster that gets the signature of --identity.", show_default=False),
    ] = None,
    identity: Annotated[
        Path | None, typer.Option(help="This site's identity.toml, to --sign with.", show_default=False)
    ] = None,
    to: Annotated[Path, typer.Option(help="The folder of the files.")] = Path(),
) -> int:
    from quintain.cli.console import Terminal
    from quintain.core.errors import ExitCode, SettingError
    from quintain.federated import enrollment, roster_versions

    given = {"NAME": name, "--member": member, "--roster": roster, "--revoke": revoke, "--sign": sign}
    used = {word for word, value in {**given, "--identity": identity}.items() if value}
    members, rosters, place, screen = member or [], roster or [], to / "roster.toml", Terminal()
    if len(rosters) > 1 and used != {"--roster"}:
        raise SettingError("several --roster; expected one, the last: copies of one are put together first")
    if used == {"NAME"}:
        ((_, key),) = enrollment.enroll(to, name).items()
        _show_key(screen, name, key)
        _say(screen, f"{to / 'identity.toml'} stays at this site; send {to / 'member.toml'} to the others")
    elif used == {"--member"}:
        roster_versions.write_roster(to, members)
        _show(screen, place)
    elif used == {"--roster"}:
        if len(rosters) > 1:
            roster_versions.combine_rosters(to, rosters)
        _show(screen, place if len(rosters) > 1 else rosters[0])
    elif {"--roster"} < used <= NEXT_VERSION:
        roster_versions.write_next_roster(to, rosters[0], members, revoke or [])
        _show(screen, place, enrollment.load_roster(rosters[0]))
    elif sign is not None and identity is not None and used <= SIGNATURE:
        signed = enrollment.read_roster(sign).sign(enrollment.load_identity(identity))
        last = enrollment.load_roster(rosters[0]) if rosters else None
        if last is not None:
            roster_versions.check_follows(last, signed.roster)
        _show_keys(screen, sign, signed.roster, last)
        _say_unsigned(screen, sign, enrollment.write_signatures(sign, signed))
    else:
        raise SettingError(
            f"got {', '.join(sorted(used)) or 'nothing'}; expected the NAME of a site, which gets an "
            "identity, a --member for each site, which make a roster, --sign and --identity, or a --roster, "
            "with --member and --revoke for its next version"
        )
    return ExitCode.OK


def _show(screen: "Terminal", path: Path, last: "Roster | None" = None) -> None:
    """Show a roster's file."""
    from quintain.federated.enrollment import read_roster

    signed = read_roster(path)
    _show_keys(screen, path, signed.roster, last)
    _say_unsigned(screen, path, signed)


def _show_keys(screen: "Terminal", path: Path, roster: "Roster", last: "Roster | None") -> None:
    """Show what members compare before they sign a roster."""
    head = f"{path}: version {roster.version}, {roster.digest.hex()[:16]}"
    screen.print(head, markup=False, soft_wrap=True)
    for name, key in zip(roster.names, roster.keys, strict=True):
        _show_key(screen, name, key, " (new)" if last is not None and key not in last.keys else "")
    for name, key in roster.revoked:
        _show_key(screen, name, key, " (revoked)")


def _say_unsigned(screen: "Terminal", path: Path, signed: "SignedRoster") -> None:
    """Say who has to sign yet."""
    names = ", ".join(map(_readable_name, signed.unsigned))
    _say(
        screen,
        f"not signed yet by {names}: read these words to each other, on a way that nobody can forge; then "
        f"each runs 'quintain enroll --sign {path} --identity identity.toml'"
        if names
        else f"signed by all: {path} is for every site and the server",
    )


def _show_key(screen: "Terminal", name: str, key: bytes, what: str = "") -> None:
    from quintain.federated.key_words import fingerprint

    screen.print(f"{_readable_name(name)}: {fingerprint(key)}{what}", markup=False, soft_wrap=True)


def _say(screen: "Terminal", text: str) -> None:
    screen.print(text, markup=False, soft_wrap=True, style="dim")


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
    "Make a site's identity for secure sums, and the roster of all sites: the first one, its signatures, and "
    "its next version when a site joins, leaves or gets another key. Shows the words by which keys are "
    "compared.",
    (
        "hospital-a --to /etc/quintain",
        "--member a/member.toml --member b/member.toml --member c/member.toml",
    ),
)
