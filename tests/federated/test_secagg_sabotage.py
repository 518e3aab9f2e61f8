"""A site that cheats its peers is named, with a proof; its victims never are, and nobody can be framed."""

import random
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from quintain.core.errors import ProtocolError, SabotageError
from quintain.federated import (
    DropoutStage,
    InProcessTransport,
    RoundAbandonedError,
    attack_masks,
    run_round,
    secure_sum,
)
from quintain.federated.aggregate import simulate_round
from quintain.federated.secagg import client, client_masked, dealing, server, transcript, unmasking
from quintain.federated.secagg.dealing import HolderShares, ShareHashes
from quintain.federated.secagg.journal import MemoryJournal
from quintain.federated.secagg.mask_graph import MaskGraph
from quintain.federated.secagg.message_bodies import pack_unmask, parse_unmask
from quintain.federated.secagg.messages import (
    MessageType,
    check_signature,
    from_server,
    from_site,
    server_body,
    site_body,
)
from quintain.federated.secagg.primitives import x25519_public
from quintain.federated.secagg.shamir import PRIME, interpolate, make_shares
from quintain.federated.secagg.share_messages import (
    Complaint,
    deliver,
    pack_complaint,
    pack_delivery,
    pack_shares,
    parse_complaint,
    parse_delivery,
    parse_shares,
)
from quintain.federated.secagg.share_tree import root, tree_depth
from tests.federated.rounds import federation, total

CULPRIT, VICTIM = 1, 0


class Cheating(InProcessTransport):
    """A wire to sites of which one, a cheat, has its messages of one kind rewritten before it signs them."""

    def __init__(self, party, cheat, kind, rewrite, drop=None):
        super().__init__(party.policy, party.sites, drop)
        self.party, self.cheat, self.kind, self.rewrite = party, cheat, kind, rewrite

    def _answers(self, asked):
        for site, message in asked.items():
            before = self._sites[site]
            for _, reply in super()._answers({site: message}):
                yield site, self._said(site, before, reply)

    def _said(self, site, before, reply):
        if site != self.cheat or reply[4] != self.kind:
            return reply
        after = self._sites[site]
        body, kind = self.rewrite(after, site_body(reply))
        spoken = before if isinstance(after, client.Done) else after
        link = (
            transcript.begin(self.party.policy)
            if isinstance(after, client.Joined)
            else spoken.transcript_hash
        )
        return signed_message(kind, self.party, site, body, link)


def signed_message(kind, party, site, body, link):
    """What a dishonest site says, under its own signature; of shares that is over the root of their tree."""
    signs = None
    if kind is MessageType.SHARES:
        with suppress(ProtocolError):
            signs = root(tree_of(party.policy, site, parse_shares(body, len(party.policy.roster))))
    return from_site(kind, party.policy, site, body, link, party.identities[site], root=signs)


def tree_of(policy, site, sharing):
    """The hash tree of what a site deals on the complete graph."""
    return sharing.tree(site, MaskGraph(len(policy.roster), policy.threshold), tree_depth(policy))


def dealing_badly(change):
    """A dealer that hands the victim something else."""

    def rewrite(state, body):
        sharing = parse_shares(body, len(state.context.policy.roster))
        dealt = {**sharing.dealt, VICTIM: change(state, sharing.dealt[VICTIM])}
        return pack_shares(
            replace(sharing, dealt=dealt), len(state.context.policy.roster)
        ), MessageType.SHARES

    return rewrite


def sealing_key(state):
    private = dealing.channel_private(state.channel_seed.peek(), VICTIM)
    secret = dealing.x25519(private, state.public_keys[VICTIM].channel_public[CULPRIT])
    return dealing.channel_key(secret, state.transcript_hash, CULPRIT, VICTIM)


