"""What a client remembers of the models that it was sent: each is to be the last one plus the published sum.

A malicious server learns most from models that it makes up. So a client takes the step of the server itself,
from the last model and the published sum, and refuses a model that differs from it by more than rounding.
This narrows what a server can send and does not stop it: it may forge a sum within clip and weights, of which
a client sees no more than its own part. If a client has missed rounds, all that it can tell is that no weight
has moved by more than the clip allows in so many rounds. Those are counted by their index in the plan, which
bounds them: a counter is the server's to choose. Where the server remembers something from step to step, a
client that missed rounds cannot take the next step either: it bounds that one as well, and goes on from what
the step tells of the memory, if it does (``Strategy.memory_after``). A client without a model cannot tell
whether there were rounds at all: it takes none but its own first one, unless whoever runs it says that it
joins late.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from quintain.core.errors import ProtocolError
from quintain.federated.aggregation import Aggregation
from quintain.federated.local import trainable
from quintain.federated.model_bytes import model_digest, moved_weights
from quintain.federated.plan import TrainingPlan
from quintain.federated.round_messages import PublishedSum
from quintain.federated.secagg.primitives import tagged_hash
from quintain.federated.strategies.strategy import State

RELATIVE, ABSOLUTE = 2.0, 1e-12
"""Allowed rounding: RELATIVE epsilons of the type times the larger weight, before or after, plus ABSOLUTE."""


@dataclass(frozen=True, slots=True)
class ModelChain:
    """The last model that a client accepted, and what it needs to judge the next.

    Args:
        plan, aggregation: The client's own.
        own: The common model over the client's own net, for its layers; its weights are the first
            model if ``pinned``.
        pinned: Whether the first model must have the weights of ``own``.
        joins_late: Whether a pinned client without a model takes one that rounds before it can have led to.
        model: The last model, which nobody changes; None before the first one.
        digest: Its digest.
        counter, index: Of the last round that came with it.
        state: What the strategy remembers at the server; None where rounds were missed that it depends on,
            and no step since has told.
        has_joined_late: Whether the last model was the first one, and not that of ``own``.
    """

    plan: TrainingPlan = field(repr=False)
    aggregation: Aggregation = field(repr=False)
    own: nn.Module = field(repr=False)
    pinned: bool
    joins_late: bool = False
    model: nn.Module | None = field(default=None, repr=False)
    digest: bytes = b""
    counter: int = 0
    index: int = 0
    state: State | None = field(default_factory=dict, repr=False)
    has_joined_late: bool = False

    @property
    def last_counter(self) -> int:
        """The counter of the round that the last model came with; -1 before the first one."""
        return -1 if self.model is None else self.counter

    @property
    def fingerprint(self) -> str:
        """A hash of the training that it is of: a stored chain of another one says nothing here."""
        first = model_digest(self.own) if self.pinned else b""
        return tagged_hash(
            "chain", self.plan.fingerprint.encode(), self.aggregation.name.encode(), first
        ).hex()

    def followed_by(
        self, net: nn.Module, digest: bytes, counter: int, index: int, published: PublishedSum | None
    ) -> "ModelChain":
        """Return the chain with a next model, of a round of this counter and index.

        Args:
            net: The model; it stays as it is from now on.
            digest: Its digest.
            counter, index: Of the round.
            published: The sum that comes with it.

        Raises:
            ProtocolError: If the model does not follow from the last one, is another one for the same index,
                or is of an earlier one.
        """
        if index < self.index:
            raise ProtocolError(
                f"the server offers round {index} (counted from 0, counter {counter}), and this site has a "
                f"model of a later one, it was in round {self.index}: leave this round"
            )
        here = replace(self, model=net, digest=digest, counter=counter, index=index, has_joined_late=False)
        if digest == self.digest:
            return here
        if self.model is None and not self.pinned:
            return replace(here, state=self._after_a_gap if index else self.state)
        if self.model is not None and index == self.index:
            raise ProtocolError(
                f"the server sends another model for round {index}; expected the one that it sent before: "
                "leave this round"
            )
        return self._advance(here, net, published)

    def _advance(self, here: "ModelChain", net: nn.Module, published: PublishedSum | None) -> "ModelChain":
        """Return the next chain if the last model, or the client's own, became this one by the rules."""
        counter = here.counter
        last = self.own if self.model is None else self.model
        if self.model is None and _apart(net, last) is None:
            return here
        if here.index == 0:
            raise ProtocolError(
                "the server sends another model than this site's own first one, and no round was before: "
                "leave this round"
            )
        if self.model is None and not self.joins_late:
            raise ProtocolError(
                f"the server sends another model than this site's own first one, in round {here.index + 1}, "
                "and this site was in none before, so that it cannot tell whether there was one: leave this "
                "round. If this site was down in the first round, ask the other sites whether they were in "
                "it; if so, set joins_late = true in its settings (client.toml) and start it again"
            )
        if published is None:
            raise ProtocolError(
                "the server sends another model than "
                + ("this site's own first one" if self.model is None else "in the last round")
                + " and publishes no sum that leads to it: leave this round"
            )
        survivors = self._survivors(published)
        self.plan.check_sum(published.integers, survivors, self.aggregation)
        here = replace(here, has_joined_late=self.model is None)
        if not self.counter <= published.counter < counter:
            raise ProtocolError(
                f"the server publishes the sum of round {published.counter}; expected one of {self.counter} "
                f"to {counter - 1}, from which this model can come: leave this round"
            )
        # a model moves at most once an index, of which the plan has few; counters have no end
        is_next = published.counter == self.counter or here.index == self.index + 1
        if self.state is not None and is_next:
            change, state = self.plan.step(published.integers, survivors, self.state)
            _require_equal(net, last, change)
            return replace(here, state=self._memory_after(net, last) or state)
        self._require_near(net, last, here.index - self.index)
        return replace(here, state=self._memory_after(net, last) if is_next else self._after_a_gap)

    @property
    def _after_a_gap(self) -> State | None:
        """What is known of the server's memory where a round may have been missed."""
        return None if self.plan.strategy.is_stateful else self.state

    def _memory_after(self, net: nn.Module, last: nn.Module) -> State | None:
        """Return what the step from one model to the next tells of the server's memory.

        Rounding included, which the next check allows for: it is that of the model before.
        """
        if not self.plan.strategy.is_stateful:
            return self.state
        pairs = zip(trainable(net), trainable(last), strict=True)
        moved = [now.detach().double() - before.detach().double() for (_, now), (_, before) in pairs]
        return self.plan.strategy.memory_after(torch.cat([one.flatten().cpu() for one in moved]))

    def _survivors(self, published: PublishedSum) -> tuple[str, ...]:
        if max(published.survivors, default=0) >= len(self.plan.roster):
            raise ProtocolError(
                f"the published sum is of site {max(published.survivors)}; the roster lists "
                f"{len(self.plan.roster)}: leave this round"
            )
        return self.plan.roster.names_of(published.survivors)

    def _require_near(self, net: nn.Module, last: nn.Module, rounds: int) -> None:
        """Refuse a model that so many rounds cannot have made of the last one."""
        most = rounds * self.plan.strategy.largest_step(self.plan.largest_mean) * (1 + 1e-6)
        for (name, now), (_, before) in zip(trainable(net), trainable(last), strict=True):
            moved = float((now.detach().double() - before.detach().double()).abs().max())
            if moved > most:
                raise ProtocolError(
                    f"the server sends a model in which {name!r} has moved by {moved:g}; expected at most "
                    f"{most:g}, as {rounds} rounds and the clip allow: leave this round"
                )
        _require_equal(net, last, frozen_only=True)


