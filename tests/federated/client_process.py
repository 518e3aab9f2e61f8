"""A client as a program: ``client_process.py PORT SETTINGS FOLDER``, with the settings as JSON."""

import json
import os
import socket
import sys
from pathlib import Path

from quintain.federated import Client, ClientConfig, FederatedConfig, TrainingPlan, partition
from quintain.federated.secagg import FolderJournal, Identity, Roster
from quintain.federated.secagg.secret import Secret
from quintain.federated.streams import serve

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.federated.settings import SHORT, blobs, linear


def main(port: int, settings: str, folder: Path) -> None:
    """Build this site's own plan, data and journal, and serve until the server hangs up."""
    said = json.loads(settings)
    name = said["name"]
    identity = Identity(name, bytes.fromhex(said["public"]), Secret(bytes.fromhex(said["private"])))
    roster = Roster(tuple(said["names"]), tuple(bytes.fromhex(key) for key in said["keys"]))
    data = partition(blobs(), len(roster), min_examples=10, min_per_class=1).sites[name]
    net = linear()
    plan = TrainingPlan.for_net(
        roster, FederatedConfig(said["rounds"], SHORT), net, data=f"samples of shape {data.shape} in [0, 1]"
    )
    client = Client(ClientConfig(plan, seed=said["seed"]), identity, data, net, FolderJournal(folder))
    counts = iter(range(10**6))

    def handled(message: bytes) -> bytes:
        turn = next(counts)
        if turn in said["unplugged"]:
            raise OSError("unplugged")
        if turn == said["killed"]:
            os._exit(9)
        return client.handle(message)

    serve(handled, socket.create_connection(("127.0.0.1", port)))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