def resealed(change):
    """Sealed and hashed anew, properly but for what ``change`` does to the pair of shares."""

    def bad(state, dealt):
        envelope = dealing.channel_context(state.transcript_hash, CULPRIT, VICTIM)
        pair = dealing.unpack_pair(dealing.unseal(sealing_key(state), dealt.sealed, envelope))
        return dealing.deal(state.transcript_hash, CULPRIT, VICTIM, sealing_key(state), change(*pair))

    return bad


def bound_to(dealer, holder, **of):
    """Sealed under the right key, but said to be from or for another site, or of another round."""

    def bad(state, dealt):
        link = of.get("link", state.transcript_hash)
        envelope = dealing.channel_context(state.transcript_hash, CULPRIT, VICTIM)
        plain = dealing.unseal(sealing_key(state), dealt.sealed, envelope)
        other = dealing.channel_context(link, dealer, holder)
        return replace(dealt, sealed=dealing.seal(sealing_key(state), plain, other))

    return bad


BAD_SHARES = {
    "random bytes": lambda state, dealt: HolderShares(dealt.hashes, bytes(len(dealt.sealed))),
    "another key": lambda state, dealt: dealing.deal(
        state.transcript_hash, CULPRIT, VICTIM, bytes(32), (1, 1)
    ),
    "another receiver": bound_to(CULPRIT, 2),
    "another sender": bound_to(2, VICTIM),
    "another round": bound_to(CULPRIT, VICTIM, link=bytes(32)),
    "outside the field": resealed(lambda key_share, _: (key_share, PRIME)),
    "another hash of the key share": lambda state, dealt: replace(
        dealt, hashes=replace(dealt.hashes, key=bytes(24))
    ),
    "another hash of the seed share": lambda state, dealt: replace(
        dealt, hashes=replace(dealt.hashes, seed=bytes(24))
    ),
    "hashes exchanged": lambda state, dealt: replace(
        dealt, hashes=ShareHashes(dealt.hashes.seed, dealt.hashes.key)
    ),
}


@pytest.mark.parametrize("how", BAD_SHARES)
def test_who_deals_a_bad_share_is_named_and_not_its_victim(how):
    party = federation(4)
    transport = Cheating(party, CULPRIT, MessageType.SHARES, dealing_badly(BAD_SHARES[how]))
    with pytest.raises(
        SabotageError, match=r"'site-1' dealt 'site-0' a bad pair of shares.*start another without site-1"
    ) as caught:
        run_round(party.policy, transport)
    assert caught.value.accused == ("site-1",)
    assert not transport.refusals


def test_a_dealer_whose_signature_on_its_shares_does_not_hold_is_left_out(monkeypatch):
    party = federation(4)
    cheating = Cheating(party, CULPRIT, MessageType.SHARES, lambda _, body: (body, MessageType.SHARES))
    monkeypatch.setattr(sys.modules[__name__], "root", lambda tree: bytes(32))
    finished = run_round(party.policy, cheating)
    assert finished.survivors == ("site-0", "site-2", "site-3")
    assert "signature of 'site-1' on its SHARES message" in finished.refused["site-1"]
    assert np.array_equal(finished.total, total([party.words[i] for i in (0, 2, 3)]))


def complaint_against(dealer, private):
    """A site that complains, instead of sending its vector."""

    def rewrite(_state, _body):
        return pack_complaint(Complaint(dealer, private)), MessageType.COMPLAINT

    return rewrite


@pytest.mark.parametrize("reveals", ["its own key", "another key"])
def test_who_complains_of_a_good_share_is_named_and_the_sum_of_the_others_is_exact(reveals):
    party = federation(4)
    party.run(client.SharesSent)
    true = dealing.channel_private(party.sites[VICTIM].channel_seed.peek(), CULPRIT)

    party = federation(4)  # the same keys once more
    private = true if reveals == "its own key" else bytes(32)
    finished = run_round(
        party.policy, Cheating(party, VICTIM, MessageType.MASKED, complaint_against(CULPRIT, private))
    )
    assert finished.accused == ("site-0",)
    assert finished.refused == {"site-0": "it complained of what 'site-1' dealt it, which is good"}
    assert finished.survivors == ("site-1", "site-2", "site-3")
    assert np.array_equal(finished.total, total(party.words[1:]))


