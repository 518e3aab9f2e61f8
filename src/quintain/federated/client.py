"""The client: the program at a site. It holds the data, the identity and the journal, and talks in bytes.

======  ==================================================================================================
TRAIN   checks the whole task against its own plan, trains, keeps the encoded update, replies READY
CANCEL  drops the secrets of the round, keeps the update until the model moves
WHO     signs the number in it together with its name, so that a server finds the way to this site
others  belong to the sum: its half of the aggregation replies
======  ==================================================================================================

A client makes the terms of a round itself, from its own plan, the offered id and counter, and the digest of
the model that it received; it refuses an offer by the name of the first term that differs. What it refuses it
refuses before it trains, writes or reveals anything. Why it refused, its loss and its clipped entries stay
with whoever runs it: ``handle`` raises, and what carries the messages says nothing to the server.
"""

from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path

from torch import nn

from quintain.core.errors import ProtocolError, SettingError
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.dp import Ledger, PrivacyUnits
from quintain.federated.aggregation import Aggregation, Participant
from quintain.federated.kept_update import load_update, save_update, update_terms
from quintain.federated.local import Update, local_update, trainable
from quintain.federated.model_bytes import model_digest, open_model
from quintain.federated.model_chain import ModelChain
from quintain.federated.noted_ledger import note_round, noted_ledger, require_noted
from quintain.federated.plan import TrainingPlan
from quintain.federated.presence import say_who
from quintain.federated.round_messages import (
    READY,
    PublishedSum,
    RoundMessage,
    RoundTask,
    is_round_message,
    open_header,
)
from quintain.federated.secagg.client import cohort_hash
from quintain.federated.secagg.encoding import check_types
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.messages import (
    MessageType,
    SiteSet,
    check_offer,
    message_type_of,
    offered_counter,
    parse_set,
    server_body,
)
from quintain.federated.secagg.policy import ROUND_BYTES, Policy
from quintain.federated.secagg_sum import SecureSum
from quintain.federated.strategies.strategy import State


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The settings of one client: nothing in them comes from the server.

    Args:
        plan: The training that this site has agreed to.
        aggregation: What sums; another one is refused, so that a server cannot ask for plain updates.
        pin_first_model: Whether the first model must be the client's own net, weights and all. Without that a
            server may start from any weights, such as ones made to keep single examples apart.
        seed: Of local training.
        update_file: Where the client keeps its update and the last model, so that after a restart it sends
            the same update again and still refuses a model that does not follow; None for in memory alone. An
            update of another plan, of other data or of another seed is not sent.
    """

    plan: TrainingPlan
    aggregation: Aggregation = field(default_factory=SecureSum)
    pin_first_model: bool = True
    seed: int = 0
    update_file: Path | None = None

    def __post_init__(self) -> None:
        check_types(TrainingPlan, plan=self.plan)
        check_types(Aggregation, aggregation=self.aggregation)
        check_types(Integral, seed=self.seed)
        self.plan.check_aggregation(self.aggregation)
        # a client reads who would be in a sum from the messages of secure aggregation
        compares = self.aggregation.sums_all and self.aggregation.replies == SecureSum.replies
        if self.plan.config.min_cohort_change and not compares:
            raise SettingError(
                f"min_cohort_change with the aggregation {self.aggregation.name}, whose clients do not "
                "compare who is in a sum with earlier sums; expected secagg, or min_survivors = all sites"
            )


class Client:
    """One site's program in a federated training.

    Args:
        config: Its settings.
        identity: Its signing key, which the plan's roster lists.
        data: Its examples.
        net: The net that it has agreed to train, for its layers; never changed.
        journal: What it remembers for life.
        units: Whom its examples belong to, such as patients, where the plan has ``site_privacy``; each
            example for itself if not given. A patient at several sites is one at each: the costs add up.

    Attributes:
        ledger: What private training has released of its data in this training; a ``FolderJournal`` keeps it
            over restarts, whether or not there is an ``update_file``.

    Raises:
        SettingError: If something is of another type, or the roster does not list it.
        ProtocolError: If the roster lists another key.
        PrivacyError: If the update file knows of private rounds that a ``FolderJournal`` has no notes of.

    Guarantee: what leaves are signed messages of the sum, ``READY``, and its name; what they tell is the
    guarantee of the aggregation. The model is the client's own layers with the server's numbers, each within
    rounding of the last model plus the published sum, which the server may have forged within the clip.
    """

    def __init__(
        self,
        config: ClientConfig,
        identity: Identity,
        data: Dataset,
        net: nn.Module,
        journal: Journal,
        units: PrivacyUnits | None = None,
    ) -> None:
        check_types(ClientConfig, config=config)
        check_types(Identity, identity=identity)
        check_types(Dataset, data=data)
        check_types(nn.Module, net=net)
        check_types(Journal, journal=journal)
        config.plan.roster.index_of(identity)
        self.config, self.ledger, self._units = config, Ledger(), units
        self._identity, self._data, self._journal = identity, data, journal
        self._net = config.plan.strategy.common_model(net)
        self._trainable = frozenset(name for name, _ in trainable(net))
        chain = ModelChain(config.plan, config.aggregation, self._net, config.pin_first_model)
        file = config.update_file
        self._terms = update_terms(chain, config.seed, data, units) if file is not None else ""
        self._update, self._trained_over, self._chain = load_update(file, chain, self.ledger, self._terms)
        require_noted(journal, self._chain.fingerprint, self.ledger)
        self._count_noted()
        self._round_id = b""
        self._signed: SiteSet = ()
        self._home: State = {} if self._update is None else self._update.home_before
        self._participant: Participant | None = None
        self._cohorts: set[frozenset[int]] = set()

    @property
    def name(self) -> str:
        """The site's name in the roster."""
        return self._identity.name

    @property
    def update(self) -> Update | None:
        """The update over the last model, which stays here; None if there is none."""
        return self._update

    @property
    def last_counter(self) -> int:
        """The counter of the last round whose task it accepted; -1 before the first one."""
        return -1 if self._chain.model is None else self._chain.counter

    @property
    def last_index(self) -> int:
        """The place of that round in the training, from 0; 0 before the first one."""
        return self._chain.index

    @property
    def home(self) -> State:
        """What the strategy keeps at this site, after its last training; none of it ever leaves."""
        return self._home if self._update is None else self._update.home

    def handle(self, message: bytes) -> bytes:
        """Return the reply to a message of the server; nothing where none is due.

        Raises:
            ProtocolError: If it is refused; nothing was revealed.
            StorageError: If the journal cannot be read or written; nothing was revealed.
            Exception: Whatever else ends local training.
        """
        if not is_round_message(message):
            if self._participant is None:
                raise ProtocolError(
                    f"{len(message)} bytes and no round under way; expected the task of a round first"
                )
            reply = self._step(self._participant, message)
            self._signed = self._participant.survivors
            return reply
        kind, round_id = open_header(message)
        if kind is RoundMessage.TRAIN:
            self._join(RoundTask.parse(message))
            return READY
        if kind is RoundMessage.WHO:
            return say_who(self._identity, round_id)
        if self._round_id == round_id:
            self._participant = None
        return b""

    def _step(self, participant: Participant, message: bytes) -> bytes:
        """Answer a message of a sum, unless it would open one that is a neighbor of an earlier one."""
        if self.config.plan.config.min_cohort_change and message_type_of(message) is MessageType.SURVIVORS:
            cohort = frozenset(parse_set(server_body(message), len(self.config.plan.roster)))
            self._check_cohort(cohort)
            reply = participant.step(message)
            # From here on the server may have the sum.
            self._cohorts.add(cohort)
            return reply
        return participant.step(message)

    def _check_cohort(self, cohort: frozenset[int]) -> None:
        """Refuse a sum whose sites differ too little from those of an earlier one."""
        least = self.config.plan.config.min_cohort_change
        for earlier in self._cohorts:
            if 0 < len(cohort ^ earlier) < least:
                names = ", ".join(self.config.plan.roster.names_of(tuple(sorted(cohort ^ earlier))))
                raise ProtocolError(
                    f"the server would open a sum that differs from an earlier one by {names}; expected the "
                    f"same sites, or at least {least} others, since two such sums subtract: leave this round"
                )

    def _join(self, task: RoundTask) -> None:
        """Accept a task, train for it unless that was done over this very model, and wait for the sum."""
        home = self._home_after(task.published)
        policy, net = self._accepted(task)
        config, name = self.config, self._identity.name
        if self._trained_over != policy.model_hash:
            self._home, self._update, self._trained_over = home, None, policy.model_hash
        # over one model a site masks one vector: what it trained for an abandoned round is sent again
        if self._update is None:
            self._update = local_update(
                net,
                self._data,
                config.plan.config.local_recipe,
                config.plan.objective,
                config.plan.encoding,
                config.plan.relative_weight(name),
                seed=derive_seed(config.seed, "federated", task.index, name),
                encode=config.plan.encoder(config.aggregation),
                strategy=config.plan.strategy,
                home=self._home,
                own_trainable=self._trainable,
                private_fit=self._train_privately if config.plan.config.site_privacy else None,
            )
        if config.update_file is not None:
            save_update(config.update_file, self._update, self._chain, self.ledger, self._terms)
        self._participant = config.aggregation.join(
            policy, self._identity, self._update.encoded, self._journal
        )

    def _train_privately(self, net: nn.Module) -> None:
        """Train a net in place for one round by DP-SGD, within the budget of all rounds."""
        settings, rounds = self.config.plan.config.site_privacy, self.config.plan.config.rounds
        assert settings is not None
        self._count_noted()
        settings.train(net, self._data, rounds, self.ledger, self._units)
        release = replace(self.ledger.releases[-1], steps=settings.steps)
        note_round(self._journal, self._chain.fingerprint, release)

    def _count_noted(self) -> None:
        """Count what the journal says of private training where the ledger holds less."""
        settings, rounds = self.config.plan.config.site_privacy, self.config.plan.config.rounds
        if settings is None:
            return
        noted = noted_ledger(
            self._journal,
            self._chain.fingerprint,
            lambda: settings.release(self._data, rounds, self._units),
        )
        if noted.steps > self.ledger.steps:
            self.ledger = noted

    def _home_after(self, published: PublishedSum | None) -> State:
        """Return what stays here after the last training: as before it if the update came into no sum."""
        is_left_out = (
            published is not None
            and published.counter == self.last_counter
            and self.config.plan.roster.index(self.name) not in published.survivors
        )
        return self._home if is_left_out else self.home

    def _accepted(self, task: RoundTask) -> tuple[Policy, nn.Module]:
        """Return this site's own terms of a round and the model, or refuse; then the round is under way."""
        config, counter = self.config, offered_counter(task.terms)
        self._check_place(task, counter)
        net = open_model(task.model, self._net)
        policy = config.plan.policy(counter, task.round_id, model_digest(net))
        check_offer(task.terms, policy)
        chain = self._chain.followed_by(net, policy.model_hash, counter, task.index, task.published)
        self._check_survivors(task.published)
        if config.plan.noise is not None:
            self._journal.claim_noise(self._chain.fingerprint, policy.model_hash, config.plan.config.rounds)
        self._chain = chain
        self._participant, self._round_id, self._signed = None, task.round_id, ()
        return policy, net

    def _check_survivors(self, published: PublishedSum | None) -> None:
        """Refuse a sum that is said to be of other sites than those that this one has signed or opened."""
        if published is None or published.counter != self.last_counter:
            return
        roster = self.config.plan.roster
        said = f"the server publishes the sum of round {published.counter} over sites {published.survivors}"
        summed_with = self.config.aggregation.summed_with(roster.index(self.name), len(roster))
        of_own_sum = tuple(site for site in published.survivors if site in summed_with)
        if self._signed and of_own_sum and self._signed != of_own_sum:
            raise ProtocolError(
                f"{said}, and this site has signed {', '.join(roster.names_of(self._signed))}: "
                "leave this round"
            )
        if max(published.survivors, default=0) >= len(roster) or not self.config.aggregation.sums_all:
            return  # the chain refuses the former; of groups' sums the journal knows no sum of all
        # after a restart the journal alone knows which sum this site has opened
        terms = self.config.plan.policy(published.counter, bytes(ROUND_BYTES), self._chain.digest)
        try:
            self._journal.check_cohort(self._chain.digest, cohort_hash(terms, published.survivors))
        except ProtocolError:
            raise ProtocolError(
                f"{said}, and this site has helped to open that of others: leave this round"
            ) from None

    def _check_place(self, task: RoundTask, counter: int) -> None:
        """Refuse a task for another sum, one that was there before, or one beyond the plan."""
        if task.aggregation != self.config.aggregation.name:
            raise ProtocolError(
                f"the server offers aggregation = {task.aggregation[:40]!r}; this site's settings say "
                f"{self.config.aggregation.name!r}: leave this round"
            )
        if counter <= self.last_counter or self._journal.answered(task.round_id):
            raise ProtocolError(
                f"the server offers round counter = {counter} (id {task.round_id.hex()}), and this site was "
                f"in round {self.last_counter}: a replay is refused"
            )
        first = self._chain.index
        if not first <= task.index < self.config.plan.config.rounds or task.index > counter:
            raise ProtocolError(
                f"the server offers round {task.index} (counted from 0, counter {counter}); this site's plan "
                f"has {self.config.plan.config.rounds} rounds and it was in round {first}: leave this round"
            )
