"""The server: rounds, terms and the common model. It holds no data, no identity key and no update.

A round is: claim its counter on disk, broadcast the task, run the server's half of the aggregation, take the
strategy's step with the average, write the state. A server that is killed in between starts again from the
last state: the round that was under way counts as abandoned, and the same one is tried anew under another
counter and id. Clients answer that with the vectors that they had, and for the same survivors only if some
had opened the sum, so that nothing more is revealed (``secagg.journal``).
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from quintain.core.errors import ProtocolError, SabotageError
from quintain.federated.aggregation import Aggregation, RoundSum
from quintain.federated.model_bytes import add_update, model_digest, pack_model
from quintain.federated.noise import CentralNoise
from quintain.federated.plan import TrainingPlan
from quintain.federated.reports import ServerReport
from quintain.federated.round_messages import PublishedSum, RoundTask, pack_cancel
from quintain.federated.secagg.message_bodies import pack_offer
from quintain.federated.secagg.policy import ROUND_BYTES, Policy
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.server_state import ServerState, load_state, save_state
from quintain.federated.transport import Exchange, StreamingExchange, Transport


class Server:
    """The server of a federated training.

    Args:
        plan: The training; the clients have plans of their own.
        net: The first model, also for a server that goes on from a checkpoint. Moved in place by every round,
            but for what the strategy leaves at the sites; left in evaluation mode.
        aggregation: What sums.
        checkpoint: The file of its state, written before and after each round; one that is there is gone on
            with. It holds the model and what was published, and nothing secret.

    Raises:
        RunFolderError: If the checkpoint is damaged, or of another training, by terms, keys or first model.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        net: nn.Module,
        aggregation: Aggregation,
        *,
        checkpoint: Path | None = None,
    ) -> None:
        check_types(TrainingPlan, plan=plan)
        check_types(nn.Module, net=net)
        check_types(Aggregation, aggregation=aggregation)
        plan.check_aggregation(aggregation)
        self.plan, self.aggregation = plan, aggregation
        self.net = plan.strategy.common_model(net)
        self._checkpoint = checkpoint
        # a state goes on under the same keys and from the same first model alone, as clients' chains do
        parts = (plan.fingerprint, aggregation.name, repr(plan.strategy), plan.roster.digest.hex())
        self._fingerprint = " ".join((*parts, model_digest(self.net).hex()))
        self.state = ServerState()
        if checkpoint is not None and checkpoint.exists():
            self.state = load_state(checkpoint, self.net, self._fingerprint)

    @property
    def is_finished(self) -> bool:
        """Whether all rounds are done."""
        return len(self.state.reports) >= self.plan.config.rounds

    @property
    def admitted(self) -> list[int]:
        """The sites that are not proven to have cheated, by the roster's indices."""
        return [site for site, name in enumerate(self.plan.roster.names) if name not in self.state.cheaters]

    def run(
        self, transport: Transport, on_round: Callable[[ServerReport], None] | None = None
    ) -> tuple[ServerReport, ...]:
        """Run all rounds that are left, and return the reports of all."""
        while not self.is_finished:
            report = self.run_round(transport)
            if on_round is not None:
                on_round(report)
        return self.state.reports

    def run_round(self, transport: Transport) -> ServerReport:
        """Run one round; if it is abandoned the model is as it was, and the report says why.

        Where those that have cheated leave too few sites for any sum, none is asked to train.
        """
        policy, admitted = self._open_round(), self.admitted
        if too_few := self.too_few(policy):
            return self._finish(self._abandon_round(too_few, (), 0.0))
        task = RoundTask(
            round_id=policy.round_id,
            index=len(self.state.reports),
            aggregation=self.aggregation.name,
            terms=pack_offer(policy),
            model=pack_model(self.net),
            published=self.state.published,
            last_sums=self.state.last_sums(self.plan.roster.names),
        )
        ready = transport.broadcast(task.pack(), admitted)
        started = time.perf_counter()
        try:
            among = _ReadySites(transport, ready, self.aggregation.opening(policy))
            found = self._noisy(self.aggregation.sum(policy, among))
            self._check(found)
        except ProtocolError as error:
            transport.cancel(pack_cancel(policy.round_id), admitted)
            accused = error.accused if isinstance(error, SabotageError) else ()
            report = self._abandon_round(str(error), accused, time.perf_counter() - started)
        else:
            report = self._apply(policy, found, time.perf_counter() - started)
        return self._finish(report)

    def _finish(self, report: ServerReport) -> ServerReport:
        """Note a round, lasting."""
        self.state = self.state.after(report)
        self._save()
        return report

    def too_few(self, policy: Policy) -> str:
        """Say why no round can come to a sum any more without those that have cheated, and what to do.

        Nothing if some can.
        """
        if not self.state.cheaters or not (shortage := self.aggregation.shortage(policy, self.admitted)):
            return ""
        names = ", ".join(self.state.cheaters)
        return (
            f"no site was asked to train: without {names}, proven to have cheated, {shortage}. Agree on a "
            f"roster without {names}, and train anew under it from other first weights: over a model that "
            "was trained on before, sums of other sites subtract to single updates"
        )

    def _open_round(self) -> Policy:
        """Claim the next counter, lasting before anything of the round leaves, and return its terms."""
        counter = self.state.next_counter
        self.state = self.state.with_next_counter()
        self._save()
        return self.plan.policy(counter, secrets.token_bytes(ROUND_BYTES), model_digest(self.net))

    def _noisy(self, found: RoundSum) -> RoundSum:
        """Add the server's own noise to a sum, where the plan has it, before anything is done with it."""
        if not isinstance(self.plan.noise, CentralNoise):
            return found
        return replace(found, integers=self.plan.noise.add_noise(found.integers))

    def _check(self, found: RoundSum) -> None:
        """Refuse a sum that its survivors cannot have made, by the names of those that are proven to lie."""
        try:
            self.plan.check_sum(found.integers, found.survivors, self.aggregation)
        except ProtocolError as error:
            if not found.accused:
                raise
            raise SabotageError(str(error), found.accused) from error

    def _apply(self, policy: Policy, found: RoundSum, seconds: float) -> ServerReport:
        """Take the strategy's step with the average, and publish the sum."""
        change, memory = self.plan.step(found.integers, found.survivors, self.state.strategy)
        add_update(self.net, change)
        self.net.eval()
        survivors = tuple(self.plan.roster.index(name) for name in found.survivors)
        published = PublishedSum(policy.task.counter, survivors, found.integers)
        self.state = self.state.after_step(published, memory)
        return ServerReport(
            index=len(self.state.reports),
            survivors=found.survivors,
            dropped=found.dropped,
            weight=sum(self.plan.weights[name] for name in found.survivors),
            seconds=seconds,
            refused={**found.refused, **self.state.cheaters},
            accused=found.accused,
        )

    def _abandon_round(self, reason: str, accused: tuple[str, ...], seconds: float) -> ServerReport:
        return ServerReport(
            index=len(self.state.reports),
            survivors=(),
            dropped=self.plan.roster.names,
            weight=0,
            seconds=seconds,
            refused=dict(self.state.cheaters),
            accused=accused,
            abort_reason=reason,
        )

    def _save(self) -> None:
        if self._checkpoint is not None:
            save_state(self._checkpoint, self.net, self.state, self._fingerprint)


class _ReadySites:
    """A transport that reaches the sites that are ready for a round, and no others.

    Args:
        transport: What carries the messages.
        ready: Who is ready, with the answer to the opening that came at once.
        opening: The first message of the sum, which they have answered; empty where they wait for it.
    """

    def __init__(self, transport: Exchange, ready: Mapping[int, bytes], opening: bytes) -> None:
        self._transport, self._ready, self._opening = transport, dict(ready), opening

    def exchange(self, outgoing: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Deliver what is for these sites; return their replies, of the opening those that are here."""
        if self._opening and set(outgoing.values()) == {self._opening}:
            return {site: self._ready[site] for site in outgoing if self._ready.get(site)}
        replies = self._transport.exchange(
            {site: message for site, message in outgoing.items() if site in self._ready}
        )
        return {site: reply for site, reply in replies.items() if site in self._ready}

    def arrivals(self, outgoing: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Deliver what is for these sites; yield their replies as they come, where the transport can."""
        if not isinstance(self._transport, StreamingExchange):
            yield from self.exchange(outgoing).items()
            return
        among = {site: message for site, message in outgoing.items() if site in self._ready}
        for site, reply in self._transport.arrivals(among):
            if site in self._ready:
                yield site, reply