def test_a_false_complaint_that_leaves_too_few_ends_the_round_by_name():
    party = federation(4)
    transport = Cheating(
        party, VICTIM, MessageType.MASKED, complaint_against(CULPRIT, bytes(32)), {3: DropoutStage.MASKED}
    )
    with pytest.raises(SabotageError, match="2 of 4 sites sent a masked vector; 3 are needed") as caught:
        run_round(party.policy, transport)
    assert caught.value.accused == ("site-0",)


@pytest.mark.parametrize("dealer", [VICTIM, 3, 5, 2**32 - 1])
def test_a_complaint_of_a_site_that_dealt_nothing_is_refused(dealer):
    party = federation(5, threshold=3, corrupt=0)
    transport = Cheating(
        party, VICTIM, MessageType.MASKED, complaint_against(dealer, bytes(32)), {3: DropoutStage.SHARES}
    )
    finished = run_round(party.policy, transport)
    assert "which dealt it nothing" in finished.refused["site-0"]
    assert finished.survivors == ("site-1", "site-2", "site-4")


def test_a_complaint_opens_one_pair_and_is_the_last_word_of_its_site():
    party = federation(4)
    state, outgoing = party.run(client.SharesSent)
    victim, culprit = party.sites[VICTIM], party.sites[CULPRIT]
    members, delivered = parse_delivery(server_body(outgoing[VICTIM]), VICTIM, 4, 2)
    bad = dealing_badly(BAD_SHARES["another round"])
    body, _ = bad(culprit, pack_shares(state.shared[CULPRIT], 4))
    said = signed_message(MessageType.SHARES, party, CULPRIT, body, culprit.transcript_hash)
    sharing = parse_shares(body, 4)
    tree = tree_of(party.policy, CULPRIT, sharing)
    delivered[CULPRIT] = deliver(sharing, tree, said[-64:], CULPRIT, VICTIM, culprit.graph)
    message = from_server(
        MessageType.DELIVERY, party.policy.round_id, pack_delivery(delivered, members, VICTIM, 4)
    )
    secrets = {
        name: getattr(victim, name)
        for name in ("encoded", "channel_seed", "channel_secrets", "mask_key", "self_mask_seed", "own_share")
    }
    public = victim.public_keys[VICTIM].channel_public
    after, reply = client.step(victim, message)

    assert reply[4] == MessageType.COMPLAINT
    complaint = parse_complaint(site_body(reply))
    assert complaint.dealer == CULPRIT
    assert [peer for peer in public if x25519_public(complaint.private) == public[peer]] == [CULPRIT]
    for secret in secrets.values():
        with pytest.raises(ProtocolError, match="a step is taken once"):
            secret.peek()
    for state in (victim, after):
        with pytest.raises(ProtocolError):
            client.step(state, message)


# -- false commitments
# ------------------------------------------------------------------------------------------------------------


def sharing_another(label):
    """A dealer whose shares are of another secret than it advertised, hashed and sealed as they should be."""

    def rewrite(state, body):
        site, parties = state.context, len(state.context.policy.roster)
        sharing = parse_shares(body, parties)
        false = make_shares(12345, site.policy.threshold, range(1, parties + 1), site.entropy)
        own = dealing.unpack_pair(state.own_share.peek())
        pairs = {}
        for holder in (*sharing.dealt, CULPRIT):
            true = (7, 7) if holder != CULPRIT else own  # the other kind is never asked for
            pairs[holder] = (
                (false[holder + 1], true[1]) if label == "mask key" else (true[0], false[holder + 1])
            )
        dealt = {}
        for holder in sharing.dealt:
            private = dealing.channel_private(state.channel_seed.peek(), holder)
            secret = dealing.x25519(private, state.public_keys[holder].channel_public[CULPRIT])
            key = dealing.channel_key(secret, state.transcript_hash, CULPRIT, holder)
            dealt[holder] = dealing.deal(state.transcript_hash, CULPRIT, holder, key, pairs[holder])
        hashes = ShareHashes.of_pair(state.transcript_hash, CULPRIT, CULPRIT, pairs[CULPRIT])
        return pack_shares(replace(sharing, own_hashes=hashes, dealt=dealt), parties), MessageType.SHARES

    return rewrite


