"""The homomorphic sum: the server adds ciphertexts, and some sites open the sum, all to the same integers.

==========  ===========================================================================================
encrypt     each site encrypts its vector and signs it under the terms of the round
open        max_corrupt + 1 of the survivors check and decrypt the sum, and sign the integers; where some
            are silent, the other survivors are asked as well
==========  ===========================================================================================

The sites share one key, which the server lacks.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import MechanismError, ProtocolError
from quintain.federated.aggregation import Aggregation, Participant, RoundSum
from quintain.federated.homomorphic import KEY_ID_BYTES, CiphertextSum, SharedKey, check_encoding
from quintain.federated.secagg.client import cohort_hash, vector_hash
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector, check_types
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.messages import (
    MessageType,
    SiteSet,
    pack_set,
    pack_vector,
    parse_set,
    parse_vector,
    set_bytes,
)
from quintain.federated.secagg.policy import HASH_BYTES, ROUND_BYTES, Policy
from quintain.federated.secagg.primitives import SIGNATURE_BYTES, sign, tagged_hash, verify
from quintain.federated.secagg.secret import Secret
from quintain.federated.transport import Exchange, StreamingExchange
from quintain.federated.view import ServerView

MAGIC = b"QHS1"
ENCRYPT, ENCRYPTED, OPEN, OPENED = range(4)
_REQUEST = struct.Struct(f">4sB{ROUND_BYTES}s{HASH_BYTES}s")
_REPLY = struct.Struct(f">4sB{ROUND_BYTES}sI")
MIN_RUN = 8
"""Words in a row of a site's vector that are no chance in what the server saw: 2^-256."""


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
        "exact sums of ciphertexts under one key that all sites share (BFV, by TenSEAL): one message up, and "
        "dropouts are free"
    )
    guarantee: ClassVar[str] = (
        "a server that keeps to the protocol learns the sum over at least `min_survivors` sites and nothing "
        "else of a site's vector. A single site that colludes with the server, or whose key file is stolen, "
        "gives it the updates of all sites, those of past rounds too; and an active server can have a forged "
        "sum opened, such as one site's vector alone. Secure aggregation (secagg) stands both"
    )
    hides_updates: ClassVar[bool] = True
    replies: ClassVar[tuple[MessageType, ...]] = (
        MessageType.MASKED,
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
        return _Site(policy, identity, encoded, journal, self._key)

    def sum(self, policy: Policy, transport: Exchange) -> RoundSum:
        """Ask all sites for ciphertexts, add up those that hold, and have the sum opened."""
        names, everyone = policy.roster.names, range(len(policy.roster))
        check_encoding(policy.encoding)
        requests = dict.fromkeys(everyone, _request(ENCRYPT, policy))
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
                total.add(_opened(reply, policy, site, ENCRYPTED, policy.digest()))
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
        integers, bad = _have_opened(policy, transport, tuple(survivors), total.pack())
        dropped = tuple(name for i, name in enumerate(names) if i not in survivors)
        return RoundSum(integers, policy.roster.names_of(tuple(survivors)), dropped, {**refused, **bad})

    def count_hidden(self, view: ServerView) -> int:
        """Count the ciphertexts that sites sent."""
        return len({letter.site for letter in view.received})

    def protocol(self, num_sites: int, threshold: int) -> str:  # noqa: ARG002
        """Say for the record how the sum was made."""
        return f"BFV by TenSEAL, one key for {num_sites} clients, opened by max_corrupt + 1 of them"

    def check_view(
        self,
        view: ServerView,
        truth: Mapping[str, EncodedVector],
        earlier_views: Sequence[ServerView],  # noqa: ARG002
    ) -> None:
        """Look for a site's words, or its integers, in the clear in what it sent."""
        names, encoding = view.policy.roster.names, view.policy.encoding
        for letter in view.received:
            words = truth.get(names[letter.site])
            if words is None or len(words) < MIN_RUN or letter.data[4:5] != bytes([ENCRYPTED]):
                continue
            run = words[: max(MIN_RUN, len(words) // 2)]
            integers = encoding.to_signed(run)
            forms = (run.tobytes(), integers.tobytes(), (integers / encoding.scale).tobytes())
            if run.any() and any(form in letter.data for form in forms):
                raise MechanismError(
                    f"the server's view gives away the vector of {names[letter.site]!r}: its words are in "
                    "the clear in what it sent; expected a ciphertext: do not run this build"
                )


class _Site:
    """A site in one sum: it sends its ciphertext once, and opens one sum."""

    survivors: SiteSet = ()

    def __init__(
        self, policy: Policy, identity: Identity, encoded: EncodedVector, journal: Journal, key: SharedKey
    ) -> None:
        check_types(Policy, policy=policy)
        check_types(Identity, identity=identity)
        check_types(Journal, journal=journal)
        check_encoding(policy.encoding)
        self._policy, self._identity, self._journal, self._key = policy, identity, journal, key
        self._index = policy.roster.index(identity.name)
        if policy.roster.keys[self._index] != identity.public:
            raise ProtocolError(
                f"the roster lists another key for {identity.name!r}; expected this site's own: enrol again"
            )
        if encoded.dtype != WORD_DTYPE or encoded.shape != (policy.encoding.num_words,):
            raise ProtocolError(
                f"words {encoded.shape} of {encoded.dtype}; expected ({policy.encoding.num_words},) of uint32"
            )
        if journal.answered(policy.round_id):
            raise ProtocolError(
                f"round {policy.round_id.hex()} was opened before; expected a new id: a replay is refused"
            )
        self._vector: EncodedVector | None = encoded
        self._has_decrypted = False

    def step(self, message: bytes) -> bytes:
        """Return the signed ciphertext, or the signed integers of the sum."""
        policy = self._policy
        if message == _request(ENCRYPT, policy) and self._vector is not None:
            return self._encrypted(self._vector)
        head = _request(OPEN, policy)
        if isinstance(message, bytes) and message.startswith(head) and self._vector is None:
            return self._sum_opened(message[len(head) :])
        raise ProtocolError(
            f"a message of {len(message)} bytes that is not due in round {policy.round_id.hex()} under this "
            "site's own terms; expected a request for its vector, then the sum to open: leave this round"
        )

    def _encrypted(self, vector: EncodedVector) -> bytes:
        policy, task, journal = self._policy, self._policy.task, self._journal
        # on disk before anything leaves, as with a secure sum: one roster, one vector, one round an update
        journal.claim_roster(policy.model_hash, policy.roster.members)
        journal.claim_vector(
            policy.model_hash, vector_hash(self._identity, policy, Secret(pack_vector(vector)))
        )
        journal.claim_update(task.federation, task.counter, policy.model_hash, policy.round_id)
        self._vector = None
        return self._reply(ENCRYPTED, self._key.encrypt(vector, policy.encoding), policy.digest())

    def _sum_opened(self, body: bytes) -> bytes:
        policy, size = self._policy, set_bytes(len(self._policy.roster))
        survivors = parse_set(body[:size], len(policy.roster))
        if self._index not in survivors or len(survivors) < policy.min_survivors:
            raise ProtocolError(
                f"the server offers a sum of {len(survivors)} sites"
                + (", and this one is missing" if self._index not in survivors else "")
                + f"; this site's policy asks for {policy.min_survivors}, itself among them: leave this round"
            )
        cohort = cohort_hash(policy, survivors)
        self._journal.check_cohort(policy.model_hash, cohort)
        # once, even if it is refused then: each further answer or silence would tell a server of the key
        if self._has_decrypted:
            raise ProtocolError(
                f"the server offers a second sum to open in round {policy.round_id.hex()}; a site decrypts "
                "one a round, whatever it was: start a new round"
            )
        self._has_decrypted = True
        integers = self._key.decrypt(body[size:], policy.encoding, len(survivors))
        self._journal.claim_answer(policy.round_id, policy.model_hash, cohort)
        self.survivors = survivors
        return self._reply(OPENED, pack_vector(integers.astype(WORD_DTYPE)), tagged_hash("opening", body))

    def _reply(self, kind: int, body: bytes, bound_to: bytes) -> bytes:
        head = _REPLY.pack(MAGIC, kind, self._policy.round_id, self._index)
        signed = _signed(self._policy, head, body, bound_to)
        return head + body + sign(self._identity.private.peek(), signed)


def _have_opened(
    policy: Policy, transport: Exchange, survivors: SiteSet, total: bytes
) -> tuple[NDArray[np.int64], dict[str, str]]:
    """Return the integers on which max_corrupt + 1 survivors agree, and whose answers do not hold."""
    names, encoding = policy.roster.names, policy.encoding
    body = pack_set(survivors, len(names)) + total
    message, bound_to = _request(OPEN, policy) + body, tagged_hash("opening", body)
    needed = policy.max_corrupt + 1
    answers: dict[str, bytes] = {}
    refused: dict[str, str] = {}
    for asked in (survivors[:needed], survivors[needed:]):
        if len(answers) >= needed or not asked:
            continue
        replies = transport.exchange(dict.fromkeys(asked, message))
        for site in sorted(set(replies) & set(asked)):
            try:
                answers[names[site]] = _opened(replies[site], policy, site, OPENED, bound_to)
            except ProtocolError as error:
                refused[names[site]] = str(error)
    if len(answers) < needed:
        raise ProtocolError(
            f"{len(answers)} of {len(survivors)} sites opened the sum; {needed} are needed, since "
            f"{policy.max_corrupt} may lie: the round is abandoned, start another with a new id"
            + "".join(f"; {name}: {reason}" for name, reason in refused.items())
        )
    first, *others = answers
    unlike = [name for name in others if answers[name] != answers[first]]
    if unlike:
        raise ProtocolError(
            f"{', '.join(unlike)} opened the sum to other integers than {first}; expected the same from all: "
            "one of them lies, and nothing proves which. The round is abandoned"
        )
    integers = encoding.to_signed(parse_vector(answers[first], encoding.num_words))
    encoding.check_sum(integers, len(survivors))
    return integers, refused


def _request(kind: int, policy: Policy) -> bytes:
    return _REQUEST.pack(MAGIC, kind, policy.round_id, policy.digest())


def _opened(data: bytes, policy: Policy, site: int, kind: int, bound_to: bytes) -> bytes:
    """Return the body of a site's reply, if it signed it for this round and what it answers."""
    head = _REPLY.pack(MAGIC, kind, policy.round_id, site)
    if not isinstance(data, bytes) or len(data) < len(head) + SIGNATURE_BYTES or not data.startswith(head):
        raise ProtocolError("its reply is none to this request, in its own name; expected one")
    body, signature = data[len(head) : -SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    if not verify(policy.roster.keys[site], _signed(policy, head, body, bound_to), signature):
        raise ProtocolError("its signature does not hold for this round and these terms")
    return body


def _signed(policy: Policy, head: bytes, body: bytes, bound_to: bytes) -> bytes:
    return tagged_hash("homomorphic sum", policy.digest(), head, body, bound_to)
