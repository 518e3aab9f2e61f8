"""A strategy that takes averages from secure sums, around one of Flower's that makes models of averages."""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    Bulyan,
    FedAvg,
    FedMedian,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    Krum,
    MultiKrum,
    QFedAvg,
    Result,
    Strategy,
)

from quintain.core.errors import ProtocolError, SabotageError, SettingError
from quintain.federated.flower import arrays as flat
from quintain.federated.flower.terms import NO_ROUND, RoundFacts, SumTerms
from quintain.federated.reports import ServerReport
from quintain.federated.secagg import server, transcript
from quintain.federated.secagg.collecting import RoundInProgress, RoundOutcome
from quintain.federated.secagg.messages import MessageType, open_site
from quintain.federated.secagg.policy import ROUND_BYTES, Policy
from quintain.federated.secagg.setting_types import check_types

_LOG = logging.getLogger("flwr")

NEED_SINGLE_UPDATES = (
    Bulyan,
    FedMedian,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    Krum,
    MultiKrum,
    QFedAvg,
)
"""Strategies that look at each site's update, of which a secure sum shows none."""


@dataclass(frozen=True, slots=True)
class _OpenRound:
    """A round that is offered: its state, what was sent, and by which grid."""

    state: RoundInProgress
    old: flat.Arrays
    sent: Message
    grid: Grid
    started: float