@pytest.mark.parametrize(("label", "stage"), [("mask key", "masked"), ("self-mask seed", "unmask")])
def test_who_shares_another_secret_than_it_committed_to_is_named(label, stage):
    party = federation(4)
    transport = Cheating(
        party, CULPRIT, MessageType.SHARES, sharing_another(label), {CULPRIT: DropoutStage(stage)}
    )
    with pytest.raises(
        SabotageError, match=f"'site-1' dealt do not give the {label} that it committed to"
    ) as caught:
        run_round(party.policy, transport)
    assert caught.value.accused == ("site-1",)


@pytest.mark.parametrize("label", ["key_share", "seed_share"])
def test_a_share_off_the_polynomial_is_its_dealers_lie_though_another_reveals_it(label):
    party = federation(4)
    place = ("key_share", "seed_share").index(label)
    off = resealed(lambda *pair: tuple((one + (k == place)) % PRIME for k, one in enumerate(pair)))
    stage = DropoutStage.MASKED if label == "key_share" else DropoutStage.UNMASK
    transport = Cheating(party, CULPRIT, MessageType.SHARES, dealing_badly(off), {CULPRIT: stage})
    with pytest.raises(SabotageError, match="start another without site-1") as caught:
        run_round(party.policy, transport)
    assert caught.value.accused == ("site-1",)


# -- false shares revealed
# ------------------------------------------------------------------------------------------------------------


def reveal_badly(party, liar, change):
    """Play the round with a liar at the last step."""
    state, outgoing = party.run(client.Agreed)
    replies = party.deliver(outgoing)
    shares = change(parse_unmask(site_body(replies[liar]), tuple(range(len(party.policy.roster)))))
    replies[liar] = from_site(
        MessageType.UNMASK,
        party.policy,
        liar,
        pack_unmask(shares),
        state.transcript_hash,
        party.identities[liar],
    )
    return server.step(state, replies)[0]


def test_seventeen_sites_and_a_false_share_of_the_first_need_one_set_of_weights_and_no_search(monkeypatch):
    counts = {"lagrange_weights": 0, "combine": 0}

    def counted(name):
        function = getattr(unmasking, name)

        def wrapper(*args, **kwargs):
            counts[name] += 1
            return function(*args, **kwargs)

        return wrapper

    for name in counts:
        monkeypatch.setattr(unmasking, name, counted(name))
    party = federation(17)
    finished = reveal_badly(party, 0, lambda shares: {**shares, 5: (shares[5] + 1) % PRIME})
    assert np.array_equal(finished.total, total(party.words))
    assert finished.accused == ("site-0",)
    assert "it revealed shares that it was not dealt, of site-5" in finished.refused["site-0"]
    assert counts == {"lagrange_weights": 1, "combine": 17}


def test_as_many_liars_as_the_threshold_spares_are_all_named():
    party = federation(6, threshold=4, corrupt=0, minimum=4)
    state, outgoing = party.run(client.Agreed)
    replies = party.deliver(outgoing)
    for liar in (0, 3):
        shares = parse_unmask(site_body(replies[liar]), tuple(range(6)))
        shares[liar] ^= 1
        replies[liar] = from_site(
            MessageType.UNMASK,
            party.policy,
            liar,
            pack_unmask(shares),
            state.transcript_hash,
            party.identities[liar],
        )
    finished, _ = server.step(state, replies)
    assert finished.accused == ("site-0", "site-3")
    assert np.array_equal(finished.total, total(party.words))


