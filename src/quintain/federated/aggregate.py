"""One sum of given vectors, server and all sites simulated in this process."""

import secrets
import time
from collections.abc import Iterable, Mapping
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quintain.core.errors import DataError, ProtocolError, SabotageError, SettingError, StorageError
from quintain.federated.aggregation import Aggregation, Participant
from quintain.federated.in_process import ParticipantTransport
from quintain.federated.secagg.encoding import EncodedVector, Encoding, finest_encoding
from quintain.federated.secagg.journal import Journal, MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.policy import ROUND_BYTES, Policy, default_threshold
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.secagg.weights import check_weights
from quintain.federated.secagg_sum import SecureSum
from quintain.federated.sum_result import SecureSumResult, check_entries, result_of
from quintain.federated.transport import DropoutStage
from quintain.federated.view import ServerView

NO_MODEL_HASH = bytes(32)
SECURE_SUM = SecureSum()


class RoundAbandonedError(ProtocolError):
    """A round ended without a sum, or with an impossible one.

    Args:
        reason: Why, as the server knows it.
        server_view: Everything that the server saw of it.
        left: Sites that went silent by themselves: name to reason, which a simulation alone knows; the
            message tells both.
        seconds: What it took.
        accused: Sites that are proven to have lied in it, as in ``SecureSumResult.accused`` or by dealing bad
            shares.
    """

    def __init__(
        self,
        reason: str,
        server_view: ServerView,
        left: Mapping[str, str],
        seconds: float,
        accused: tuple[str, ...] = (),
    ) -> None:
        super().__init__(reason + "".join(f"; {name} left: {why}" for name, why in left.items()))
        self.reason = reason
        self.server_view = server_view
        self.left = left
        self.seconds = seconds
        self.accused = accused


def secure_sum(
    vectors: Mapping[str, ArrayLike],
    *,
    dropouts: Mapping[str, DropoutStage | str] | None = None,
    weights: Mapping[str, int] | None = None,
    clip_value: float = 1.0,
    scale: int | None = None,
    threshold: int | None = None,
    min_survivors: int | None = None,
    max_corrupt: int = 1,
    identities: Mapping[str, Identity] | None = None,
    model_hash: bytes = NO_MODEL_HASH,
    round_id: bytes | None = None,
    max_weight: int | None = None,
    aggregation: Aggregation = SECURE_SUM,
) -> SecureSumResult:
    r"""Sum one vector of each site, such that nobody but the site itself sees more of it than the sum.

    .. math:: \sum_{i \in U} w_i\, \mathrm{clip}(x_i, -C, C) \quad \text{on a grid of step } 1/s

    Args:
        vectors: Site to (length,) vector, in the order of the roster.
        dropouts: Site to the stage from which it is silent: keys, shares, masked, late, agree or unmask.
        weights: Site to integer weight, 1 or more; None for a plain sum. The weights travel inside the sum
            and it tells their sum, which is a single site's weight to whoever knows the others', or a second
            sum without that site. One by which its site would stand out in the sum more than one of two
            equals is refused (``secagg.weights``); sites that live apart cannot check that of weights they do
            not see, and give public ones instead (``Task.weights``).
        clip_value: C.
        scale: s; None for the largest power of two whose sums cannot wrap.
        threshold: t; None for floor(2n/3) + 1.
        min_survivors: Fewest survivors; None for the threshold.
        max_corrupt: Largest number of sites that may collude with the server.
        identities: Site to signing key; None for fresh ones.
        model_hash: 32 bytes that all sites must agree on.
        round_id: 16 bytes; None for random ones.
        max_weight: The public largest weight that a site may have; None for the power of two at or above the
            largest given one, which only a process that holds all weights can know: sites that live apart
            agree on a constant.
        aggregation: What sums; with another than ``SecureSum`` its guarantee holds in place of the one below.

    Raises:
        RoundAbandonedError: A ``ProtocolError``: if so many sites fall silent that there is no sum, or the
            sum is impossible; there is no partial answer.
        DataError: If an entry is not finite.
        SettingError: If the settings cannot hold.

    Guarantee: see ``secagg.client.step``; here all sites live in one process, so only the server's view is
    separate. It speaks of one call: sums of the same vectors over different sites subtract to the vectors of
    the sites in which they differ, and nothing here remembers earlier calls (``train`` does, by each site's
    journal).
    Source: Bonawitz et al., 2017, ePrint 2017/281.
    """
    names = _validate_names(vectors, dropouts=dropouts, weights=weights, identities=identities)
    check_types(Integral, **{f"weight of {name!r}": weight for name, weight in (weights or {}).items()})
    if threshold is not None:
        check_types(Integral, threshold=threshold)
    silent = {names.index(name): DropoutStage.parse(stage) for name, stage in (dropouts or {}).items()}
    if len(names) < 2:
        raise SettingError(f"{len(names)} site; expected at least two, since a sum over one hides nothing")
    keyring = (
        _validate_identities(identities) if identities else {name: Identity.create(name) for name in names}
    )
    roster = Roster.from_identities(*(keyring[name] for name in names))
    length = _as_array(names[0], vectors[names[0]]).size
    weights = {name: int(weight) for name, weight in weights.items()} if weights else None
    cap = _resolve_max_weight(weights, max_weight)
    encoding = (
        Encoding(length, clip_value, scale, len(names), cap)
        if scale is not None
        else finest_encoding(length, clip_value, len(names), cap)
    )
    needed = default_threshold(len(names)) if threshold is None else threshold
    policy = Policy(
        roster=roster,
        round_id=secrets.token_bytes(ROUND_BYTES) if round_id is None else round_id,
        threshold=needed,
        min_survivors=max(2, needed) if min_survivors is None else min_survivors,
        encoding=encoding,
        model_hash=model_hash,
        max_corrupt=max_corrupt,
    )
    if weights:
        check_weights(
            weights, policy.min_survivors, max_corrupt, encoding.max_abs * int(max(weights.values())) // cap
        )
    encoded = {
        name: encoding.quantize(_as_array(name, vectors[name]), weights[name] if weights else None)
        for name in names
    }
    return simulate_round(
        policy,
        keyring,
        encoded,
        silent,
        journals={name: MemoryJournal() for name in names},
        aggregation=aggregation,
    )


