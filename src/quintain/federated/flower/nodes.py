"""Which node of a Flower grid leads to which site: each daemon answers a challenge (``authentication``)."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from quintain.core.errors import ProtocolError
from quintain.federated.authentication import authenticated_site, new_challenge
from quintain.federated.flower.stub import RECORD
from quintain.federated.secagg.keys import Roster

ANSWER_SECONDS = 30.0
"""How long a node has to answer; one whose daemon is down answers at once, with an error."""
PAUSE_SECONDS = 3.0
"""Between two looks at who is there."""


def find_sites(
    grid: Grid,
    roster: Roster,
    nodes: Iterable[int],
    known: Mapping[int, int] | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> dict[int, int]:
    """Ask nodes whose they are; return site index to node for those whose daemon has answered.

    Args:
        grid: As a ServerApp gets it.
        roster: The sites.
        nodes: Whom to ask.
        known: What was found before; a site keeps its node while that answers.
        say: Gets a line for a site that answers at another node besides: two daemons of one identity would
            train in turn, and the journal of each would know half of that.
    """
    found = dict(known or {})
    others: dict[int, int] = {}
    for site, node in _answers(grid, roster, nodes):
        if found.setdefault(site, node) != node:
            others[site] = node
    # a node that is gone may be listed for a while: a site that was started anew is at its new one alone
    both = dict(_answers(grid, roster, [found[site] for site in others]))
    for site, node in others.items():
        if both.get(site) != found[site]:
            found[site] = node
            continue
        say(
            f"{roster.names[site]} answers at two nodes, {found[site]} and {node}, of which the first is "
            "taken: if two daemons have its identity, such as on an old machine and a new one, stop one"
        )
    return found


def _answers(grid: Grid, roster: Roster, nodes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ask nodes whose they are; yield site index and node of each whose daemon answers."""
    number, challenge = new_challenge()
    messages = [
        Message(
            RecordDict({RECORD: ConfigRecord({"message": challenge})}),
            dst_node_id=node,
            message_type=MessageType.QUERY,
            ttl=ANSWER_SECONDS,
        )
        for node in nodes
    ]
    for reply in grid.send_and_receive(messages, timeout=ANSWER_SECONDS) if messages else ():
        with suppress(ProtocolError):
            yield authenticated_site(read_reply(reply), number, roster), reply.metadata.src_node_id


def gather_sites(
    grid: Grid,
    roster: Roster,
    known: Mapping[int, int],
    *,
    wanted: Collection[int],
    is_enough: Callable[[Collection[int]], bool],
    seconds: float,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> dict[int, int]:
    """Return site index to node, once enough sites are there.

    It waits without end for as many as make a sum, since a round with fewer would only be lost; and for the
    others as long as it is told to, such as for a daemon that is being restarted.

    Args:
        grid: As a ServerApp gets it.
        roster: The sites.
        known: What was found before, of sites that have answered since.
        wanted: The sites to wait for.
        is_enough: Whether sites that are there make a sum.
        seconds: How long to wait for the others.
        say: Gets a line when it waits for other sites than before, and each line of ``find_sites`` once.
        clock: Seconds that never go back.
        pause: Waits.
    """
    found, started, missing = dict(known), clock(), set(wanted)
    reported: set[str] = set()

    def say_once(text: str) -> None:
        if text not in reported:
            reported.add(text)
            say(text)

    while True:
        nodes = list(grid.get_node_ids())
        found = {site: node for site, node in found.items() if node in nodes}
        taken = set(found.values())
        found = find_sites(grid, roster, [node for node in nodes if node not in taken], found, say_once)
        before, missing = missing, set(wanted) - set(found)
        here = set(wanted) - missing
        if not missing or (is_enough(here) and clock() - started >= seconds):
            return found
        if missing != before:
            names = ", ".join(roster.names_of(tuple(sorted(missing))))
            say(f"{len(here)} of {len(wanted)} sites are there; waiting for {names}")
        pause(PAUSE_SECONDS)


def read_reply(reply: Message) -> bytes:
    """Return the bytes that a stub app's reply carries; none if it is an error or something else."""
    record = None if reply.has_error() else reply.content.config_records.get(RECORD)
    data = None if record is None else record.get("message")
    return data if isinstance(data, bytes) else b""
