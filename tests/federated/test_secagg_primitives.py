"""The published vectors, at the very functions that the protocol calls."""

import numpy as np
import pytest

from quintain.core.errors import ProtocolError
from quintain.federated.secagg import masks
from quintain.federated.secagg.encoding import WORD_DTYPE
from quintain.federated.secagg.primitives import (
    FIELD_PRIME,
    derive_key,
    ed25519_public,
    is_on_curve,
    is_small_order,
    keystream,
    seal,
    sign,
    tagged_hash,
    unseal,
    verify,
    x25519,
    x25519_public,
)

h = bytes.fromhex

X25519_SMALL = [
    h("00" * 32),
    h("01" + "00" * 31),
    h("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    h("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    *((FIELD_PRIME + k).to_bytes(32, "little") for k in (-1, 0, 1)),
]


def test_x25519_rfc7748_section_5_2():
    assert x25519(
        h("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
        h("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
    ) == h("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")
    assert x25519(
        h("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d"),
        h("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493"),
    ) == h("95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957")


def test_x25519_rfc7748_section_5_2_thousand_iterations():
    k = u = h("09" + "00" * 31)
    for _ in range(1000):
        k, u = x25519(k, u), k
    assert k == h("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51")


def test_x25519_rfc7748_section_6_1():
    alice, bob = (
        h("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"),
        h("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"),
    )
    assert x25519_public(alice) == h("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    assert x25519_public(bob) == h("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    shared = h("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    assert x25519(alice, x25519_public(bob)) == x25519(bob, x25519_public(alice)) == shared


@pytest.mark.parametrize(
    ("private", "public", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ],
)
def test_ed25519_rfc8032_section_7_1(private, public, message, signature):
    assert ed25519_public(h(private)) == h(public)
    assert sign(h(private), h(message)) == h(signature)
    assert verify(h(public), h(message), h(signature))
    assert not verify(h(public), h(message) + b"x", h(signature))


def test_hkdf_rfc5869_appendix_a():
    assert derive_key(
        h("0b" * 22), h("f0f1f2f3f4f5f6f7f8f9"), salt=h("000102030405060708090a0b0c"), length=42
    ) == h("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    assert derive_key(
        bytes(range(0x50)), bytes(range(0xB0, 0x100)), salt=bytes(range(0x60, 0xB0)), length=82
    ) == h(
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
        "cc30c58179ec3e87c14c01d5c1f3434f1d87"
    )
    assert derive_key(h("0b" * 22), b"", length=42) == h(
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


def test_aes_256_ctr_sp800_38a_f_5_5():
    key = h("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    plain = h(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    cipher = h(
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c52b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
    )
    assert keystream(key, bytes(range(0xF0, 0x100))).update(plain) == cipher


def test_a_mask_is_the_stream_from_counter_zero_as_little_endian_words_over_any_chunking():
    key, length = bytes(range(32)), 2 * masks.CHUNK_WORDS + 5
    words = np.arange(length, dtype=WORD_DTYPE)
    masks.add_stream(words, key)
    stream = np.frombuffer(keystream(key).update(bytes(4 * length)), "<u4")
    assert np.array_equal(words, np.arange(length, dtype=WORD_DTYPE) + stream)
    masks.add_stream(words, key, subtract=True)
    assert np.array_equal(words, np.arange(length, dtype=WORD_DTYPE))


@pytest.mark.parametrize("length", [1, masks.CACHED_WORDS, masks.CACHED_WORDS + 1, 5 * masks.CHUNK_WORDS + 7])
def test_several_masks_at_once_are_those_one_after_the_other(length):
    streams = [(bytes([k]) * 32, k % 3 == 0) for k in range(5)]
    at_once, one_by_one = np.zeros(length, WORD_DTYPE), np.zeros(length, WORD_DTYPE)
    masks.add_streams(at_once, streams)
    for key, subtract in streams:
        masks.add_stream(one_by_one, key, subtract=subtract)
    assert np.array_equal(at_once, one_by_one)


def test_the_masks_of_a_site_are_those_with_each_peer_and_come_off_the_sum_of_the_peers():
    privates = {site: bytes([site + 1]) * 32 for site in range(4)}
    publics = {site: x25519_public(private) for site, private in privates.items()}
    peers = {site: publics[site] for site in (0, 1, 3)}
    at_once, one_by_one, total = (np.zeros(7, WORD_DTYPE) for _ in range(3))
    masks.add_pair_masks(at_once, privates[2], peers, bytes(32), 2)
    for peer, public in peers.items():
        masks.add_streams(one_by_one, [masks.pair_stream(privates[2], public, bytes(32), 2, peer)])
        masks.add_streams(total, [masks.pair_stream(privates[peer], publics[2], bytes(32), peer, 2)])
    assert np.array_equal(at_once, one_by_one)
    masks.add_pair_masks(total, privates[2], peers, bytes(32), 2)
    assert not total.any()


@pytest.mark.parametrize("public", X25519_SMALL)
def test_small_order_exchange_keys_are_refused(public):
    assert is_small_order(public, signing=False)
    for spelled in (public, public[:31] + bytes([public[31] | 0x80])):
        with pytest.raises(ProtocolError, match="small order"):
            x25519(bytes(range(32)), spelled)


def edwards_double(x, y):
    d = -121665 * pow(121666, -1, FIELD_PRIME)
    t = d * x * x * y * y % FIELD_PRIME
    return 2 * x * y * pow(1 + t, -1, FIELD_PRIME) % FIELD_PRIME, (y * y + x * x) * pow(
        1 - t, -1, FIELD_PRIME
    ) % FIELD_PRIME


def root(square):
    x = pow(square, (FIELD_PRIME + 3) // 8, FIELD_PRIME)
    return (
        x
        if (x * x - square) % FIELD_PRIME == 0
        else x * pow(2, (FIELD_PRIME - 1) // 4, FIELD_PRIME) % FIELD_PRIME
    )


@pytest.mark.parametrize(
    "public",
    [
        h("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        h("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        *(k.to_bytes(32, "little") for k in (0, 1, FIELD_PRIME - 1, FIELD_PRIME, FIELD_PRIME + 1)),
    ],
)
def test_small_order_signing_keys_vanish_under_the_cofactor_and_are_refused(public):
    y = int.from_bytes(public, "little") % FIELD_PRIME
    d = -121665 * pow(121666, -1, FIELD_PRIME)
    x = root((y * y - 1) * pow(d * y * y + 1, -1, FIELD_PRIME) % FIELD_PRIME)
    assert (-x * x + y * y - 1 - d * x * x * y * y) % FIELD_PRIME == 0
    assert edwards_double(*edwards_double(*edwards_double(x, y))) == (0, 1)
    for spelled in (public, public[:31] + bytes([public[31] | 0x80])):
        assert is_small_order(spelled, signing=True)
    forged = h("01" + "00" * 31) + bytes(32)
    assert not verify(public, b"anything", forged)


def has_root(square):
    return (root(square) ** 2 - square) % FIELD_PRIME == 0


def test_public_keys_lie_on_their_curve_and_half_of_all_other_numbers_do_not():
    d = -121665 * pow(121666, -1, FIELD_PRIME)
    lying = {True: 0, False: 0}
    for k in range(2, 200):
        assert is_on_curve(x25519_public(bytes([k]) * 32), signing=False)
        assert is_on_curve(ed25519_public(bytes([k]) * 32), signing=True)
        on_edwards = has_root((k * k - 1) * pow(d * k * k + 1, -1, FIELD_PRIME) % FIELD_PRIME)
        on_montgomery = has_root((k**3 + 486662 * k * k + k) % FIELD_PRIME)
        for signing, expected in ((True, on_edwards), (False, on_montgomery)):
            assert is_on_curve(k.to_bytes(32, "little"), signing=signing) == expected
            lying[signing] += expected
    assert all(60 < count < 140 for count in lying.values())
    assert is_on_curve((9).to_bytes(32, "little"), signing=False)  # RFC 7748's base point
    assert not is_on_curve((FIELD_PRIME + 9).to_bytes(32, "little"), signing=False)


def test_ordinary_keys_are_not_of_small_order():
    for k in range(1, 20):
        assert not is_small_order(x25519_public(bytes([k]) * 32), signing=False)
        assert not is_small_order(ed25519_public(bytes([k]) * 32), signing=True)


def test_a_seal_opens_only_under_its_key_and_envelope():
    key, sealed = bytes(32), seal(bytes(32), b"share", b"envelope")
    assert unseal(key, sealed, b"envelope") == b"share"
    for args in (
        (bytes([1]) * 32, sealed, b"envelope"),
        (key, sealed, b"other"),
        (key, sealed[:-1] + b"\0", b"envelope"),
        (key, b"", b"envelope"),
    ):
        with pytest.raises(ProtocolError, match="does not open"):
            unseal(*args)


def test_a_binding_keeps_the_borders_of_its_parts():
    spelled = [
        tagged_hash("a", b"bc"),
        tagged_hash("a", b"b", b"c"),
        tagged_hash("a", b"", b"bc"),
        tagged_hash("ab", b"c"),
        tagged_hash("a", b"bc", b""),
    ]
    assert len(set(spelled)) == len(spelled)