def _require_equal(
    net: nn.Module, last: nn.Module, change: Tensor | None = None, *, frozen_only: bool = False
) -> None:
    """Refuse a model that is not the last one plus a change (length,), within rounding."""
    apart = _apart(net, last, change, frozen_only=frozen_only)
    if apart is not None:
        raise ProtocolError(
            f"the server sends a model that is not the last one plus the published sum: {apart!r} differs; "
            "expected the same within rounding: leave this round"
        )


def _apart(
    net: nn.Module, last: nn.Module, change: Tensor | None = None, *, frozen_only: bool = False
) -> str | None:
    """Name a tensor in which a model differs from the last one plus a change; None if there is none."""
    before = last.state_dict(keep_vars=True)
    if change is None:
        expected = {id(parameter): parameter.detach() for _, parameter in trainable(last)}
    else:
        expected = {id(parameter): moved for parameter, moved in moved_weights(last, change)}
    for name, value in net.state_dict().items():
        moves = id(before[name]) in expected
        if moves and not frozen_only and not _is_close(value, expected[id(before[name])], before[name]):
            return name
        if not moves and not torch.equal(value, before[name]):
            return name
    return None


def _is_close(value: Tensor, expected: Tensor, before: Tensor) -> bool:
    """Whether two tensors of floats are equal within rounding of what was expected and what was before."""
    if torch.equal(value, expected):
        return True
    largest = torch.maximum(expected.double().abs(), before.detach().double().abs())
    room = RELATIVE * torch.finfo(expected.dtype).eps * largest + ABSOLUTE
    return bool(((value.double() - expected.double()).abs() <= room).all())
