"""The client: the program at a site. It holds the data, the identity and the journal, and talks in bytes.

=========  ===============================================================================================
TRAIN      checks the whole task against its own plan, trains, keeps the encoded update, replies READY, and
           with it to the first message of the sum where that follows from the task
CANCEL     drops the secrets of the round, keeps the update until the model moves
CHALLENGE  signs the number in it together with its name, so that a server finds this site's node
others     belong to the sum: its half of the aggregation replies
=========  ===============================================================================================

A client makes the terms of a round itself, from its own plan, the offered id and counter, and the digest of
the model that it received; it refuses an offer by the name of the first term that differs. What it refuses it
refuses before it trains, writes or reveals anything. Why it refused, its loss and its clipped entries stay
with whoever runs it: ``handle`` raises, and what carries the messages says nothing to the server.
"""

from contextlib import suppress
from dataclasses import replace

from torch import nn

from quintain.core.errors import ProtocolError
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.dp import Ledger, PrivacyUnits
from quintain.federated.aggregation import Participant
from quintain.federated.authentication import answer_challenge
from quintain.federated.client_config import ClientConfig
from quintain.federated.kept_update import SavedTraining, load_update, save_update, update_terms
from quintain.federated.local import Update, local_update, trainable
from quintain.federated.model_bytes import model_digest, open_model
from quintain.federated.model_chain import ModelChain
from quintain.federated.noise_claims import NoiseClaims
from quintain.federated.noted_ledger import note_round, noted_ledger, require_noted
from quintain.federated.remarks import LATE, clip_remark, missed_remark
from quintain.federated.round_messages import (
    READY,
    RoundMessage,
    RoundTask,
    is_round_message,
    open_header,
)
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.message_bodies import SiteSet, check_offer, offered_counter, parse_set
from quintain.federated.secagg.messages import MessageType, message_type_of, server_body
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.strategies.strategy import State
from quintain.federated.task_checks import check_cohort_change, check_survivors, check_task


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
        remarks: What whoever runs the site should know of the last task, a sentence each.

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
        chain = ModelChain(
            config.plan, config.aggregation, self._net, config.pin_first_model, config.joins_late
        )
        file = config.update_file
        self._terms = update_terms(chain, config.seed, data, units) if file is not None else ""
        kept = load_update(file, chain, self.ledger, self._terms)
        self._chain, self._base, self._home = kept.chain, kept.base, kept.home
        self._update, self._trained_over = kept.update, kept.trained_over
        require_noted(journal, self._chain.fingerprint, self.ledger)
        self._count_noted()
        self._round_id = b""
        self._signed: SiteSet = ()
        self.remarks: tuple[str, ...] = ()
        self._has_trained = False
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
        return self._chain.last_counter

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
            return READY + self._join(RoundTask.parse(message))
        if kind is RoundMessage.CHALLENGE:
            return answer_challenge(self._identity, round_id)
        if self._round_id == round_id:
            self._participant = None
        return b""

    def _step(self, participant: Participant, message: bytes) -> bytes:
        """Answer a message of a sum, unless it would open one that is a neighbor of an earlier one."""
        if self.config.plan.config.min_cohort_change and message_type_of(message) is MessageType.SURVIVORS:
            cohort = frozenset(parse_set(server_body(message), len(self.config.plan.roster)))
            check_cohort_change(cohort, self._cohorts, self.config.plan)
            reply = participant.step(message)
            # From here on the server may have the sum.
            self._cohorts.add(cohort)
            return reply
        return participant.step(message)

    def _join(self, task: RoundTask) -> bytes:
        """Accept a task, train for it unless that was done over this very model, and take part in the sum.

        Return the answer to the sum's first message, where that follows from the terms.
        """
        before = self._chain
        policy, net, last = self._accept_task(task)
        config, name = self.config, self._identity.name
        if self._trained_over != policy.model_hash:
            came_to_nothing = last is not before or self._is_left_out(last, task)
            self._home = self._home if came_to_nothing else self.home
            self._update, self._trained_over = None, policy.model_hash
        # over one model a site masks one vector: what it trained for an abandoned round is sent again
        if self._update is None:
            # a site that ends while it trains is none that joins late
            self._keep()
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
            remark = "" if self._has_trained else clip_remark(config.plan, self._update.largest)
            self._has_trained, self.remarks = True, (*self.remarks, *filter(None, (remark,)))
        self._keep()
        journal = self._journal
        if config.plan.noise is not None:
            journal = NoiseClaims(journal, self._chain.fingerprint, config.plan.config.rounds)
        self._participant = config.aggregation.join(policy, self._identity, self._update.encoded, journal)
        opening = config.aggregation.opening(policy)
        return self._participant.step(opening) if opening else b""

    def _keep(self) -> None:
        """Write what is to last over a restart."""
        if self.config.update_file is not None:
            kept = SavedTraining(self._chain, self._base, self._home, self._update)
            save_update(self.config.update_file, kept, self.ledger, self._terms)

    def _train_privately(self, net: nn.Module) -> None:
        """Train a net in place for one round by DP-SGD, within the budget of all rounds."""
        settings, rounds = self.config.plan.config.site_privacy, self.config.plan.config.rounds
        assert settings is not None
        self._count_noted()
        ledger = self.ledger.copy()
        settings.train(net, self._data, rounds, ledger, self._units)
        release = replace(ledger.releases[-1], steps=settings.steps)
        # what could not be noted is not used, so that it has spent nothing
        note_round(self._journal, self._chain.fingerprint, release)
        self.ledger = ledger

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

    def _is_left_out(self, last: ModelChain, task: RoundTask) -> bool:
        """Whether the update over the last model came into no sum."""
        published, place = task.published, self.config.plan.roster.index(self.name)
        if published is None:
            return False
        if published.counter == last.last_counter:
            return place not in published.survivors
        # of a sum that came after it, or of another try of its round, the server alone can tell
        return place >= len(task.last_sums) or task.last_sums[place] <= last.index

    @property
    def _may_have_left(self) -> bool:
        """Whether a vector may have left in the round of the last task."""
        federation, chain = self.config.plan.roster.digest.hex(), self._chain
        return chain is self._base or self._journal.has_masked(federation, chain.counter, chain.digest)

    def _accept_task(self, task: RoundTask) -> tuple[Policy, nn.Module, ModelChain]:
        """Check a task, and return this site's own terms of the round, its model, and the chain before it.

        After that the round has begun.
        """
        config, counter = self.config, offered_counter(task.terms)
        base = self._chain if self._may_have_left else self._base
        check_task(task, counter, config, self._journal, last=self.last_counter, used_up_to=base.last_counter)
        net = open_model(task.model, self._net)
        policy = config.plan.policy(counter, task.round_id, model_digest(net))
        check_offer(task.terms, policy)
        last, chain = self._follow_chain(net, policy, task, base)
        if config.plan.noise is not None:
            self._journal.check_noise(chain.fingerprint, policy.model_hash, config.plan.config.rounds)
        self._chain, self._base = chain, base
        self.remarks = (LATE,) if chain.has_joined_late else ()
        self.remarks += (missed_remark(config.plan),) if chain.state is None else ()
        self._participant, self._round_id, self._signed = None, task.round_id, ()
        return policy, net, last

    def _follow_chain(
        self, net: nn.Module, policy: Policy, task: RoundTask, base: ModelChain
    ) -> tuple[ModelChain, ModelChain]:
        """Return the chain that a task continues, and the chain with the task.

        The continued chain is that of the last task, or else ``base``, that of the last round in which a
        vector may have left: so a task from which nothing comes, whatever its counter, index and model,
        cannot lock this site out.
        """
        try:
            return self._chain, self._after(self._chain, net, policy, task)
        except ProtocolError:
            if base is not self._chain:
                with suppress(ProtocolError):
                    return base, self._after(base, net, policy, task)
            raise

    def _after(self, last: ModelChain, net: nn.Module, policy: Policy, task: RoundTask) -> ModelChain:
        """Return the chain with the model of a task after a last one, or refuse model or sum."""
        counter, published = policy.task.counter, task.published
        chain = last.followed_by(net, policy.model_hash, counter, task.index, published)
        if last.model is None or published is None:
            return chain
        is_next = task.index == last.index + 1 and chain.digest != last.digest
        if is_next or published.counter == last.counter:
            check_survivors(published, last, self.config, self._journal, name=self.name, signed=self._signed)
        return chain
