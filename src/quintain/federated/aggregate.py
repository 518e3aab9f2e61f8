"""Vectors in, their exact sum out: the two machines over a transport, and what the server saw of it."""

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quintain.core.errors import SettingError
from quintain.federated.secagg import client, server
from quintain.federated.secagg.encoding import WORD, Encoding, Words, finest
from quintain.federated.secagg.journal import MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.policy import ROUND_BYTES, Policy, default_threshold
from quintain.federated.transport import InProcess, Stage, Transport
from quintain.federated.view import ServerView

NO_MODEL = bytes(32)


@dataclass(frozen=True, slots=True)
class SecureSum:
    """The sum of the survivors' vectors, and what it took.

    Args:
        total: (length,) the sum of x over the survivors, of w x where weights are given; exact on the grid of the encoding.
        integers: (words,) the same as signed integers, the weight's slot included.
        weight: The summed weight; 0 for a plain sum.
        survivors: Whose vectors are in it.
        dropped: Whose are not.
        exact: Whether ``integers`` equals the plain integer sum of the survivors' own words; worked out beside the server.
        refused: Messages that did not hold up and sites that refused to go on: name to reason.
        accused: Sites that revealed a false share, whether they made it up or were dealt it.
        encoding: The grid.
        seen: Everything that the server saw.
        bytes_up: Bytes that each site sent.
        seconds: From the offer to the sum.
    """

    total: NDArray[np.float64] = field(repr=False)
    integers: NDArray[np.int64] = field(repr=False)
    weight: int
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    exact: bool
    refused: Mapping[str, str]
    accused: tuple[str, ...]
    encoding: Encoding
    seen: ServerView = field(repr=False)
    bytes_up: Mapping[str, int]
    seconds: float

    @property
    def mean(self) -> NDArray[np.float64]:
        """(length,) the average over the survivors, weighted where weights are given.

        Raises:
            SettingError: If the weights sum to 0, or below where a site lied about its own.
        """
        if self.encoding.cap and self.weight < 1:
            raise SettingError(f"the weights of all survivors sum to {self.weight}; expected at least one site with examples")
        return self.total / (self.weight if self.encoding.cap else len(self.survivors))


def run_round(policy: Policy, transport: Transport) -> server.Finished:
    """The server's part of a round: all that its code ever holds are masked vectors and their sum.

    Raises:
        ProtocolError: If the round is abandoned.
    """
    state, outgoing = server.open_round(policy)
    following: server.State = state
    while isinstance(following, server.Collecting):
        following, outgoing = server.step(following, transport.exchange(outgoing))
    return following


def secure_sum(
    vectors: Mapping[str, ArrayLike],
    *,
    drop: Mapping[str, Stage | str] | None = None,
    weights: Mapping[str, int] | None = None,
    clip: float = 1.0,
    scale: int | None = None,
    threshold: int | None = None,
    minimum: int | None = None,
    corrupt: int = 1,
    identities: Mapping[str, Identity] | None = None,
    model_hash: bytes = NO_MODEL,
    round_id: bytes | None = None,
) -> SecureSum:
    r"""The sum of one vector a site, of which nobody but the site itself sees more than that sum.

    .. math:: \sum_{i \in U} w_i\, \mathrm{clip}(x_i, -C, C) \quad \text{on a grid of step } 1/s

    Args:
        vectors: Site to (length,) vector, in the order of the roster.
        drop: Site to the stage from which it is silent: keys, shares, masked, late, agree or unmask.
        weights: Site to integer weight, at least one above 0; None for a plain sum.
        clip: C.
        scale: s; None for the largest power of two whose sums cannot wrap.
        threshold: t; None for floor(2n/3) + 1.
        minimum: Fewest survivors; None for the threshold.
        corrupt: Sites that may side with the server.
        identities: Site to signing key; None for fresh ones.
        model_hash: 32 bytes that all sites must agree on.
        round_id: 16 bytes; None for random ones.

    Raises:
        ProtocolError: If so many sites fall silent that the round is abandoned; there is no partial answer.
        DataError: If an entry is not finite.
        SettingError: If the settings cannot hold.

    Guarantee: see ``secagg.client.step``; here all sites live in one process, so only the server's view is separate.
    Source: Bonawitz et al., 2017, ePrint 2017/281.
    """
    names = tuple(vectors)
    for what, given in (("drop", drop), ("weights", weights), ("identities", identities)):
        strange = set(given or ()) - set(names)
        missing = set(names) - set(given) if given is not None and what != "drop" else set()
        if strange or missing:
            raise SettingError(
                f"{what} does not fit the sites {', '.join(names)}: {', '.join(sorted(strange | missing))} unknown or missing"
            )
    silent = {names.index(name): Stage.of(stage) for name, stage in (drop or {}).items()}
    if len(names) < 2:
        raise SettingError(f"{len(names)} site; expected at least two, since a sum over one hides nothing")
    keyring = identities or {name: Identity.create(name) for name in names}
    roster = Roster.of(*(keyring[name] for name in names))
    length = np.asarray(vectors[names[0]]).size
    cap = public_cap(weights.values()) if weights else 0
    encoding = Encoding(length, clip, scale, len(names), cap) if scale is not None else finest(length, clip, len(names), cap)
    needed = default_threshold(len(names)) if threshold is None else threshold
    policy = Policy(
        roster,
        secrets.token_bytes(ROUND_BYTES) if round_id is None else round_id,
        needed,
        max(2, needed) if minimum is None else minimum,
        encoding,
        model_hash,
        corrupt,
    )
    words = {name: encoding.quantise(vectors[name], weights[name] if weights else None) for name in names}
    return sum_words(policy, keyring, words, silent)


def sum_words(policy: Policy, identities: Mapping[str, Identity], words: Mapping[str, Words], drop: Mapping[int, Stage]) -> SecureSum:
    """One round in this process over encoded vectors (words,), under a policy that all sites share.

    Raises:
        ProtocolError: If the round is abandoned.
    """
    names = policy.roster.names
    started = time.perf_counter()
    sites = {i: client.ready(policy, identities[name], words[name], MemoryJournal()) for i, name in enumerate(names)}
    transport = InProcess(policy, sites, drop)
    finished = run_round(policy, transport)
    seconds = time.perf_counter() - started
    integers = policy.encoding.integers(finished.total)
    return SecureSum(
        policy.encoding.real(integers),
        integers,
        policy.encoding.weight(integers),
        finished.survivors,
        finished.dropped,
        bool(np.array_equal(integers, plain_sum(policy.encoding, {name: words[name] for name in finished.survivors}))),
        {**finished.refused, **transport.refusals},
        finished.accused,
        policy.encoding,
        transport.view,
        transport.view.bytes_up,
        seconds,
    )


def public_cap(weights: Iterable[int]) -> int:
    """The power of two at or above the largest weight: a cap that says little about it."""
    return 1 << (int(max(1, *weights)) - 1).bit_length()


def plain_sum(encoding: Encoding, words: Mapping[str, Words]) -> NDArray[np.int64]:
    """The oracle: the words added as signed 64-bit integers, with no protocol at all."""
    total = np.zeros(encoding.words, np.int64)
    for vector in words.values():
        total += vector.astype(WORD).view(np.dtype("<i4")).astype(np.int64)
    return total
