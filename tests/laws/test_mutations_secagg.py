"""Secure aggregation broken on purpose: each patch to shipped code sets off the alarm it names; the clean run
beside it is quiet.
"""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp

from quintain.core.errors import MechanismError, ProtocolError, SettingError
from quintain.federated import InProcessTransport, attack_masks, require_hidden, run_round, secure_sum
from quintain.federated.secagg import client, client_keys, client_unmask, masks, policy, server
from quintain.federated.secagg.encoding import WORD_DTYPE, Encoding
from quintain.federated.secagg.journal import MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.message_bodies import pack_set, pack_signatures, parse_unmask
from quintain.federated.secagg.messages import MessageType, from_server, site_body
from quintain.federated.secagg.secret import Secret
from quintain.federated.secagg.shamir import interpolate

NAMES = tuple(f"site-{i}" for i in range(4))
IDENTITIES = {name: Identity.create(name, random.Random(name).randbytes) for name in NAMES}


def vectors(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, 40) for name in NAMES}


def attacked(drop, *, earlier=(), seed=0):
    """A round through the public entry point, and the server's attack on every vector that it saw."""
    given = vectors(seed)
    result = secure_sum(given, dropouts=drop, identities=IDENTITIES)
    assert result.exact
    truth = {name: result.encoding.quantize(vector) for name, vector in given.items()}
    require_hidden(result.server_view, truth, earlier_views=earlier)
    return result


def test_without_the_self_mask_a_late_vector_is_laid_open(monkeypatch):
    attacked({"site-1": "late"})
    monkeypatch.setattr(masks, "self_streams", lambda *args, **kwargs: [])
    with pytest.raises(MechanismError, match="vector of 'site-1': 40 of 40 words come out right"):
        attacked({"site-1": "late"})
    attacked(
        {}
    )  # the sum of those in time is still exact and still hides them: only the attack on the late one tells


def test_mask_keys_that_serve_twice_lay_the_next_round_open(monkeypatch):
    earlier = attacked({"site-1": "masked"}).server_view
    attacked({}, earlier=[earlier])

    stored = itertools.cycle([random.Random(k).randbytes(32) for k in range(2 * len(NAMES))])
    monkeypatch.setattr(client_keys, "new_private_key", lambda entropy: Secret(next(stored)))
    earlier = attacked({"site-1": "masked"}).server_view
    with pytest.raises(MechanismError, match="vector of 'site-1': 40 of 40 words come out right"):
        attacked({}, earlier=[earlier], seed=1)


def test_a_mask_stream_that_serves_two_rounds_shows_the_change_between_them(monkeypatch):
    def change():
        rounds = [secure_sum(vectors(seed), identities=IDENTITIES) for seed in (0, 1)]
        after, before = (one.server_view.masked_vectors["site-1"] for one in reversed(rounds))
        true = rounds[0].encoding.quantize(vectors(1)["site-1"]) - rounds[0].encoding.quantize(
            vectors(0)["site-1"]
        )
        assert all(one.exact for one in rounds)
        return np.mean((after - before) == true)

    assert change() == 0
    monkeypatch.setattr(
        masks, "pair_key", lambda _private, _public, _link, site, peer: bytes([site + peer]) * 32
    )
    monkeypatch.setattr(masks, "self_key", lambda _seed, _link, site: bytes([100 + site]) * 32)
    assert change() == 1


def test_without_masks_two_vectors_with_one_total_are_told_apart(monkeypatch):
    def p_value():
        seen = []
        for candidate in (0.4, -0.4):
            given = {"a": np.full(500, candidate), "b": np.full(500, 0.5 - candidate), "c": np.zeros(500)}
            view = secure_sum(given).server_view
            seen.append(np.concatenate([words.view(np.uint8) for words in view.masked_vectors.values()]))
        return ks_2samp(*seen).pvalue

    assert p_value() > 1e-6
    monkeypatch.setattr(masks, "add_stream", lambda *args, **kwargs: None)
    assert p_value() < 1e-9


# -- a server that lies: the machines by hand
# -------------------------------------------------------------------------------------------


def federation(threshold=3, corrupt=0, models=(bytes(32),) * 4):
    encoding = Encoding(20, 1.0, 1000, 4)
    terms = policy.Policy(
        Roster.from_identities(*IDENTITIES.values()),
        bytes(16),
        threshold,
        threshold,
        encoding,
        bytes(32),
        corrupt,
    )
    words = [encoding.quantize(vector[:20]) for vector in vectors().values()]
    sites = {
        i: client.start_round(
            replace(terms, model_hash=models[i]), IDENTITIES[name], words[i], MemoryJournal()
        )
        for i, name in enumerate(NAMES)
    }
    return terms, words, sites


def deliver(sites, outgoing):
    replies = {}
    for i, message in outgoing.items():
        sites[i], replies[i] = client.step(sites[i], message)
    return replies


def two_stories(threshold, corrupt=0):
    """Half of the sites hear that site 3 survived, half that it did not; the shares that come back, and what
    lets one read them.
    """
    terms, words, sites = federation(threshold, corrupt)
    state, outgoing = server.open_round(terms)
    for _ in range(2):
        state, outgoing = server.step(state, deliver(sites, outgoing))
    masked = deliver(sites, outgoing)
    stories = (
        {0: (0, 1, 3), 3: (0, 1, 3), 1: (0, 1, 2), 2: (0, 1, 2)}
        if threshold == 3
        else {0: (0, 3), 3: (0, 3), 1: (1, 2), 2: (1, 2)}
    )
    signed, told = {}, {}
    for i, story in stories.items():
        reply = deliver(sites, {i: from_server(MessageType.SURVIVORS, terms.round_id, pack_set(story, 4))})[i]
        signed.setdefault(story, {})[i] = reply[-64:]
    for i, story in stories.items():
        answer = deliver(
            sites, {i: from_server(MessageType.SIGNATURES, terms.round_id, pack_signatures(signed[story], 4))}
        )[i]
        told.setdefault(3 in story, {})[i + 1] = parse_unmask(site_body(answer), (0, 1, 2, 3))[3]
    return state, words[3], np.frombuffer(site_body(masked[3]), WORD_DTYPE).copy(), told


