"""Flower's simulation engine as what carries a simulation's messages, by stub apps under Ray."""

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

# read when Flower and Ray are imported
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from quintain.core.errors import ModelError, ProtocolError
from quintain.core.user_code import failure_text
from quintain.federated.daemon import listen, serve_daemon
from quintain.federated.engine import Carry, Handle
from quintain.federated.flower.grid_transport import GridTransport
from quintain.federated.flower.stub import stub_app
from quintain.federated.transport import Deadlines

PAUSE_SECONDS = 0.1
"""Between two looks at how many nodes have been started."""
BACKEND = {
    "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
    "init_args": {"include_dashboard": False, "logging_level": "error", "log_to_driver": False},
}
PATIENT = Deadlines(stage=7 * 86400.0)
"""Nothing is late that the simulation does not say to be: a site trains as long as it takes."""
Result = TypeVar("Result")


def flower_engine(handles: Sequence[Handle], work: Callable[[Carry], Result]) -> Result:
    """Run the work as a ServerApp, and let ClientApps under Ray pass its messages to the sites.

    The sites stay in this process, each behind a Unix socket, as a deployment's daemons: what Flower starts
    for each message passes bytes and knows nothing. One site answers at a time, so that the result is that of
    the local engine, bit for bit.

    Args:
        handles: Of each site, in the roster's order.
        work: Gets what carries its messages.

    Raises:
        BaseException: What the work raises.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)
    raised: dict[int, Exception] = {}
    returned: list[Result] = []
    ended_by: list[BaseException] = []

    def main(grid: Grid, _context: Context) -> None:
        try:
            nodes = _wait_for_nodes(grid, len(handles))
            for site, node in enumerate(nodes):
                listening = listen(folder / str(node))
                stack.callback(listening.close)
                stack.callback(listening.shutdown, 2)
                answer = _answering(site, handles[site], raised, turn)
                threading.Thread(target=serve_daemon, args=(answer, listening), daemon=True).start()
            returned.append(work(_carry_over(grid, nodes, raised)))
        except BaseException as error:  # Flower would swallow it: the caller raises it again
            ended_by.append(error)

    app = ServerApp()
    app.main()(main)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quintain-")))
        turn = threading.Lock()
        # a socket has the name of its node: the app finds it, and the server asks nobody who is where
        stubs = stub_app(lambda context: folder / str(context.node_id))
        run_simulation(app, stubs, len(handles), backend_config=BACKEND)
    if ended_by:
        raise ended_by[0]
    return returned[0]


def _answering(site: int, handle: Handle, raised: dict[int, Exception], turn: threading.Lock) -> Handle:
    """What a site answers with: nothing where it raises, which is kept for those who look on."""

    def answer(message: bytes) -> bytes:
        with turn:
            try:
                return handle(message)
            except Exception as error:  # of the site's own net and data; the caller gets it from ``raised``
                raised[site] = error
                return b""
            except SystemExit as error:  # of the user's net: this thread would end, and nobody answer
                raised[site] = ModelError(f"the net fails in training: {failure_text(error)}")
                return b""

    return answer


def _carry_over(grid: Grid, nodes: Sequence[int], raised: dict[int, Exception]) -> Carry:
    """Return what carries messages over a grid to its nodes, each of which has one site."""
    transport = GridTransport(grid, dict(enumerate(nodes)), PATIENT)

    def carry(outgoing: Mapping[int, bytes]) -> Iterator[tuple[int, bytes | Exception]]:
        raised.clear()
        replies = transport.exchange(outgoing)
        for site in outgoing:
            if site in raised:
                yield site, raised[site]
            elif site in replies:
                yield site, replies[site]
            else:
                yield site, ProtocolError("Flower's simulation engine brought no reply; see its log")

    return carry


def _wait_for_nodes(grid: Grid, num_sites: int) -> list[int]:
    """Return the nodes, once the engine has started all of them."""
    while len(nodes := list(grid.get_node_ids())) < num_sites:
        time.sleep(PAUSE_SECONDS)
    return nodes