def test_the_two_kinds_of_share_are_told_apart():
    """A site that gives the other kind of share than it was asked for is a liar too, and nothing is learned
    from it.
    """
    party = federation(4)
    party.run(client.Masked)
    held = party.sites[2].held_shares.peek()
    key_shares = {i: int.from_bytes(held[66 * i : 66 * i + 33], "big") for i in range(4)}

    party = federation(4)
    finished = reveal_badly(party, 2, lambda shares: {**shares, 1: key_shares[1]})
    assert finished.accused == ("site-2",)
    assert np.array_equal(finished.total, total(party.words))


def test_the_two_secrets_are_shared_by_two_polynomials():
    party = federation(5)
    party.run(client.Masked)
    pairs = {}
    for holder in range(5):
        held = party.sites[holder].held_shares.peek()
        pairs[holder + 1] = [int.from_bytes(held[33 * k : 33 * k + 33], "big") for k in range(2)]
    key, seed = ({x: pair[kind] for x, pair in pairs.items()} for kind in range(2))
    gaps = {(key[x] - seed[x]) % PRIME for x in pairs}
    assert len(gaps) == 5  # one polynomial would put the two secrets equally far apart at every site
    t = party.policy.threshold
    for shares in (key, seed):
        subset = dict(list(shares.items())[: t - 1])
        assert interpolate(subset) != interpolate(
            shares
        )  # and neither has fewer coefficients than the threshold


class Together(InProcessTransport):
    """Several cheats on one wire: by site, the kind of message that it rewrites, and how."""

    def __init__(self, party, cheats, drop=None):
        super().__init__(party.policy, party.sites, drop)
        self.party, self.cheats = party, cheats

    def _answers(self, asked):
        for site, message in asked.items():
            kind, rewrite = self.cheats.get(site, (None, None))
            one = Cheating(self.party, site, kind, rewrite)
            one._sites = self._sites
            yield from one._answers({site: message})
            self.refusals |= one.refusals


def test_a_false_complaint_beside_a_bad_share_is_named_as_well():
    party = federation(5)
    cheats = {
        CULPRIT: (MessageType.SHARES, dealing_badly(BAD_SHARES["another round"])),
        4: (MessageType.MASKED, complaint_against(2, bytes(32))),
    }
    with pytest.raises(
        SabotageError, match=r"start another without site-1, site-4; site-4: it complained of what 'site-2'"
    ) as caught:
        run_round(party.policy, Together(party, cheats))
    assert caught.value.accused == ("site-1", "site-4")


def one_share_off(dealer):
    """A dealer whose share for site 0 lies off its polynomial, hashed and signed as it should be."""

    def rewrite(state, body):
        parties = len(state.context.policy.roster)
        sharing = parse_shares(body, parties)
        private = dealing.channel_private(state.channel_seed.peek(), VICTIM)
        secret = dealing.x25519(private, state.public_keys[VICTIM].channel_public[dealer])
        key = dealing.channel_key(secret, state.transcript_hash, dealer, VICTIM)
        dealt = dealing.deal(state.transcript_hash, dealer, VICTIM, key, (1, 1))
        return pack_shares(
            replace(sharing, dealt={**sharing.dealt, VICTIM: dealt}), parties
        ), MessageType.SHARES

    return rewrite


def test_all_who_shared_falsely_and_who_lied_before_are_named_at_once():
    party = federation(6, threshold=4, corrupt=0, minimum=4)
    cheats = {
        CULPRIT: (MessageType.SHARES, one_share_off(CULPRIT)),
        2: (MessageType.SHARES, one_share_off(2)),
    }
    cheats[5] = MessageType.MASKED, complaint_against(3, bytes(32))
    with pytest.raises(SabotageError, match="start another without site-1, site-2, site-5") as caught:
        run_round(party.policy, Together(party, cheats))
    assert caught.value.accused == ("site-1", "site-2", "site-5")