def test_without_the_threshold_rule_two_stories_lay_a_site_open(monkeypatch):
    with pytest.raises(SettingError, match="keeps two survivor lists from both winning"):
        two_stories(2)
    with pytest.raises(ProtocolError, match="2 signatures on the survivors"):
        two_stories(3)

    monkeypatch.setattr(policy, "check_threshold", lambda *args: None)
    state, truth, vector, told = two_stories(2)
    seed, private = (interpolate(told[survived]).to_bytes(32, "big") for survived in (True, False))
    masks.add_self_mask(vector, seed, state.transcript_hash, 3, remove=True)
    masks.add_streams(
        vector,
        [
            masks.pair_stream(
                private, state.keys[peer].mask_public, state.transcript_hash, 3, peer, remove=True
            )
            for peer in range(3)
        ],
    )
    assert np.array_equal(vector, truth)


def test_without_the_check_of_consent_both_stories_are_answered(monkeypatch):
    with pytest.raises(ProtocolError, match="signatures on the survivors"):
        two_stories(3)
    monkeypatch.setattr(client_unmask, "_check_signatures", lambda *args: None)
    *_, told = two_stories(3)
    assert set(told) == {True, False}


def test_without_single_use_a_site_gives_both_kinds_of_share(monkeypatch):
    def ask_twice():
        terms, _, sites = federation()
        state, outgoing = server.open_round(terms)
        for _ in range(3):
            state, outgoing = server.step(state, deliver(sites, outgoing))
        start, kinds = dict(sites), []
        for story in ((0, 1, 2, 3), (0, 1, 2)):
            sites = dict(start)
            message = from_server(MessageType.SURVIVORS, terms.round_id, pack_set(story, 4))
            replies = deliver(sites, dict.fromkeys(story, message))
            consent = from_server(
                MessageType.SIGNATURES,
                terms.round_id,
                pack_signatures({i: reply[-64:] for i, reply in replies.items()}, 4),
            )
            kinds.append(parse_unmask(site_body(deliver(sites, {0: consent})[0]), (0, 1, 2, 3))[3])
        return kinds

    with pytest.raises(ProtocolError, match="other survivors over this very model"):
        ask_twice()
    monkeypatch.setattr(MemoryJournal, "check_cohort", lambda *args: None)
    with pytest.raises(ProtocolError, match="a step is taken once"):
        ask_twice()
    monkeypatch.setattr(Secret, "move", lambda self: self)
    monkeypatch.setattr(Secret, "take", lambda self: bytearray(self.peek()))
    with pytest.raises(ProtocolError, match="answered once"):
        ask_twice()
    monkeypatch.setattr(MemoryJournal, "claim_answer", lambda *args: None)
    first, second = ask_twice()
    assert first != second


def test_without_the_transcript_sites_with_different_models_are_added_up(monkeypatch):
    def round_of_two_models():
        terms, _, sites = federation(models=(bytes(32), bytes(32), bytes(32), b"\1" * 32))
        return run_round(terms, InProcessTransport(terms, sites)).survivors

    assert round_of_two_models() == NAMES[:3]
    monkeypatch.setattr(client_keys, "check_offer", lambda *args: None)
    assert (
        round_of_two_models() == NAMES[:3]
    )  # the offer is a courtesy: the signatures alone keep the odd one out
    monkeypatch.setattr(policy.Policy, "digest", lambda self: bytes(32))
    assert round_of_two_models() == NAMES


def test_a_lowered_threshold_is_refused_by_the_offer_and_by_the_transcript(monkeypatch):
    def lowered():
        _, _, sites = federation(threshold=4)
        terms, _, _ = federation(threshold=3)
        return run_round(terms, InProcessTransport(terms, sites)).survivors

    with pytest.raises(ProtocolError, match="0 of 4 sites sent keys"):
        lowered()
    monkeypatch.setattr(client_keys, "check_offer", lambda *args: None)
    with pytest.raises(ProtocolError, match="signature of 'site-0'"):
        lowered()
    monkeypatch.setattr(policy.Policy, "digest", lambda self: bytes(32))
    with pytest.raises(ProtocolError, match="0 of 4 sites unmasked"):
        lowered()  # with neither, the sites still ask for four signatures on the survivors
    monkeypatch.setattr(client_unmask, "_check_signatures", lambda *args: None)
    with pytest.raises(ProtocolError, match="do not give the self-mask seed that it committed to"):
        lowered()  # and without that, their own polynomials still ask for four shares


def test_the_attack_itself_can_win_and_lose(monkeypatch):
    """Its two answers on one round shape: what stays unknown decides."""
    given = vectors()
    clean = secure_sum(given, dropouts={"site-1": "late"})
    assert attack_masks(clean.server_view, "site-1").agreement(clean.encoding.quantize(given["site-1"])) == 0
    monkeypatch.setattr(masks, "self_streams", lambda *args, **kwargs: [])
    broken = secure_sum(given, dropouts={"site-1": "late"})
    assert (
        attack_masks(broken.server_view, "site-1").agreement(broken.encoding.quantize(given["site-1"])) == 1
    )
