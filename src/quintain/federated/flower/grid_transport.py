"""The transport of a federated ``Server`` over Flower's grid, to daemons behind stub apps."""

from collections.abc import Iterable, Mapping

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from quintain.federated.flower.nodes import read_reply
from quintain.federated.flower.stub import RECORD
from quintain.federated.round_messages import early_answers
from quintain.federated.transport import Deadlines


class GridTransport:
    """Carries the messages of all rounds; an error or no reply in time is silence.

    Args:
        grid: As a ServerApp gets it.
        nodes: Site index to the number of its node, as ``nodes.find_sites`` finds them.
        deadlines: How long a site has to train, and to reply.
    """

    def __init__(self, grid: Grid, nodes: Mapping[int, int], deadlines: Deadlines | None = None) -> None:
        self._grid, self._nodes = grid, dict(nodes)
        self._deadlines = Deadlines() if deadlines is None else deadlines

    def broadcast(self, message: bytes, sites: Iterable[int]) -> Mapping[int, bytes]:
        """Send the task of a round; return who is ready within the deadline of training, and its answer."""
        return early_answers(self._ask(dict.fromkeys(sites, message), self._deadlines.train).items())

    def exchange(self, outgoing: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Send each site its message; return what came back within the deadline of a stage."""
        return self._ask(outgoing, self._deadlines.stage)

    def cancel(self, message: bytes, sites: Iterable[int]) -> None:
        """Tell sites that the round is over; nothing is waited for."""
        self._grid.push_messages(self._messages(dict.fromkeys(sites, message), self._deadlines.stage))

    def _ask(self, outgoing: Mapping[int, bytes], seconds: float) -> dict[int, bytes]:
        sites = {node: site for site, node in self._nodes.items()}
        found = {}
        for reply in self._grid.send_and_receive(self._messages(outgoing, seconds), timeout=seconds):
            data = read_reply(reply)
            if data and reply.metadata.src_node_id in sites:
                found[sites[reply.metadata.src_node_id]] = data
        return found

    def _messages(self, outgoing: Mapping[int, bytes], seconds: float) -> list[Message]:
        return [
            Message(
                RecordDict({RECORD: ConfigRecord({"message": data})}),
                dst_node_id=self._nodes[site],
                message_type=MessageType.QUERY,
                ttl=max(seconds, 1.0),
            )
            for site, data in outgoing.items()
            if site in self._nodes
        ]