@pytest.mark.parametrize("largest", [None, 0])
def test_who_lied_is_named_also_if_the_sum_turns_out_impossible(largest, monkeypatch):
    """The sum is refused by its clip, or by the public weights; a false complaint before it stays proven."""
    party = federation(5)
    true = client_masked._open_pair

    def opened(state, dealer, secret, dealt):
        if state.context.identity.name == "site-4":
            raise ProtocolError("a false complaint")
        return true(state, dealer, secret, dealt)

    monkeypatch.setattr(client_masked, "_open_pair", opened)
    words = {f"site-{i}": party.words[i].copy() for i in range(5)}
    if largest is None:
        words["site-2"][0] = 2**30
    bounds = None if largest is None else dict.fromkeys(words, largest)
    identities = {one.name: one for one in party.identities}
    journals = {name: MemoryJournal() for name in words}
    with pytest.raises(RoundAbandonedError, match="a site lied about its vector") as caught:
        simulate_round(party.policy, identities, words, {}, journals=journals, largest=bounds)
    assert caught.value.accused == ("site-4",)


# -- whatever a dishonest site signs
# ---------------------------------------------------------------------------------------------------


def mutated(rng):
    """One change of a body: a bit, a block of random bytes, two blocks exchanged, or another length."""

    def change(body):
        data, how = bytearray(body), rng.randrange(4)
        at = rng.randrange(len(data)) if data else 0
        if how == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            data[at : at + 32] = rng.randbytes(len(data[at : at + 32]))
        elif how == 2:
            data[at : at + 32], data[:32] = data[:32], data[at : at + 32]
        else:
            data = data[:at] if rng.randrange(2) else data + rng.randbytes(1)
        return bytes(data)

    return change


@pytest.mark.parametrize(
    "seeds", [range(4), pytest.param(range(4, 12), marks=pytest.mark.exhaustive)], ids=["first", "more"]
)
@pytest.mark.parametrize("kind", [kind for kind in MessageType if kind % 2])
def test_whatever_one_site_signs_the_sum_is_exact_or_it_is_named_and_nobody_else(kind, seeds):
    complaint = pack_complaint(Complaint(CULPRIT, bytes(32)))
    own_vector = kind is MessageType.MASKED  # nobody but the site itself knows it
    for seed in seeds:
        party, change = federation(5, seed=seed), mutated(random.Random(1000 * int(kind) + seed))
        as_complaint = kind is MessageType.COMPLAINT
        told = MessageType.MASKED if as_complaint else kind
        transport = Cheating(
            party, 0, told, lambda _, body, c=change, x=as_complaint: (c(complaint if x else body), kind)
        )
        finished, accused = None, set()
        try:
            finished = run_round(party.policy, transport)
            accused = {*finished.accused, *finished.refused}
        except SabotageError as error:
            accused = {*error.accused}
        except ProtocolError as error:
            assert own_vector, error  # noqa: PT017
        assert accused <= {"site-0"}
        assert set(transport.refusals) <= {"site-0"}
        if finished is not None:
            sound = [int(name[-1]) for name in finished.survivors]
            assert {1, 2, 3, 4} <= set(sound)
            assert np.array_equal(finished.total, total([party.words[i] for i in sound])) or (
                own_vector and 0 in sound
            )


