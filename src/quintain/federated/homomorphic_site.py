r"""A site in a homomorphic sum: it sends its ciphertext, signs who is in the sum, and may have to open it.

=========  ===============================================================  ==================
message    checks before anything is sent                                   reply
=========  ===============================================================  ==================
ENCRYPT    roster, vector and update are claimed in the journal             ENCRYPTED
SURVIVORS  this site too, >= ``min_survivors``; claimed in the journal      SIGNED: on the list
OPEN       >= t signatures of survivors on the list that this site signed;  OPENED: integers
           the sum is the one in the list, and of as many vectors
=========  ===============================================================  ==================

A few sites open a sum, so that their journals alone could not keep two sums apart: others could open the
second. So every survivor binds itself by its signature. Two lists would take t signatures each, and since
:math:`2t > n + \mathrm{corrupt}` some honest site would have signed both over one model.
"""

from quintain.core.errors import ProtocolError
from quintain.federated.homomorphic import check_encoding
from quintain.federated.homomorphic_key import SharedKey
from quintain.federated.homomorphic_messages import (
    ENCRYPT,
    ENCRYPTED,
    OPEN,
    OPENED,
    SIGNED,
    SURVIVORS,
    has_signed,
    parse_list,
    parse_opening,
    reply,
    request,
    sum_hash,
)
from quintain.federated.secagg.client_masked import vector_hash
from quintain.federated.secagg.client_unmask import cohort_hash
from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.keys import Identity
from quintain.federated.secagg.message_bodies import SiteSet, pack_vector
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.setting_types import check_types


class HomomorphicSite:
    """A site's half of one homomorphic sum: one ciphertext, one list, one sum to open.

    Args:
        policy: Its own terms.
        identity: Its signing key.
        encoded: (num_words,) its vector.
        journal: Its memory over all rounds.
        key: The key that the sites share.

    Attributes:
        survivors: The sites that it has signed to be in the sum; empty before.

    Raises:
        ProtocolError: If the vector does not fit, the roster lists another key, or the round was opened.
    """

    def __init__(
        self, policy: Policy, identity: Identity, encoded: EncodedVector, journal: Journal, key: SharedKey
    ) -> None:
        check_types(Policy, policy=policy)
        check_types(Identity, identity=identity)
        check_types(Journal, journal=journal)
        check_encoding(policy.encoding)
        self._policy, self._identity, self._journal, self._key = policy, identity, journal, key
        self._index = policy.roster.index_of(identity)
        if encoded.dtype != WORD_DTYPE or encoded.shape != (policy.encoding.num_words,):
            raise ProtocolError(
                f"words {encoded.shape} of {encoded.dtype}; expected ({policy.encoding.num_words},) of uint32"
            )
        if journal.has_answered(policy.round_id):
            raise ProtocolError(
                f"round {policy.round_id.hex()} was opened before; expected a new id: a replay is refused"
            )
        self._vector: EncodedVector | None = encoded
        self._listed = b""
        self._has_decrypted = False
        self.survivors: SiteSet = ()

    def step(self, message: bytes) -> bytes:
        """Return the signed ciphertext, the signature on the survivors, or the signed integers of the sum."""
        policy = self._policy
        if message == request(ENCRYPT, policy) and self._vector is not None:
            return self._encrypt(self._vector)
        if isinstance(message, bytes) and self._vector is None:
            head, body = message[: len(request(OPEN, policy))], message[len(request(OPEN, policy)) :]
            if head == request(SURVIVORS, policy):
                return self._sign_list(body)
            if head == request(OPEN, policy) and self._listed:
                return self._open_sum(body)
        raise ProtocolError(
            f"a message of {len(message)} bytes that is not due in round {policy.round_id.hex()} under this "
            "site's own terms; expected a request for its vector, then the survivors to sign, then the sum "
            "to open: leave this round"
        )

    def _encrypt(self, vector: EncodedVector) -> bytes:
        policy, task, journal = self._policy, self._policy.task, self._journal
        # on disk before anything leaves, as with a secure sum: one roster, one vector, one round an update
        journal.claim_roster(policy.model_hash, policy.roster.members)
        journal.claim_vector(policy.model_hash, vector_hash(self._identity, policy, vector))
        journal.claim_update(task.federation, task.counter, policy.model_hash, policy.round_id)
        self._vector = None
        ciphertext = self._key.encrypt(vector, policy.encoding)
        return reply(ENCRYPTED, policy, self._identity, ciphertext, policy.digest())

    def _sign_list(self, body: bytes) -> bytes:
        policy = self._policy
        survivors, _ = parse_list(body, len(policy.roster))
        if self._index not in survivors or len(survivors) < policy.min_survivors:
            raise ProtocolError(
                f"the server offers a sum of {len(survivors)} sites"
                + (", and this one is missing" if self._index not in survivors else "")
                + f"; this site's policy asks for {policy.min_survivors}, itself among them: leave this round"
            )
        # on disk before the signature leaves: with it, sites that are not this one may open the sum
        self._journal.claim_cohort(policy.model_hash, cohort_hash(policy, survivors))
        if self._listed:
            raise ProtocolError(
                f"the server offers a second list of survivors in round {policy.round_id.hex()}; a site "
                "signs one a round: start a new round"
            )
        self._listed, self.survivors = body, survivors
        return reply(SIGNED, policy, self._identity, b"", body)

    def _open_sum(self, body: bytes) -> bytes:
        policy = self._policy
        signatures, total = parse_opening(body, len(policy.roster))
        self._check_signed(signatures, total)
        # once, even if it is refused then: each further answer or silence would tell a server of the key
        if self._has_decrypted:
            raise ProtocolError(
                f"the server offers a second sum to open in round {policy.round_id.hex()}; a site decrypts "
                "one a round, whatever it was: start a new round"
            )
        self._has_decrypted = True
        integers = self._key.decrypt(total, policy.encoding, len(self.survivors))
        self._journal.claim_answer(policy.round_id, policy.model_hash, cohort_hash(policy, self.survivors))
        return reply(OPENED, policy, self._identity, pack_vector(integers.astype(WORD_DTYPE)), self._listed)

    def _check_signed(self, signatures: dict[int, bytes], total: bytes) -> None:
        """Refuse unless t survivors have signed the list that this site signed, and the sum is that one."""
        policy = self._policy
        _, signed_hash = parse_list(self._listed, len(policy.roster))
        if sum_hash(total) != signed_hash:
            raise ProtocolError(
                "the server offers another ciphertext to open than the one in the list that this site has "
                "signed; expected that one: leave this round"
            )
        if not set(signatures) <= set(self.survivors) or len(signatures) < policy.threshold:
            raise ProtocolError(
                f"{len(signatures)} signatures on the survivors; expected {policy.threshold} or more, all of "
                "survivors: leave this round"
            )
        for site, signature in signatures.items():
            if not has_signed(signature, policy, site, self._listed):
                raise ProtocolError(
                    f"the signature of {policy.roster.names[site]!r} does not hold for the survivors that "
                    "this site has signed; expected one on this list, in this round: leave this round"
                )
