"""The homomorphic sum: the server adds ciphertexts, and some sites open the sum, all to the same integers.

==========  ===========================================================================================
encrypt     each site encrypts its vector and signs it under the terms of the round
sign        the survivors sign who is in the sum, with its hash, and none signs other survivors over this
            model; t of them must
open        max_corrupt + 1 of those who signed check t signatures, decrypt the sum and sign the integers;
            where some are silent, the others who signed are asked as well
==========  ===========================================================================================

The sites share one key, which the server lacks.
"""

from collections.abc import Collection, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import MechanismError, ProtocolError
from quintain.federated.aggregation import Aggregation, Participant, RoundSum
from quintain.federated.homomorphic import KEY_ID_BYTES, CiphertextSum, check_encoding
from quintain.federated.homomorphic_key import SharedKey
from quintain.federated.homomorphic_messages import (
    ENCRYPT,
    ENCRYPTED,
    OPEN,
    OPENED,
    SURVIVORS,
    open_reply,
    open_signature,
    pack_list,
    pack_opening,
    parse_list,
    request,
)
from quintain.federated.homomorphic_site import HomomorphicSite
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector, Encoding
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.message_bodies import SiteSet, parse_vector
from quintain.federated.secagg.messages import MessageType
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.transport import Exchange, StreamingExchange
from quintain.federated.view import ServerView

MIN_RUN = 8
"""So many neighboring words, at least half of them not 0, are in what the server saw by no chance."""

NUM_RUNS = 16
"""Places of a vector, evenly spread, at which such a run is looked for."""


class HomomorphicSum(Aggregation):
    """Sums of ciphertexts under one key of all sites (BFV, by TenSEAL), for a server that keeps to its part.

    Args:
        key: The key that the sites share; at the server, which must not have it, its id (16 bytes); None for
            a new one, which only a simulation can use.

    Raises:
        ExecutionError: If TenSEAL is not installed.
        SettingError: If the key is something else.

    Source: Fan, Vercauteren, 2012, ePrint 2012/144.
    """

    name: ClassVar[str] = "he"
    summary: ClassVar[str] = (
        "exact sums of ciphertexts under one key that all sites share (BFV, by TenSEAL): one vector up, then "
        "a signature, and dropouts before it are free"
    )
    guarantee: ClassVar[str] = (
        "a server that keeps to the protocol learns the sum over at least `min_survivors` sites and nothing "
        "else of a site's vector. A single site that colludes with the server, or whose key file is stolen, "
        "gives it the updates of all sites, those of past rounds too; and an active server can have a forged "
        "sum opened, such as one site's vector alone. Secure aggregation (secagg) stands both"
    )
    hides_updates: ClassVar[bool] = True
    sites_open_sums: ClassVar[bool] = True
    replies: ClassVar[tuple[MessageType, ...]] = (
        MessageType.MASKED,
        MessageType.CONSISTENCY,
        MessageType.UNMASK,
        MessageType.UNMASK,
    )

    def __init__(self, key: SharedKey | bytes | None = None) -> None:
        given = SharedKey.create() if key is None else key
        self._key = given if isinstance(given, SharedKey) else None
        self.key_id = given.key_id if isinstance(given, SharedKey) else given
        check_types(bytes, key=self.key_id)
        if len(self.key_id) != KEY_ID_BYTES:
            raise ProtocolError(f"the id of a key of {len(self.key_id)} bytes; expected {KEY_ID_BYTES}")

    def join(
        self, policy: Policy, identity: Identity, encoded: EncodedVector, journal: Journal
    ) -> Participant:
        """Take part: the vector waits for the server's request."""
        if self._key is None:
            raise ProtocolError(
                "this party has only the id of the sites' key, as a server; expected the key itself at a "
                "site: load its key file by SharedKey.load"
            )
        return HomomorphicSite(policy, identity, encoded, journal, self._key)

    def sum(self, policy: Policy, transport: Exchange) -> RoundSum:
        """Ask all sites for ciphertexts, add up those that hold, and have the sum signed and opened."""
        names, everyone = policy.roster.names, range(len(policy.roster))
        check_encoding(policy.encoding)
        requests = dict.fromkeys(everyone, request(ENCRYPT, policy))
        total = CiphertextSum(self.key_id, policy.encoding)
        survivors: list[int] = []
        refused: dict[str, str] = {}
        # each ciphertext is added as it comes, where the transport can, so that nobody holds all of them
        arrivals = (
            transport.arrivals(requests)
            if isinstance(transport, StreamingExchange)
            else transport.exchange(requests).items()
        )
        for site, reply in arrivals:
            if site not in everyone or site in survivors:
                continue
            try:
                total.add(open_reply(reply, policy, site, ENCRYPTED, policy.digest()))
            except ProtocolError as error:
                refused[names[site]] = str(error)
                continue
            survivors.append(site)
        survivors.sort()
        if len(survivors) < policy.min_survivors:
            raise ProtocolError(
                f"{len(survivors)} of {len(names)} sites sent a vector; {policy.min_survivors} are needed: "
                "the round is abandoned, start another with a new id"
                + "".join(f"; {name}: {reason}" for name, reason in refused.items())
            )
        in_sum, packed = tuple(survivors), total.pack()
        listed = pack_list(in_sum, packed, len(names))
        signatures, unsigned = _have_signed(policy, transport, in_sum, listed)
        answers, unopened = _have_opened(policy, transport, signatures, listed, packed)
        integers = _agreed_integers(policy, answers, len(in_sum))
        dropped = tuple(name for i, name in enumerate(names) if i not in in_sum)
        refused |= unsigned | unopened
        return RoundSum(integers, policy.roster.names_of(in_sum), dropped, refused)

    def count_hidden(self, view: ServerView) -> int:
        """Count the ciphertexts that sites sent."""
        return len({letter.site for letter in view.received})

    def protocol(self, num_sites: int, threshold: int) -> str:
        """Say for the record how the sum was made."""
        return (
            f"BFV by TenSEAL, one key for {num_sites} clients, opened by max_corrupt + 1 of them once "
            f"{threshold} have signed who is in the sum"
        )

    def check_view(
        self,
        view: ServerView,
        truth: Mapping[str, EncodedVector],
        known_secrets: Collection[bytes],  # noqa: ARG002
    ) -> None:
        """Look for a site's words, its integers or its numbers in the clear in all that it sent.

        Runs of 8 of them are looked for at 16 places of its vector: whatever bares 8 neighboring words and a
        fifteenth of the vector more holds such a run, and is noticed unless most of these words are 0. The
        integers of the sum, which sites open, are left out of what is looked at. Not noticed: another form,
        such as the numbers before they were rounded to the grid.
        """
        names, encoding, opened = view.policy.roster.names, view.policy.encoding, _opened_sums(view, truth)
        for letter in view.received:
            words, sent = truth.get(names[letter.site]), letter.data
            if words is None or len(words) < MIN_RUN:
                continue
            for one in opened:
                sent = sent.replace(one, b"")
            starts = np.linspace(0, len(words) - MIN_RUN, NUM_RUNS).astype(int).tolist()
            runs = [words[start : start + MIN_RUN] for start in dict.fromkeys(starts)]
            no_chance = [run for run in runs if 2 * np.count_nonzero(run) >= MIN_RUN]
            if any(form in sent for run in no_chance for form in _plain_forms(run, encoding)):
                raise MechanismError(
                    f"the server's view gives away the vector of {names[letter.site]!r}: its words are in "
                    "the clear in what it sent; expected a ciphertext: do not run this build"
                )


