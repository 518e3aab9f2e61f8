"""The bytes of a round worked out again from its secrets and its messages, by a second hand: hashlib, hmac
and the raw primitives.
"""

import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from quintain.federated.secagg import client, server
from tests.federated.rounds import federation

HEADER, SIGNATURE, KEY = 25, 64, 32
N = 4


def digest(label, *parts):
    """SHA-256 of a label and parts, each with its length in front in 8 bytes."""
    whole = b""
    for part in (b"quintain secure aggregation 2: " + label, *parts):
        whole += len(part).to_bytes(8, "big") + part
    return hashlib.sha256(whole).digest()


def hkdf(secret, info):
    """RFC 5869 with SHA-256, no salt, one block."""
    extracted = hmac.new(bytes(32), bytes(secret), hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\1", hashlib.sha256).digest()


def shared(private, public):
    return X25519PrivateKey.from_private_bytes(bytes(private)).exchange(
        X25519PublicKey.from_public_bytes(public)
    )


def stream(key, length):
    return np.frombuffer(Cipher(AES(key), CTR(bytes(16))).encryptor().update(bytes(4 * length)), "<u4")


def number(site):
    return site.to_bytes(4, "big")


@pytest.fixture(params=[bytes(16), b"r" * 16])
def recorded(request):
    """Each site's secrets, and the messages up to the masked vectors."""
    party = federation(N, length=5, round_id=request.param)
    state, offers = server.open_round(party.policy)
    keys = party.deliver(offers)
    state, lists = server.step(state, keys)
    channels = {i: bytes(party.sites[i].channel_seed.peek()) for i in range(N)}
    shares = party.deliver(lists)
    secrets = {
        i: (bytes(party.sites[i].mask_key.peek()), bytes(party.sites[i].self_mask_seed.peek()))
        for i in range(N)
    }
    state, deliveries = server.step(state, shares)
    masked = party.deliver(deliveries)
    link = digest(b"keys", party.policy.digest(), lists[0][HEADER:])
    return party, channels, secrets, shares, masked, link


def test_the_masked_vector_is_the_sum_that_the_documentation_writes(recorded):
    party, _, secrets, _, masked, link = recorded
    link = digest(b"shares", link, bytes([0b1111]))
    public = {
        i: X25519PrivateKey.from_private_bytes(mask).public_key().public_bytes_raw()
        for i, (mask, _) in secrets.items()
    }
    for i, (mask, seed) in secrets.items():
        expected = party.words[i] + stream(hkdf(seed, digest(b"self mask", link, number(i))), 5)
        for v in set(range(N)) - {i}:
            pair = stream(
                hkdf(
                    shared(mask, public[v]), digest(b"pair mask", link, number(min(i, v)), number(max(i, v)))
                ),
                5,
            )
            expected = expected + pair if v > i else expected - pair
        assert np.array_equal(np.frombuffer(masked[i][HEADER:-SIGNATURE], "<u4"), expected)


def test_every_share_is_sealed_hashed_and_committed_to_under_the_list_of_keys(recorded):
    _, channels, secrets, shares, _, link = recorded
    size = 2 * 24 + 2 * 33 + 16
    private = {
        (i, j): hkdf(channels[i], digest(b"channel key", number(j)))
        for i in range(N)
        for j in range(N)
        if i != j
    }
    public = {
        pair: X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()
        for pair, key in private.items()
    }
    for i in range(N):
        body = shares[i][HEADER:-SIGNATURE]
        assert body[:32] == digest(b"seed", link, number(i), secrets[i][1])
        entries = body[32 + 2 * 24 + 1 :]
        assert len(entries) == (N - 1) * size
        for place, j in enumerate(k for k in range(N) if k != i):
            entry = entries[place * size : (place + 1) * size]
            binding = digest(b"channel", link, number(i), number(j))
            plain = AESGCM(hkdf(shared(private[i, j], public[j, i]), binding)).decrypt(
                bytes(12), entry[48:], binding
            )
            assert len(plain) == 66
            assert entry[:24] == digest(b"key share", link, number(i), number(j), plain[:33])[:24]
            assert entry[24:48] == digest(b"seed share", link, number(i), number(j), plain[33:])[:24]


def root(dealer, body):
    """The root of the hash tree over what a site deals: four leaves, in the order of their holders."""
    own, entries = body[: 32 + 2 * 24], body[32 + 2 * 24 + 1 :]
    size = len(entries) // (N - 1)
    parts = [entries[size * k : size * (k + 1)] for k in range(N - 1)]
    parts.insert(dealer, own)
    leaves = [digest(b"dealt", number(holder), part) for holder, part in enumerate(parts)]
    pairs = [digest(b"dealt node", *leaves[k : k + 2]) for k in (0, 2)]
    return digest(b"dealt node", *pairs)


def test_every_signature_of_a_site_is_over_the_chain_of_all_lists_before_it():
    party = federation(N, threshold=3, length=5)
    state, outgoing = server.open_round(party.policy)
    links = [party.policy.digest()]
    for kind, until in zip(
        (1, 3, 5, 7, 9),
        (client.Joined, client.SharesSent, client.Masked, client.Agreed, client.Done),
        strict=True,
    ):
        replies = party.deliver(outgoing)
        for i, reply in replies.items():
            body = reply[HEADER:-SIGNATURE]
            head = b"QSA3" + bytes([kind]) + party.policy.round_id + number(i)
            signed = digest(b"message", links[-1], head, root(i, body) if kind == 3 else body)
            Ed25519PublicKey.from_public_bytes(party.policy.roster.keys[i]).verify(reply[-SIGNATURE:], signed)
            assert isinstance(party.sites[i], until)
        if kind == 9:
            break
        state, outgoing = server.step(state, replies)
        if kind != 7:
            said = outgoing[0][HEADER:] if kind == 1 else bytes([0b1111])
            links.append(digest({1: b"keys", 3: b"shares", 5: b"survivors"}[kind], links[-1], said))
    assert len(set(links)) == 4
