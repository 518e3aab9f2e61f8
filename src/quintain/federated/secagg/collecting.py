"""A round under way as the server holds it, its outcome, and how good messages are told from bad."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from quintain.core.errors import ProtocolError, SabotageError
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector
from quintain.federated.secagg.keys import RoundKeys
from quintain.federated.secagg.mask_graph import MaskGraph
from quintain.federated.secagg.message_bodies import SiteSet
from quintain.federated.secagg.messages import MessageType, open_site
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.share_messages import DealtShares

Messages = Mapping[int, bytes]
Arrivals = Messages | Iterator[tuple[int, bytes]]
"""The messages of a stage, by site: all at once, or one by one as they arrive."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RoundInProgress:
    """A round under way: what it waits for, and all that the lists so far have fixed."""

    policy: Policy
    expected_type: MessageType
    transcript_hash: bytes
    keys: Mapping[int, RoundKeys] = field(default_factory=dict)
    shared: Mapping[int, DealtShares] = field(default_factory=dict)
    key_list_hash: bytes = b""
    graph: MaskGraph = field(default_factory=lambda: MaskGraph(0, 0))
    sharers: SiteSet = ()
    survivors: SiteSet = ()
    masked_sum: EncodedVector = field(default_factory=lambda: np.zeros(0, WORD_DTYPE), repr=False)
    refused: Mapping[str, str] = field(default_factory=dict)
    accused: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """A round's outcome.

    Args:
        total: (words,) the sum of the survivors' words mod 2^32, exact.
        survivors: Whose vectors are in it.
        dropped: All others in the roster.
        refused: Messages that did not hold up: site to reason.
        accused: Sites that revealed a share that they were not dealt, or complained of a good one: proven,
            see ``secagg.dealing``.
    """

    policy: Policy
    total: EncodedVector = field(repr=False)
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    refused: Mapping[str, str]
    accused: tuple[str, ...]


def gather(
    state: RoundInProgress,
    messages: Messages,
    expected: SiteSet,
    read: Callable[[int, bytes, bytes], T],
    root_of: Callable[[int, bytes], bytes] | None = None,
) -> tuple[dict[int, T], dict[str, str]]:
    """What the good messages say, by site in order, and the reasons against the others, old and new.

    Args:
        state: The round.
        messages: By site.
        expected: Sites of which one is expected.
        read: What makes something of site, body and signature.
        root_of: What a site's signature is over, where that is not the body.
    """
    good: dict[int, T] = {}
    refused = dict(state.refused)
    for i in sorted(set(messages) & set(expected)):
        try:
            body, signature = open_site(
                messages[i],
                state.expected_type,
                state.policy,
                i,
                state.transcript_hash,
                root_of=root_of and partial(root_of, i),
            )
            good[i] = read(i, body, signature)
        except ProtocolError as error:
            refused[state.policy.roster.names[i]] = str(error)
    return good, refused


def require(
    state: RoundInProgress, minimum: int, got: Mapping[int, object], what: str, refused: Mapping[str, str]
) -> None:
    """Abandon the round unless enough sites did what it takes.

    The error names those that are proven to have lied.
    """
    if len(got) < minimum:
        raise abandon_error(
            state,
            f"{len(got)} of {len(state.policy.roster)} sites {what}; {minimum} are needed: the round is "
            f"abandoned, start another with a new id{_reasons(refused)}",
        )


def abandon_error(state: RoundInProgress, reason: str) -> ProtocolError:
    """Return the error that ends a round.

    It carries the names of those that are proven to have lied before, whatever ended it.
    """
    names = state.policy.roster.names_of(tuple(sorted(state.accused)))
    return SabotageError(reason, names) if names else ProtocolError(reason)


def sabotage(state: RoundInProgress, culprits: SiteSet, reason: str) -> SabotageError:
    """Return the error that ends a round by the names of its culprits.

    Those that are proven to have lied before are named, too.
    """
    names = state.policy.roster.names_of(tuple(sorted(state.accused | set(culprits))))
    return SabotageError(
        f"{reason}: the round is abandoned, start another without {', '.join(names)}"
        f"{_reasons(state.refused)}",
        names,
    )


def _reasons(refused: Mapping[str, str]) -> str:
    return "".join(f"; {name}: {reason}" for name, reason in refused.items())
