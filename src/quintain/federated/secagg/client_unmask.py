"""The last two steps of a site: it signs who survived, and reveals shares once enough have signed that."""

from collections.abc import Mapping

from quintain.core.errors import ProtocolError
from quintain.federated.secagg import transcript
from quintain.federated.secagg.client_checks import require_members
from quintain.federated.secagg.client_states import Agreed, Done, Masked
from quintain.federated.secagg.dealing import unpack_pair
from quintain.federated.secagg.message_bodies import SiteSet, pack_unmask, parse_set, parse_signatures
from quintain.federated.secagg.messages import MessageType, check_signature, open_server
from quintain.federated.secagg.policy import Policy
from quintain.federated.secagg.primitives import SIGNATURE_BYTES, tagged_hash
from quintain.federated.secagg.secret import wipe
from quintain.federated.secagg.shamir import SHARE_BYTES


def sign_survivors(state: Masked, message: bytes) -> tuple[Agreed, bytes]:
    """Check the list of survivors; sign it."""
    site = state.context
    num_sites = len(site.policy.roster)
    survivors = parse_set(open_server(message, MessageType.SURVIVORS, site.policy), num_sites)
    require_members(
        "sites survived", survivors, within=state.sharers, minimum=site.policy.min_survivors, site=site
    )
    if weakness := state.graph.weakness(survivors, site.policy.roster.names):
        raise ProtocolError(f"{weakness}: leave this round")
    cohort = cohort_hash(site.policy, survivors)
    if state.graph.is_complete:
        site.journal.check_cohort(site.policy.model_hash, cohort)
    else:  # fewer than t answers open this sum: the t signatures must bind in their place
        site.journal.claim_cohort(site.policy.model_hash, cohort)
    transcript_hash = transcript.append_survivors(state.transcript_hash, survivors, num_sites)
    reply = site.reply(MessageType.CONSISTENCY, b"", transcript_hash)
    agreed = Agreed(
        context=site,
        held_shares=state.held_shares.move(),
        sharers=state.sharers,
        survivors=survivors,
        signature=reply[-SIGNATURE_BYTES:],
        graph=state.graph,
        transcript_hash=transcript_hash,
    )
    return agreed, reply


def send_unmasking(state: Agreed, message: bytes) -> tuple[Done, bytes]:
    """Check that enough sites have signed the same list; reveal one share of each site."""
    site = state.context
    policy = site.policy
    _check_signatures(
        state, parse_signatures(open_server(message, MessageType.SIGNATURES, policy), len(policy.roster))
    )
    packed = state.held_shares.take()
    held = memoryview(packed)  # whose slices are no copies
    pairs = {
        i: unpack_pair(held[k * 2 * SHARE_BYTES : (k + 1) * 2 * SHARE_BYTES])
        for k, i in enumerate(state.graph.near(site.index, state.sharers))
    }
    wipe(packed)
    site.journal.claim_answer(policy.round_id, policy.model_hash, cohort_hash(policy, state.survivors))
    # of a survivor the share of its self-mask seed, of a dropout that of its mask key: never both
    survived = set(state.survivors)
    answer = {i: seed_share if i in survived else key_share for i, (key_share, seed_share) in pairs.items()}
    return Done(site), site.reply(MessageType.UNMASK, pack_unmask(answer), state.transcript_hash)


def _check_signatures(state: Agreed, signatures: Mapping[int, bytes]) -> None:
    """Refuse unless at least t survivors signed exactly the list that this site signed."""
    policy = state.context.policy
    if not set(signatures) <= set(state.survivors) or len(signatures) < policy.threshold:
        raise ProtocolError(
            f"{len(signatures)} signatures on the survivors; expected {policy.threshold} or more, all of "
            "survivors: leave this round"
        )
    for i, signature in signatures.items():
        if i == state.context.index and signature == state.signature:
            continue
        check_signature(MessageType.CONSISTENCY, policy, i, b"", state.transcript_hash, signature)


def cohort_hash(policy: Policy, survivors: SiteSet) -> bytes:
    """Return a hash of who survived and of what they sum.

    By the identities themselves, so that no other roster spells the same sites in another way; and by the
    terms, since two sums of one cohort under other weights, or another clip, subtract to a site's update as
    well.
    """
    return tagged_hash("cohort", policy.computes, *sorted(policy.roster.keys[i] for i in survivors))