def test_a_false_share_of_a_silent_sites_mask_key_is_its_holders_lie():
    """Three true answers are left of the four that are needed; the one who lied is named, not the dealer who
    fell silent.
    """
    party = federation(5, threshold=4, corrupt=1)
    state, outgoing = party.run(until=client.SharesSent)
    masked = party.deliver(outgoing)
    del masked[4]
    state, outgoing = server.step(state, masked)
    state, outgoing = server.step(state, party.deliver(outgoing))
    answers = party.deliver(outgoing)
    shares = parse_unmask(site_body(answers[0]), state.sharers)
    false = pack_unmask({**shares, 4: shares[4] ^ 1})
    answers[0] = from_site(
        MessageType.UNMASK, party.policy, 0, false, state.transcript_hash, party.identities[0]
    )
    with pytest.raises(SabotageError) as caught:
        server.step(state, answers)
    assert caught.value.accused == ("site-0",)


@pytest.mark.parametrize(
    "change",
    [
        lambda pair: replace(pair, hashes=replace(pair.hashes, key=bytes(24))),
        lambda pair: replace(pair, hashes=replace(pair.hashes, seed=bytes(24))),
        lambda pair: replace(pair, sealed=bytes(len(pair.sealed))),
    ],
    ids=["key", "seed", "sealed"],
)
def test_a_dealer_signs_both_hashes_and_the_sealed_pair(change):
    party = federation(4)
    state, outgoing = server.open_round(party.policy)
    state, outgoing = server.step(state, party.deliver(outgoing))
    reply = party.deliver(outgoing)[0]
    sharing = parse_shares(site_body(reply), 4)
    tree = tree_of(party.policy, 0, sharing)
    check_signature(MessageType.SHARES, party.policy, 0, root(tree), state.transcript_hash, reply[-64:])
    given = deliver(sharing, tree, reply[-64:], 0, 1, state.graph)
    assert given.root(0, 1, state.graph) == root(tree)
    assert replace(given, dealt=change(given.dealt)).root(0, 1, state.graph) != root(tree)
    assert given.root(0, 2, state.graph) != root(tree)
    for part in ("commitment", "own_hashes"):
        other = replace(sharing, **{part: bytes(32) if part == "commitment" else sharing.dealt[1].hashes})
        assert root(tree_of(party.policy, 0, other)) != root(tree)


def test_a_complaint_leaves_nothing_secret_in_the_state_that_it_came_from(monkeypatch):
    def bad(*_):
        raise ProtocolError("bad")

    party = federation(4)
    _, outgoing = party.run(until=client.SharesSent)
    before = party.sites[0]
    monkeypatch.setattr(client_masked, "_open_pair", bad)
    after, _ = client.step(before, outgoing[0])
    assert isinstance(after, client.Done)
    for secret in (
        before.encoded,
        before.channel_seed,
        before.channel_secrets,
        before.mask_key,
        before.self_mask_seed,
        before.own_share,
    ):
        with pytest.raises(ProtocolError):
            secret.peek()


def test_the_attack_from_the_servers_place_reads_a_round_with_a_complaint():
    party = federation(4)
    transport = Cheating(party, VICTIM, MessageType.MASKED, complaint_against(CULPRIT, bytes(32)))
    run_round(party.policy, transport)
    assert set(transport.view.masked_vectors) == {"site-1", "site-2", "site-3"}
    assert attack_masks(transport.view, "site-1").agreement(party.words[1]) == 0


def test_who_trains_or_sums_is_told_the_name(monkeypatch):
    """Through the entry point that users call: the error carries the name, and tells no victim's."""
    true = dealing.deal

    def bad(link, dealer, holder, key, pair):
        cheats = (dealer, holder) == (2, 0)
        return true(link, dealer, holder, bytes(32) if cheats else key, pair)

    given = {f"site-{i}": np.zeros(3) for i in range(4)}
    assert secure_sum(given).accused == ()
    monkeypatch.setattr(dealing, "deal", bad)
    with pytest.raises(RoundAbandonedError, match="'site-2' dealt 'site-0' a bad pair of shares") as caught:
        secure_sum(given)
    assert caught.value.accused == ("site-2",)
    assert not caught.value.left
