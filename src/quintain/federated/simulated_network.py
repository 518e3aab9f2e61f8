"""The network of a simulation: it carries bytes between server and clients, and knows what both cannot."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from quintain.core.errors import ProtocolError, SoundnessError, StorageError, UsageError
from quintain.federated.aggregation import Aggregation, RoundSum
from quintain.federated.client import Client
from quintain.federated.differencing import OpenedSum, group_sums
from quintain.federated.engine import Carry
from quintain.federated.in_process import RecordingTransport
from quintain.federated.local import Update
from quintain.federated.round_messages import early_answer
from quintain.federated.secagg.messages import MessageType
from quintain.federated.secagg.policy import Policy
from quintain.federated.sum_result import SecureSumResult, result_of
from quintain.federated.transport import DropoutStage, Exchange
from quintain.federated.unmasking_attack import secrets_of
from quintain.federated.view import ServerView
from quintain.federated.wrapped_aggregation import WrappedAggregation


class SimulatedNetwork(RecordingTransport):
    """The transport of one simulated round.

    Args:
        clients: In the roster's order.
        carry: What brings them their messages.
        dropouts: Site index to the stage of the sum from which it is silent.
        replies: Those of the aggregation.
        advance: Called with 1 for each site that has trained.
        show: Called with the stage, and the sites that are late in it, when a stage begins or ends.

    Attributes:
        admitted: The sites that the task of the round went to.
        failures: By name, why a site did not become ready.
        policy: The terms of the round, once the sum has begun.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        carry: Carry,
        dropouts: Mapping[int, DropoutStage],
        replies: Sequence[MessageType],
        advance: Callable[[int], None],
        show: Callable[[str], None] = lambda _text: None,
    ) -> None:
        super().__init__([one.name for one in clients], dropouts, replies)
        self._clients = dict(enumerate(clients))
        self._carry = carry
        self._ready: set[int] = set()
        self._advance, self._show = advance, show
        self._late: tuple[str, ...] = ()
        self.admitted: tuple[int, ...] = ()
        self.failures: dict[str, str] = {}
        self.policy: Policy | None = None

    def broadcast(self, message: bytes, sites: Iterable[int]) -> Mapping[int, bytes]:
        """Let each of these sites train, and record what they answer at once.

        Whatever ends the training of one site alone is a matter of its data or its machine: it is not ready.
        Alarms and wrong settings concern all sites, and so does a failure of every one.
        """
        self.admitted = tuple(sites)
        self._show("training")
        errors: dict[str, Exception] = {}
        early: dict[int, bytes] = {}
        for site, reply in self._carry(dict.fromkeys(self.admitted, message)):
            if isinstance(reply, SoundnessError | UsageError):
                raise reply
            if isinstance(reply, Exception):
                errors[self.names[site]] = reply
            else:
                self._ready.add(site)
                early[site] = early_answer(reply) or b""
            self._advance(1)
        if errors and not self._ready and not any(client.update for client in self._clients.values()):
            raise next(iter(errors.values()))
        self.failures = {name: str(error) or type(error).__name__ for name, error in errors.items()}
        early_replies = self._with_early(early)
        if any(early_replies.values()):
            self._late = tuple(self.names[site] for site in sorted(early_replies) if not early_replies[site])
            self._show_stage(self._replies[0].name.lower())
        return dict(sorted(early_replies.items()))

    def arrivals(self, outgoing: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Let each site that still answers take its step, and show the stage and who is late."""
        stage = self._replies[self._turn].name.lower()
        self._show_stage(stage)
        answered = set()
        for site, reply in super().arrivals(outgoing):
            answered.add(site)
            yield site, reply
        late = (self.names[site] for site in outgoing if site not in answered)
        self._late = tuple(dict.fromkeys((*self._late, *late)))
        self._show_stage(stage)

    def _show_stage(self, stage: str) -> None:
        self._show(f"{stage}, {', '.join(self._late)} late" if self._late else stage)

    def cancel(self, message: bytes, sites: Iterable[int]) -> None:
        """Tell sites that the round is over."""
        for _ in self._carry(dict.fromkeys(sites, message)):
            pass

    @property
    def view(self) -> ServerView:
        """The server's view of the round."""
        assert self.policy is not None
        return self.view_under(self.policy)

    @property
    def updates(self) -> dict[str, Update]:
        """The updates of the sites that have one over the round's model, by name."""
        clients = (self._clients[site] for site in self.admitted)
        return {one.name: one.update for one in clients if one.update is not None}

    @property
    def left(self) -> dict[str, str]:
        """Sites that went silent by themselves, and why."""
        return {**self.failures, **self.refusals}

    def _is_there(self, site: int) -> bool:
        return site in self._ready

    def _answers(self, requests: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        for site, reply in self._carry(requests):
            if isinstance(reply, ProtocolError | StorageError):
                self._ready.discard(site)
                self.refusals[self.names[site]] = str(reply)
            elif isinstance(reply, Exception):
                raise reply
            else:
                yield site, reply


class WatchedAggregation(WrappedAggregation):
    """An aggregation of which a simulation sees terms, sum and view, and attacks the view before it counts.

    Args:
        inner: The aggregation, as the server would have it.

    Attributes:
        network: That of the round; to be set before each.
        seconds: What the last sum took, without the attack.
        known_secrets: What the rounds so far revealed, which the attack on a later one tries.
    """

    def __init__(self, inner: Aggregation) -> None:
        super().__init__(inner)
        self._found: RoundSum | None = None
        self.known_secrets: frozenset[bytes] = frozenset()
        self._views: tuple[ServerView, ...] = ()
        self.network: SimulatedNetwork | None = None
        self.seconds = 0.0

    def sum(self, policy: Policy, transport: Exchange) -> RoundSum:
        """Sum, and attack the server's view whether or not there is a sum."""
        assert self.network is not None
        self.network.policy, self._found, self._views = policy, None, ()
        started = time.perf_counter()
        try:
            self._found = super().sum(policy, transport)
        finally:
            self.seconds = time.perf_counter() - started
            self._attack(self.network)
        return self._found

    @property
    def result(self) -> SecureSumResult | None:
        """The sum of the round with all that a simulation knows of it; None if there was none."""
        network = self.network
        if self._found is None or network is None or network.policy is None:
            return None
        encoded = {name: update.encoded for name, update in network.updates.items()}
        survivors = {name: encoded[name] for name in self._found.survivors}
        return result_of(
            network.policy,
            self._found,
            encoded,
            network.view,
            seconds=self.seconds,
            left=network.left,
            reference=self.reference(network.policy, survivors),
        )

    @property
    def opened_sums(self) -> tuple[OpenedSum, ...]:
        """The sums of the round that the server has, also if it refused them: of all sites, or of groups."""
        network = self.network
        if network is None or network.policy is None:
            return ()
        encoded = {name: update.encoded for name, update in network.updates.items()}
        if not self.sums_all:
            return group_sums(self._views, encoded)
        found, encoding = self._found, network.policy.encoding
        if found is None:
            return ()
        survivors = {name: encoded[name] for name in found.survivors}
        return (OpenedSum(encoding.decode(found.integers), survivors, encoding),)

    def _attack(self, network: SimulatedNetwork) -> None:
        view = network.view
        encoded = {name: update.encoded for name, update in network.updates.items()}
        self.check_view(view, encoded, self.known_secrets)
        # the seeds of survivors and the keys of others were revealed: a later round may use none of them
        self._views = self.views(view)
        self.known_secrets |= secrets_of(self._views)
