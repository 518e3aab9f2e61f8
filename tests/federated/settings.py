"""A small training for the tests: data, net, recipe, and a federation of server and clients over it."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from quintain.data.dataset import from_arrays
from quintain.federated import (
    Client,
    ClientConfig,
    FederatedConfig,
    SecureSum,
    Server,
    TrainingPlan,
    partition,
)
from quintain.federated.engine import local_engine
from quintain.federated.round_messages import early_answer
from quintain.federated.secagg import FolderJournal, Identity, MemoryJournal, Roster
from quintain.federated.simulated_network import SimulatedNetwork
from quintain.training import Recipe

SHORT = Recipe(epochs=1, batch_size=32, learning_rate=0.05)


def blobs(n=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    x = np.clip(0.5 + 0.15 * rng.standard_normal((n, 6)) + 0.25 * (labels[:, None] - 0.5), 0, 1)
    return from_arrays(x.astype(np.float32), labels, num_classes=2)


def linear(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).eval()


def is_ready(reply):
    """Whether a client has answered a task; its keys may come with it."""
    return early_answer(reply) is not None


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


class Killed(BaseException):
    """The server's process ends here."""


class StoppingNetwork(SimulatedNetwork):
    """A network under which the server is killed at a stage: before its messages leave, or with the replies.

    Args:
        stop: The stage, 0 for the first; -1 for after the broadcast of the task.
        answered: Whether the clients have answered by then.
    """

    def __init__(self, *args, stop, answered, **kwargs):
        super().__init__(*args, **kwargs)
        self.stop, self.answered = stop, answered

    def broadcast(self, message, sites):
        ready = super().broadcast(message, sites)
        if self.stop == -1:
            raise Killed
        return ready

    def arrivals(self, outgoing):
        if self._turn != self.stop:
            yield from super().arrivals(outgoing)
            return
        if self.answered:
            list(super().arrivals(outgoing))
        raise Killed


@dataclass
class Party:
    """A server and its clients, each with a plan of its own."""

    config: FederatedConfig = field(default_factory=lambda: FederatedConfig(3, SHORT))
    num_sites: int = 4
    aggregation: object = field(default_factory=SecureSum)
    folder: object = None

    def __post_init__(self):
        self.sites = partition(blobs(), self.num_sites, min_examples=10, min_per_class=1).sites
        self.identities = {name: Identity.create(name) for name in self.sites}
        self.roster = Roster.from_identities(*self.identities.values())
        self.net = linear()
        self.clients = [self.client(name) for name in self.sites]

    def plan(self, **changes):
        settings = {"roster": self.roster, "config": self.config, "net": linear(), **changes}
        return TrainingPlan.for_net(**settings)

    def client(self, name, *, plan=None, aggregation=None, net=None, **settings):
        journal = MemoryJournal() if self.folder is None else FolderJournal(self.folder / name)
        config = ClientConfig(plan or self.plan(), aggregation or self.aggregation, **settings)
        return Client(config, self.identities[name], self.sites[name], net or linear(), journal)

    def server(self, checkpoint=None, **changes):
        """A server that starts anew, as after it was killed: of the old one only the file is left."""
        self.net = linear()
        return Server(self.plan(**changes), self.net, self.aggregation, checkpoint=checkpoint)

    @property
    def carry(self):
        return local_engine([one.handle for one in self.clients], lambda carry: carry)

    def network(self, dropouts=None, down=()):
        """A network over the clients, of whom some are not there at all."""

        def carry(outgoing):
            yield from self.carry({site: one for site, one in outgoing.items() if site not in down})
            yield from ((site, OSError("it is down")) for site in down if site in outgoing)

        return SimulatedNetwork(self.clients, carry, dropouts or {}, self.aggregation.replies, lambda _: None)

    def stopping(self, stop, answered, dropouts=None):
        return StoppingNetwork(
            self.clients,
            self.carry,
            dropouts or {},
            self.aggregation.replies,
            lambda _: None,
            stop=stop,
            answered=answered,
        )
