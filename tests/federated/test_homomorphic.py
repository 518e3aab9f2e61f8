"""Sums under homomorphic encryption: equal to integer sums bit for bit, and refused where they are not."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.errors import ExecutionError, ProtocolError, SettingError
from quintain.federated import homomorphic, secure_sum
from quintain.federated.homomorphic import RING_DEGREE, CiphertextSum, check_encoding
from quintain.federated.homomorphic_key import SharedKey
from quintain.federated.secagg.encoding import Encoding, finest_encoding


@pytest.fixture(scope="module")
def key() -> SharedKey:
    return SharedKey.create()


def add_ciphertexts(ciphertexts: Iterable[bytes], key_id: bytes, encoding: Encoding) -> bytes:
    total = CiphertextSum(key_id, encoding)
    for ciphertext in ciphertexts:
        total.add(ciphertext)
    return total.pack()


def vectors(num_sites: int, length: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1.2, 1.2, length) for _ in range(num_sites)]


@pytest.mark.parametrize("length", [1, 3, RING_DEGREE - 1, RING_DEGREE, 2 * RING_DEGREE + 7])
def test_the_sum_is_that_of_secure_aggregation_bit_for_bit(key: SharedKey, length: int) -> None:
    given_ = vectors(4, length)
    encoding = finest_encoding(length, 1.0, 4)
    encrypted = [key.encrypt(encoding.quantize(vector), encoding) for vector in given_]
    total = key.decrypt(add_ciphertexts(encrypted, key.key_id, encoding), encoding, 4)
    masked = secure_sum(dict(zip("abcd", given_, strict=True)), scale=encoding.scale)
    np.testing.assert_array_equal(total, masked.integers)


@settings(max_examples=15, deadline=None)
@given(
    num_sites=st.integers(2, 60),
    kept=st.integers(1, 60),
    extreme=st.sampled_from([-1.0, 1.0]),
    max_weight=st.sampled_from([0, 100]),
)
def test_no_sum_wraps_and_dropouts_are_free(
    key: SharedKey, num_sites: int, kept: int, extreme: float, max_weight: int
) -> None:
    kept = min(kept, num_sites)
    encoding = finest_encoding(5, 1.0, num_sites, max_weight)
    words = encoding.quantize(np.full(5, extreme), max_weight or None)
    encrypted = key.encrypt(words, encoding)
    total = key.decrypt(add_ciphertexts([encrypted] * kept, key.key_id, encoding), encoding, kept)
    np.testing.assert_array_equal(total, kept * encoding.to_signed(words))


def test_the_sum_of_very_many_still_decrypts(key: SharedKey) -> None:
    encoding = Encoding(3, 1.0, 2**14, 2**16)
    encrypted = [key.encrypt(encoding.quantize([1.0, -1.0, 0.5]), encoding) for _ in range(2)]
    # doubling reaches the largest federation in sixteen additions, with the noise of all of them
    first = add_ciphertexts(encrypted, key.key_id, encoding)
    for _ in range(15):
        first = add_ciphertexts([first, first], key.key_id, encoding)
    total = key.decrypt(first, encoding, 2**16)
    np.testing.assert_array_equal(total, 2**16 * np.array([2**14, -(2**14), 2**13]))


def test_one_vector_encrypts_to_other_bytes_each_time(key: SharedKey) -> None:
    encoding = finest_encoding(3, 1.0, 3)
    words = encoding.quantize(np.zeros(3))
    assert key.encrypt(words, encoding) != key.encrypt(words, encoding)


def test_another_key_opens_nothing(key: SharedKey) -> None:
    encoding = finest_encoding(3, 1.0, 3)
    other = SharedKey.create()
    encrypted = key.encrypt(encoding.quantize(np.ones(3)), encoding)
    with pytest.raises(ProtocolError, match=f"under key {key.key_id.hex()}; expected 3 under"):
        other.decrypt(encrypted, encoding, 1)
    forged = encrypted.replace(key.key_id, other.key_id)
    with pytest.raises(ProtocolError, match="made under another key"):
        other.decrypt(forged, encoding, 1)


def test_a_sum_of_other_sites_than_claimed_is_refused(key: SharedKey) -> None:
    encoding = finest_encoding(3, 1.0, 3)
    encrypted = [key.encrypt(encoding.quantize(np.ones(3)), encoding) for _ in range(3)]
    alone = add_ciphertexts(encrypted[:1], key.key_id, encoding)
    with pytest.raises(ProtocolError, match="a sum of 1 vectors; expected 3"):
        key.decrypt(alone, encoding, 3)
    with pytest.raises(ProtocolError, match="4 ciphertexts; expected 1 to 3"):
        add_ciphertexts([*encrypted, encrypted[0]], key.key_id, encoding)
    with pytest.raises(ProtocolError, match="0 ciphertexts"):
        add_ciphertexts([], key.key_id, encoding)


def test_a_site_that_goes_beyond_the_clip_spoils_the_sum_in_the_open(key: SharedKey) -> None:
    narrow, wide = Encoding(2, 1.0, 100, 3), Encoding(2, 5.0, 100, 3)
    honest = key.encrypt(narrow.quantize([1.0, 0.0]), narrow)
    cheat = key.encrypt(wide.quantize([5.0, 0.0]), wide)
    with pytest.raises(ProtocolError, match="a site lied about its vector"):
        key.decrypt(add_ciphertexts([honest, cheat], key.key_id, narrow), narrow, 2)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_changed_frame_is_refused_by_name(key: SharedKey, data: st.DataObject) -> None:
    encoding = finest_encoding(3, 1.0, 3)
    good = key.encrypt(encoding.quantize(np.ones(3)), encoding)
    summands_at = homomorphic.HEADER_BYTES - 4
    place = data.draw(
        st.integers(0, homomorphic.HEADER_BYTES + 3).filter(lambda at: not 0 <= at - summands_at < 4)
    )
    changed = bytearray(good)
    changed[place] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(changed), good[:place], good[:-1], good + b"\0"):
        with pytest.raises(ProtocolError, match=r"expected|refuse"):
            add_ciphertexts([bad], key.key_id, encoding)


def test_the_server_holds_no_key(key: SharedKey) -> None:
    context = homomorphic._keyless_context()
    assert not context.is_private()
    assert not context.has_public_key()
    encoding = finest_encoding(3, 1.0, 3)
    part = homomorphic.parse_ciphertext(key.encrypt(encoding.quantize(np.ones(3)), encoding), key.key_id, 3)[
        0
    ]
    with pytest.raises(ValueError, match="doesn't hold a secret_key"):
        homomorphic.parse_chunk(context, part).decrypt()


def test_a_key_never_shows(key: SharedKey) -> None:
    assert "hidden" in repr(key) or "content" not in repr(key)
    assert bytes(key.content.peek()[:32]).hex() not in repr(key)


def test_too_many_sites_are_refused() -> None:
    with pytest.raises(SettingError, match="expected at most 65536"):
        check_encoding(Encoding(1, 1.0, 100, 2**16 + 1))


def test_without_tenseal_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tenseal", None)
    with pytest.raises(ExecutionError, match=r"pip install 'quintain\[he\]'"):
        SharedKey.create()