def _plain_forms(run: EncodedVector, encoding: Encoding) -> tuple[bytes, ...]:
    """Return the bytes of words, of their integers, and of the numbers that they stand for."""
    integers = encoding.to_signed(run)
    numbers = integers / encoding.scale
    return run.tobytes(), integers.tobytes(), numbers.tobytes(), numbers.astype(np.float32).tobytes()


def _opened_sums(view: ServerView, truth: Mapping[str, EncodedVector]) -> set[bytes]:
    """Return the words of the sums that the server had opened: of the sites in each list that it sent."""
    roster, head, sums = view.policy.roster, request(SURVIVORS, view.policy), set()
    for data in {one.data for one in view.sent if one.data.startswith(head)}:
        survivors, _ = parse_list(data[len(head) :], len(roster))
        names = roster.names_of(survivors)
        if names and truth.keys() >= set(names):
            sums.add(np.sum([truth[name] for name in names], axis=0, dtype=WORD_DTYPE).tobytes())
    return sums


def _have_signed(
    policy: Policy, transport: Exchange, survivors: SiteSet, listed: bytes
) -> tuple[dict[int, bytes], dict[str, str]]:
    """Return the signatures of survivors on the list, at least t of them, and whose replies do not hold."""
    signatures: dict[int, bytes] = {}
    refused: dict[str, str] = {}
    replies = transport.exchange(dict.fromkeys(survivors, request(SURVIVORS, policy) + listed))
    for site in sorted(set(replies) & set(survivors)):
        try:
            signatures[site] = open_signature(replies[site], policy, site, listed)
        except ProtocolError as error:
            refused[policy.roster.names[site]] = str(error)
    if len(signatures) < policy.threshold:
        raise ProtocolError(
            f"{len(signatures)} of {len(survivors)} sites signed the survivors; {policy.threshold} are "
            "needed: the round is abandoned, start another with a new id, over this model with the same "
            "survivors" + "".join(f"; {name}: {reason}" for name, reason in refused.items())
        )
    return signatures, refused


def _have_opened(
    policy: Policy, transport: Exchange, signatures: Mapping[int, bytes], listed: bytes, total: bytes
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return what max_corrupt + 1 of those who signed open the sum to, and whose answers do not hold."""
    names, needed = policy.roster.names, policy.max_corrupt + 1
    quorum = dict(list(signatures.items())[: policy.threshold])
    message = request(OPEN, policy) + pack_opening(quorum, total, len(names))
    signers = tuple(signatures)
    answers: dict[str, bytes] = {}
    refused: dict[str, str] = {}
    for recipients in (signers[:needed], signers[needed:]):
        if len(answers) >= needed or not recipients:
            continue
        replies = transport.exchange(dict.fromkeys(recipients, message))
        for site in sorted(set(replies) & set(recipients)):
            try:
                answers[names[site]] = open_reply(replies[site], policy, site, OPENED, listed)
            except ProtocolError as error:
                refused[names[site]] = str(error)
    if len(answers) < needed:
        raise ProtocolError(
            f"{len(answers)} of {len(signers)} sites opened the sum; {needed} are needed, since "
            f"{policy.max_corrupt} may lie: the round is abandoned, start another with a new id, over this "
            "model with the same survivors"
            + "".join(f"; {name}: {reason}" for name, reason in refused.items())
        )
    return answers, refused


def _agreed_integers(policy: Policy, answers: Mapping[str, bytes], summands: int) -> NDArray[np.int64]:
    """Return the integers (num_words,) that all answers name."""
    encoding = policy.encoding
    first, *others = answers
    unlike = [name for name in others if answers[name] != answers[first]]
    if unlike:
        raise ProtocolError(
            f"{', '.join(unlike)} opened the sum to other integers than {first}; expected the same from all: "
            "one of them lies, and nothing proves which. The round is abandoned"
        )
    integers = encoding.to_signed(parse_vector(answers[first], encoding.num_words))
    encoding.check_sum(integers, summands)
    return integers
