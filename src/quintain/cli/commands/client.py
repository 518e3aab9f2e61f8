"""``quintain client``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from quintain.cli.commands.command import Command

if TYPE_CHECKING:
    from quintain.federated.deployment.site_settings import ClientSettings


def run(
    action: Annotated[
        Literal["run", "approve"],
        typer.Argument(help="run the daemon, or approve its plan as it is now, which run asks for."),
    ] = "run",
    config: Annotated[
        Path, typer.Option(help="The site's own settings (docs/deployment-files.md has the keys).")
    ] = Path("client.toml"),
) -> int:
    from quintain.core.errors import ExitCode
    from quintain.federated.deployment.site_settings import ClientSettings

    if action == "approve":
        _approve(ClientSettings.load(config))
        return ExitCode.OK
    try:
        from quintain.federated.deployment.site_daemon import run_daemon

        run_daemon(ClientSettings.load(config))
    except KeyboardInterrupt:
        pass  # before it was ready; afterwards it ends by itself
    return ExitCode.OK


def _approve(settings: "ClientSettings") -> None:
    """Show all terms of a plan, and approve them."""
    from quintain.cli.console import Terminal
    from quintain.federated.deployment.approval import APPROVED_FILE, approve

    screen = Terminal()
    approval = approve(settings)
    for name, text in {**approval.terms, **approval.own}.items():
        screen.print(f"{name}: {text}", markup=False, soft_wrap=True)
    screen.print(
        f"approved in {settings.state / APPROVED_FILE}: the daemon runs this plan and no other; delete the "
        "file to take it back, which holds from the next round on",
        markup=False,
        soft_wrap=True,
        style="dim",
    )


VERB = Command(
    "client",
    run,
    "Run a site's daemon in a federation of several machines, or approve the plan that it trains by.",
    ("approve --config client.toml", "--config client.toml"),
)
