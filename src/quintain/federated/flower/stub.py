"""A Flower ClientApp that passes bytes between the server and a site's own daemon, and knows nothing."""

from collections.abc import Callable
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from quintain.core.errors import ProtocolError
from quintain.federated.daemon import ask
from quintain.federated.flower.refusal import REFUSED

RECORD = "federated"
"""The record that carries a message."""
SOCKET_KEY = "quintain-socket"
"""The key in a SuperNode's own configuration (``--node-config``) with the path of the daemon's socket."""


def socket_of_node(context: Context) -> Path:
    """Return the socket that a SuperNode's configuration names.

    Raises:
        ProtocolError: If it names none.
    """
    path = context.node_config.get(SOCKET_KEY)
    if not isinstance(path, str):
        raise ProtocolError(f"the node's configuration has no {SOCKET_KEY!r}; expected the daemon's socket")
    return Path(path)


def stub_app(socket_of: Callable[[Context], Path] = socket_of_node) -> ClientApp:
    """Make the app.

    Args:
        socket_of: Where a node finds its daemon; never what the server sent (``context.run_config``).
    """

    def query(message: Message, context: Context) -> Message:
        try:
            data = message.content.config_records[RECORD]["message"]
            reply = ask(socket_of(context), data, message.metadata.ttl)
        except Exception:  # whatever it is, the server learns no more than that there is no reply
            reply = None
        if reply is None:
            return Message(REFUSED, reply_to=message)
        return Message(RecordDict({RECORD: ConfigRecord({"message": reply})}), reply_to=message)

    app = ClientApp()
    app.query()(query)
    return app