class SecAgg(Strategy):
    """Secure aggregation around a strategy: ``SecAgg(FedAvg(...), terms)``.

    The strategy inside chooses the nodes, configures them and takes its step (FedAdam's, say) from the
    average; it is given that as one reply of weight 1. Nodes without an answer in time, errors and replies
    that do not hold up are silent sites; a round with too few is abandoned, and the model stays as it was.

    Args:
        strategy: FedAvg, or one that needs no more than an average.
        terms: The terms of the sums; each site has its own copy.
        stage_timeout: Seconds for each message of the sum and its reply.
        run_config: The ``context.run_config`` of the ServerApp, if the app has one: sites refuse a round of
            another than theirs.

    Attributes:
        reports: What the server knows of each round.

    Raises:
        SettingError: If the strategy needs single updates, or something is of another type.

    Guarantee: see ``secagg.client.step``. The average is exact on the grid of the terms.
    """

    def __init__(
        self,
        strategy: FedAvg,
        terms: SumTerms,
        stage_timeout: float = 60.0,
        run_config: Mapping[str, object] | None = None,
    ) -> None:
        check_types(FedAvg, strategy=strategy)
        check_types(SumTerms, terms=terms)
        if isinstance(strategy, NEED_SINGLE_UPDATES):
            raise SettingError(
                f"strategy = {type(strategy).__name__}, which looks at the update of each site; a secure sum "
                "shows none of them: expected FedAvg, FedAvgM, FedProx, FedAdagrad, FedAdam or FedYogi"
            )
        self.strategy, self.terms, self.stage_timeout = strategy, terms, stage_timeout
        self.run_config = dict(run_config or {})
        self._is_started = False
        self.reports: list[ServerReport] = []
        self._accused: set[str] = set()
        self._open: _OpenRound | None = None

    def summary(self) -> None:
        """Log the settings."""
        policy = self.terms.policy(NO_ROUND)
        _LOG.info(
            "\t├──> Secure aggregation: %d sites, threshold %d, at least %d survivors, %d may be corrupt",
            len(policy.roster),
            policy.threshold,
            policy.min_survivors,
            policy.max_corrupt,
        )
        self.strategy.summary()

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run all rounds, as Flower does.

        Raises:
            ProtocolError: If all of them were abandoned, so that there is no other model than the first.
        """
        self._is_started, earlier = True, len(self.reports)
        try:
            result = super().start(
                grid, initial_arrays, num_rounds, timeout, train_config, evaluate_config, evaluate_fn
            )
        finally:
            self._is_started = False
        reports = self.reports[earlier:]
        if reports and all(one.abort_reason for one in reports):
            raise ProtocolError(
                f"all {len(reports)} rounds were abandoned, the model is as it was; the last one: "
                f"{reports[-1].abort_reason}. Why a site refuses stands in refused.log beside its own journal"
            )
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let the strategy choose and configure the nodes, and offer them a sum.

        Raises:
            SettingError: If it tells them different things: no site would take part. If another strategy has
                been started around this one, such as those of Flower for differential privacy.
        """
        if not self._is_started:
            raise SettingError(
                "another strategy runs around SecAgg; expected SecAgg outermost, by its own start: replies "
                "to a secure sum hold no update to clip, and noise for a fixed number of sites is too little "
                "when some drop out. Clip and add noise at each site, by a mod after secagg_mod"
            )
        self._open = None
        tasks = list(self.strategy.configure_train(server_round, arrays, config, grid))
        if not tasks:
            return tasks
        old = flat.to_arrays(flat.only_arrays(tasks[0].content))
        facts = RoundFacts(
            round_id=secrets.token_bytes(ROUND_BYTES),
            counter=server_round,
            model_hash=flat.hash_arrays(old),
            length=flat.count_numbers(old),
            run_id=tasks[0].metadata.run_id,
            recipe=self._recipe(tasks[0]),
        )
        state, offers = server.open_round(self.terms.policy(facts))
        if len({self._recipe(task) for task in tasks}) > 1:
            raise SettingError(
                f"{type(self.strategy).__name__} tells the nodes different things; expected the same "
                "configuration for all, since they train under common terms"
            )
        for task in tasks:
            offer = ConfigRecord({"round": facts.round_id, "message": offers[0]})
            task.content = RecordDict({**task.content, flat.PROTOCOL_RECORD: offer})
        self._open = _OpenRound(state, old, tasks[0], grid, time.perf_counter())
        return tasks

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Run the stages of the sum, and let the strategy make a model of the average."""
        if self._open is None:
            return None, None
        opened, self._open = self._open, None
        policy = opened.state.policy
        try:
            outcome = self._sum(opened, replies)
            integers = policy.encoding.to_signed(outcome.total)
            mean = self.terms.mean(policy, integers, outcome.survivors)
        except ProtocolError as error:
            self._note(opened, error.accused if isinstance(error, SabotageError) else (), str(error))
            _LOG.warning("secure aggregation: round %d is abandoned: %s", server_round, error)
            return None, None
        self._note(opened, outcome.accused, "", outcome)
        _LOG.info(
            "secure aggregation: %d sites, without %s", len(outcome.survivors), outcome.dropped or "none"
        )
        made = self._step(server_round, opened, flat.apply_change(opened.old, mean))
        return made, MetricRecord({"survivors": len(outcome.survivors), "dropped": len(outcome.dropped)})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Leave it to the strategy; sites evaluate in the clear or, by default, not at all."""
        return self.strategy.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Leave it to the strategy."""
        return self.strategy.aggregate_evaluate(server_round, replies)

    def _recipe(self, task: Message) -> str:
        return flat.hash_recipe(task.content, task.metadata.message_type, self.run_config)

    def _sum(self, opened: _OpenRound, replies: Iterable[Message]) -> RoundOutcome:
        """Run the stages with the nodes whose first replies are signed by sites of the roster."""
        first = self._first_messages(opened.state.policy, replies)
        nodes = {site: node for site, (node, _) in first.items()}
        following, outgoing = server.step(opened.state, {site: data for site, (_, data) in first.items()})
        while isinstance(following, RoundInProgress):
            sites = {nodes[site]: site for site in outgoing}
            sent = [
                Message(
                    RecordDict({flat.PROTOCOL_RECORD: ConfigRecord({"message": data})}),
                    dst_node_id=nodes[site],
                    message_type=opened.sent.metadata.message_type,
                    ttl=self.stage_timeout,
                    group_id=opened.sent.metadata.group_id,
                )
                for site, data in outgoing.items()
            ]
            answers = opened.grid.send_and_receive(sent, timeout=self.stage_timeout)
            got = {sites.get(reply.metadata.src_node_id): _sum_message(reply) for reply in answers}
            following, outgoing = server.step(
                following,
                {site: data for site, data in got.items() if site is not None and data is not None},
            )
        return following

    def _first_messages(self, policy: Policy, replies: Iterable[Message]) -> Mapping[int, tuple[int, bytes]]:
        """By site: its node and its keys. A node is the site whose pinned key has signed its reply."""
        found: dict[int, tuple[int, bytes]] = {}
        for reply in replies:
            data = _sum_message(reply)
            if data is None:
                continue
            for site, name in enumerate(policy.roster.names):
                if site not in found and name not in self._accused and _is_from(policy, site, data):
                    found[site] = reply.metadata.src_node_id, data
        return found

    def _step(self, server_round: int, opened: _OpenRound, average: flat.Arrays) -> ArrayRecord:
        """Let the strategy take its step from the average; arrays that are not trained stay as they were."""
        weight = MetricRecord({self.strategy.weighted_by_key: 1.0})
        content = RecordDict({self.strategy.arrayrecord_key: flat.to_record(average), "metrics": weight})
        made, _ = self.strategy.aggregate_train(server_round, [Message(content, reply_to=opened.sent)])
        if made is None:
            raise SettingError(f"{type(self.strategy).__name__} made no model of the average")
        stepped = flat.to_arrays(made)
        return flat.to_record(
            {name: stepped[name] if flat.is_trained(array) else array for name, array in opened.old.items()}
        )

    def _note(
        self,
        opened: _OpenRound,
        accused: tuple[str, ...],
        abort_reason: str,
        outcome: RoundOutcome | None = None,
    ) -> None:
        """Report a round; whom it accused takes no part in later ones."""
        self._accused |= set(accused)
        names = self.terms.roster.names
        weights = self.terms.weights or dict.fromkeys(names, 1)
        survivors = () if outcome is None else outcome.survivors
        self.reports.append(
            ServerReport(
                index=len(self.reports),
                survivors=survivors,
                dropped=names if outcome is None else outcome.dropped,
                weight=sum(weights[name] for name in survivors),
                seconds=time.perf_counter() - opened.started,
                refused={} if outcome is None else outcome.refused,
                accused=accused,
                abort_reason=abort_reason,
            )
        )


def _sum_message(reply: Message) -> bytes | None:
    """Return a site's message of the sum; None for an error and for anything else."""
    if reply.has_error():
        return None
    record = reply.content.config_records.get(flat.PROTOCOL_RECORD)
    value = None if record is None else record.get("message")
    return value if isinstance(value, bytes) else None


def _is_from(policy: Policy, site: int, data: bytes) -> bool:
    try:
        open_site(data, MessageType.KEYS, policy, site, transcript.begin(policy))
    except ProtocolError:
        return False
    return True