def simulate_round(
    policy: Policy,
    identities: Mapping[str, Identity],
    encoded: Mapping[str, EncodedVector],
    dropouts: Mapping[int, DropoutStage],
    *,
    journals: Mapping[str, Journal],
    largest: Mapping[str, int] | None = None,
    aggregation: Aggregation = SECURE_SUM,
) -> SecureSumResult:
    """Simulate one round, server and all sites, over encoded vectors (num_words,) under one policy.

    Args:
        policy: The terms.
        identities: Site to signing key.
        encoded: Site to encoded vector; a site without one is silent from the start.
        dropouts: Site index to the stage from which it is silent.
        journals: Site to its journal: one for all rounds of a run, so that a site remembers what it has
            masked and opened.
        largest: Site to the largest magnitude that an honest entry of its can have, where that is publicly
            below the encoding's.
        aggregation: What sums.

    Raises:
        RoundAbandonedError: If there is no sum, or one that no honest sites can have made.
        ProtocolError: If a site does not fit the policy.
    """
    started = time.perf_counter()
    names = policy.roster.names
    sites: dict[int, Participant] = {}
    left: dict[str, str] = {}
    for name in encoded:
        try:
            sites[names.index(name)] = aggregation.join(
                policy, identities[name], encoded[name], journals[name]
            )
        except StorageError as error:
            left[name] = str(error)
    transport = ParticipantTransport(names, sites, dropouts, aggregation.replies)
    accused: tuple[str, ...] = ()
    try:
        finished = aggregation.sum(policy, transport)
        accused = finished.accused
        if largest is not None:
            check_entries(finished.integers, sum(largest[name] for name in finished.survivors))
    except ProtocolError as error:
        left |= transport.refusals
        accused = error.accused if isinstance(error, SabotageError) else accused
        raise RoundAbandonedError(
            str(error), transport.view_under(policy), left, time.perf_counter() - started, accused
        ) from error
    return result_of(
        policy,
        finished,
        encoded,
        transport.view_under(policy),
        seconds=time.perf_counter() - started,
        left=left | transport.refusals,
    )


def public_max_weight(weights: Iterable[int]) -> int:
    """Return the power of two at or above the largest weight: a public maximum that tells little about it."""
    return 1 << (int(max(1, *weights)) - 1).bit_length()


def _resolve_max_weight(weights: Mapping[str, int] | None, max_weight: int | None) -> int:
    """Return the largest weight, which is public; 0 for a sum without weights."""
    if max_weight is not None:
        check_types(Integral, max_weight=max_weight)
        if max_weight < 1:
            raise SettingError(f"max_weight = {max_weight}; expected 1 or more, or None")
    if not weights:
        return 0
    return public_max_weight(weights.values()) if max_weight is None else int(max_weight)


def _validate_names(vectors: object, **by_site: object) -> tuple[str, ...]:
    """Return the sites' names, after checking that all other mappings are about the same sites.

    Raises:
        SettingError: If an argument is no mapping, or has other sites.
    """
    for what, given in {"vectors": vectors, **by_site}.items():
        by_name = isinstance(given, Mapping) and all(isinstance(name, str) for name in given)
        if not by_name and (given is not None or what == "vectors"):
            raise SettingError(
                f"{what} is a {type(given).__name__}; expected a mapping from each site's name to what is "
                "its own"
            )
    assert isinstance(vectors, Mapping)
    names = tuple(vectors)
    for what, given in by_site.items():
        if isinstance(given, Mapping):
            odd = set(given) - set(names) if what == "dropouts" else set(given) ^ set(names)
            if odd:
                raise SettingError(
                    f"{what} does not fit the sites {', '.join(names)}: {', '.join(sorted(odd))} unknown or "
                    "missing"
                )
    return names


def _validate_identities(identities: Mapping[str, Identity]) -> Mapping[str, Identity]:
    """Return the identities, after checking that each stands under its own name, for which it signs."""
    for name, identity in identities.items():
        if not isinstance(identity, Identity) or identity.name != name:
            raise SettingError(
                f"identities holds {identity!r} for {name!r}; expected the Identity that was created under "
                "that name"
            )
    return identities


def _as_array(name: str, vector: ArrayLike) -> NDArray[np.generic]:
    """A site's vector, if it is an array at all."""
    try:
        return np.asarray(vector)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"the vector of {name!r} is no array of numbers: {error}; flatten the update first"
        ) from error
