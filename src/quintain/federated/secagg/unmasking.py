"""The last step of a round: check shares, rebuild secrets, and take every mask off the sum."""

from collections.abc import Mapping
from dataclasses import replace

from quintain.core.errors import ProtocolError
from quintain.federated.secagg import dealing, masks, transcript
from quintain.federated.secagg.collecting import (
    Messages,
    RoundInProgress,
    RoundOutcome,
    abandon_error,
    gather,
    require,
    sabotage,
)
from quintain.federated.secagg.encoding import EncodedVector
from quintain.federated.secagg.message_bodies import SiteSet, parse_unmask
from quintain.federated.secagg.primitives import KEY_BYTES, x25519_public
from quintain.federated.secagg.shamir import PRIME, combine, lagrange_weights


def unmask(state: RoundInProgress, messages: Messages) -> RoundOutcome:
    """The round's outcome, from the shares that the survivors reveal.

    Raises:
        ProtocolError: If too few true shares arrived, or the sum is one that no honest vectors have.
        SabotageError: If a site dealt shares of another secret than it committed to.
    """
    policy, roster = state.policy, state.policy.roster

    def read(site: int, body: bytes, _signature: bytes) -> dict[int, int]:
        shares = parse_unmask(body, state.graph.near(site, state.sharers))
        if any(value >= PRIME for value in shares.values()):
            raise ProtocolError(
                "a share outside the field; expected a value below the prime: exclude that site"
            )
        return shares

    answers, refused = gather(state, messages, state.survivors, read)
    false = {
        site: dealers for site, answer in answers.items() if (dealers := _not_dealt(state, site, answer))
    }
    refused |= {
        roster.names[
            site
        ]: f"it revealed shares that it was not dealt, of {', '.join(roster.names_of(dealers))}"
        for site, dealers in false.items()
    }
    answers = {site: answer for site, answer in answers.items() if site not in false}
    state = replace(state, refused=refused, accused=state.accused | set(false))
    if state.graph.is_complete:
        require(state, policy.threshold, answers, "unmasked", refused)

    total = _unmask_sum(state, answers)
    try:
        policy.encoding.check_sum(policy.encoding.to_signed(total), len(state.survivors))
    except ProtocolError as error:
        raise abandon_error(state, str(error)) from error
    dropped = tuple(name for i, name in enumerate(roster.names) if i not in state.survivors)
    accused = roster.names_of(tuple(sorted(state.accused)))
    return RoundOutcome(
        policy=policy,
        total=total,
        survivors=roster.names_of(state.survivors),
        dropped=dropped,
        refused=refused,
        accused=accused,
    )


def _unmask_sum(state: RoundInProgress, answers: Mapping[int, Mapping[int, int]]) -> EncodedVector:
    """Return the sum of the survivors' vectors, after all masks are reconstructed from shares and removed."""
    transcript_hash = transcript.append_sharers(state.key_list_hash, state.sharers, len(state.policy.roster))
    secrets = _reconstruct_secrets(state, answers)
    _require_committed(state, secrets)
    total = state.masked_sum.copy()
    for site, secret in secrets.items():
        private = secret.to_bytes(KEY_BYTES, "big")
        if site in state.survivors:
            masks.add_self_mask(total, private, transcript_hash, site, remove=True)
            continue
        survivors = state.graph.near(site, state.survivors)
        publics = {survivor: state.keys[survivor].mask_public for survivor in survivors}
        masks.add_pair_masks(total, private, publics, transcript_hash, site)
    return total


def _reconstruct_secrets(state: RoundInProgress, answers: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
    """Return the secret of each sharing site, from the first shares that its holders revealed.

    Where all pairs share masks every answer has one share of each site, so that the shares of all sites stand
    at the same points and one set of weights serves them.
    """
    threshold = state.graph.threshold
    factors: dict[SiteSet, dict[int, int]] = {}
    secrets = {}
    for site in state.sharers:
        chosen = state.graph.near(site, answers)[:threshold]
        if len(chosen) < threshold:
            raise abandon_error(
                state,
                f"{len(chosen)} holders of a share of {state.policy.roster.names[site]!r} unmasked; "
                f"{threshold} are needed: the round is abandoned, start another with a new id",
            )
        if chosen not in factors:
            factors[chosen] = lagrange_weights([holder + 1 for holder in chosen])
        secrets[site] = combine(factors[chosen], {holder + 1: answers[holder][site] for holder in chosen})
    return secrets


def _require_committed(state: RoundInProgress, secrets: Mapping[int, int]) -> None:
    """End the round in the name of every site whose true shares give another secret than it committed to."""
    guilty = {}
    for site, secret in secrets.items():
        survived = site in state.survivors
        if not (_is_seed if survived else _is_mask_key)(state, site, secret):
            what = "self-mask seed" if survived else "mask key"
            guilty[site] = (
                f"the shares that {state.policy.roster.names[site]!r} dealt do not give the {what} that it "
                "committed to"
            )
    if guilty:
        raise sabotage(state, tuple(guilty), "; ".join(guilty.values()))


def _not_dealt(state: RoundInProgress, holder: int, answer: Mapping[int, int]) -> SiteSet:
    """The sites of which a holder revealed another share than the one whose hash they signed for it."""

    def is_false(dealer: int, value: int) -> bool:
        hashes = state.shared[dealer].hashes(holder)
        label, expected = (
            ("seed share", hashes.seed) if dealer in state.survivors else ("key share", hashes.key)
        )
        return dealing.share_hash(label, state.key_list_hash, dealer, holder, value) != expected

    return tuple(dealer for dealer, value in answer.items() if is_false(dealer, value))


def _is_seed(state: RoundInProgress, site: int, value: int) -> bool:
    """Whether a rebuilt value is the seed that a site committed to."""
    if value >= 1 << (8 * KEY_BYTES):
        return False
    return (
        dealing.seed_commitment(state.key_list_hash, site, value.to_bytes(KEY_BYTES, "big"))
        == state.shared[site].commitment
    )


def _is_mask_key(state: RoundInProgress, site: int, value: int) -> bool:
    """Whether a rebuilt value is the private half of the mask key that a site advertised."""
    if value >= 1 << (8 * KEY_BYTES):
        return False
    return x25519_public(value.to_bytes(KEY_BYTES, "big")) == state.keys[site].mask_public
