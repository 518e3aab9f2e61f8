"""A Flower ServerApp that runs a whole federated training by the sites' daemons, and goes on where it was."""

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from quintain.core.errors import ProtocolError, SettingError
from quintain.federated.deployment import ServerSettings
from quintain.federated.deployment.folders import lock_folder, private_folder
from quintain.federated.flower.grid_transport import GridTransport
from quintain.federated.flower.nodes import gather_sites
from quintain.federated.privacy import noise_privacy, text_of
from quintain.federated.secagg.policy import ROUND_BYTES
from quintain.federated.secagg.primitives import KEY_BYTES
from quintain.federated.server import Server
from quintain.federated.transport import Deadlines
from quintain.federated.transport_progress import TransportProgress, report_text

SETTINGS_KEY = "quintain-server"
"""The key of a run's configuration with the path of the server's own ``server.toml``."""
SETTINGS_VARIABLE = "QUINTAIN_SERVER"
"""The environment variable of the SuperLink that has it where the run's configuration does not."""

log = logging.getLogger("flwr")


def server_app() -> ServerApp:
    """Make the app: ``run_deployment`` by the settings that the run or the environment names."""

    def main(grid: Grid, context: Context) -> None:
        run_deployment(grid, ServerSettings.load(settings_path(context)), log.info)

    app = ServerApp()
    app.main()(main)
    return app


def settings_path(context: Context) -> Path:
    """Return the path of the server's settings.

    Raises:
        SettingError: If neither the run's configuration nor the environment has it.
    """
    path = context.run_config.get(SETTINGS_KEY) or os.environ.get(SETTINGS_VARIABLE)
    if not isinstance(path, str):
        raise SettingError(
            f"neither {SETTINGS_KEY} of the run's configuration nor {SETTINGS_VARIABLE} of the SuperLink's "
            "environment is set; expected the path of server.toml"
        )
    return Path(path)


def run_deployment(grid: Grid, settings: ServerSettings, say: Callable[[str], None]) -> Server:
    """Run the rounds that are left, each by the sites that are there, and write the model after each.

    A run that was killed is run again: its state was written before and after each round, so that it tries
    the round that was under way anew, under another counter and id. The sites answer that with the updates
    that they had.

    Args:
        grid: As a ServerApp gets it.
        settings: The server's own.
        say: Gets one line at a time.

    Raises:
        StorageError: If another run has the state's folder.
        ProtocolError: If all rounds were abandoned.
    """
    with lock_folder(private_folder(settings.state.parent, forbidden=0)):
        server = settings.server()
        nodes: dict[int, int] = {}
        while not server.is_finished:
            nodes = _run_round(server, grid, nodes, settings.deadlines, say)
            if not server.state.reports[-1].abort_reason:
                settings.save_model(server)
        reports = server.state.reports
        if all(report.abort_reason for report in reports):
            raise ProtocolError(
                f"all {len(reports)} rounds were abandoned, the model is as it was; the last one: "
                f"{reports[-1].abort_reason}"
            )
        digest = settings.save_model(server)
        say(f"the model of {len(reports)} rounds is in {settings.model}, SHA-256 {digest}")
        spent = noise_privacy(server.plan, server.aggregation, [len(one.survivors) for one in reports])
        if spent is not None:
            say("; ".join((text_of(spent), *spent.notes)))
    return server


def _run_round(
    server: Server, grid: Grid, nodes: dict[int, int], deadlines: Deadlines, say: Callable[[str], None]
) -> dict[int, int]:
    """Run one round; return site index to node for those that have answered to its end.

    Where those that have cheated leave too few sites for any sum, no site is waited for.
    """
    plan = server.plan
    policy = plan.policy(0, bytes(ROUND_BYTES), bytes(KEY_BYTES))
    here = f"round {len(server.state.reports) + 1} of {plan.config.rounds}: "

    def say_here(text: str) -> None:
        say(here + text)

    found = nodes
    if not server.too_few(policy):
        found = gather_sites(
            grid,
            plan.roster,
            nodes,
            wanted=server.admitted,
            is_enough=partial(server.aggregation.can_sum, policy),
            seconds=deadlines.gather,
            say=say_here,
        )
    transport = TransportProgress(
        GridTransport(grid, found, deadlines), plan.roster.names, server.aggregation.replies, say_here
    )
    say_here(report_text(server.run_round(transport)))
    return {site: node for site, node in found.items() if site not in transport.silent}
