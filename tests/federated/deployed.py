"""The files of a small federation, as its sites and its server have them on their disks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quintain.data.dataset import Dataset
from quintain.federated import partition
from quintain.federated.enrollment import save_identity, save_roster
from quintain.federated.secagg import Identity, Roster
from tests.federated.settings import blobs

NET = """
from torch import nn


def make(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, num_classes))
"""

PLAN = """
model = "net.py:make"
classes = 2
shape = [6]
rounds = 3
max_corrupt = 0
threshold = 2
"""

RECIPE = """
[recipe]
epochs = 1
batch_size = 32
learning_rate = 0.05
"""

CLIENT = """
plan = "../plan.toml"
identity = "identity.toml"
roster = "../roster.toml"
data = "data.npz"
state = "state"
journal = "journal"
socket = "socket"
"""

SERVER = """
plan = "plan.toml"
roster = "roster.toml"
state = "server.safetensors"
model = "federated.safetensors"
"""


@dataclass(frozen=True)
class Files:
    """Where the files of a federation are, and what is in them.

    Args:
        folder: Of what all have in common, and of a folder for each site.
        sites: Name to data.
        roster: Of all sites.
        identities: Name to signing key.
    """

    folder: Path
    sites: dict[str, Dataset]
    roster: Roster
    identities: dict[str, Identity]

    def client(self, name: str) -> Path:
        """A site's settings."""
        return self.folder / name / "client.toml"


def deployed(folder: Path, *, num_sites: int = 3, plan: str = PLAN + RECIPE, client: str = CLIENT) -> Files:
    """Write the files of a federation."""
    sites = partition(blobs(), num_sites, min_examples=10, min_per_class=1, prefix="site").sites
    identities = {name: Identity.create(name) for name in sites}
    roster = Roster.from_identities(*identities.values())
    save_roster(folder / "roster.toml", roster, identities.values())
    (folder / "plan.toml").write_text(plan)
    (folder / "net.py").write_text(NET)
    (folder / "server.toml").write_text(SERVER)
    for name, data in sites.items():
        (folder / name).mkdir()
        save_identity(folder / name / "identity.toml", identities[name])
        save_data(folder / name / "data.npz", data)
        (folder / name / "client.toml").write_text(client)
    return Files(folder, sites, roster, identities)


def save_data(path: Path, data: Dataset, **more: object) -> None:
    """Write examples to train on."""
    x, y = data.batch(np.arange(len(data)))
    np.savez(path, train_images=x.numpy(), train_labels=y.numpy(), **more)


class Asked:
    """A transport on which nobody answers.

    Attributes:
        task: What the server has sent.
    """

    task = b""

    def broadcast(self, message, sites):
        self.task = message
        return {}

    def exchange(self, outgoing):
        return {}

    def cancel(self, message, sites):
        pass
