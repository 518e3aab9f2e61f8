"""The few cryptographic primitives that secure aggregation uses, each one call deep into ``cryptography``."""

import hashlib
from functools import cache

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from quintain.core.errors import ProtocolError

KEY_BYTES = 32
SIGNATURE_BYTES = 64
TAG_BYTES = 16

FIELD_PRIME = 2**255 - 19
_EDWARDS_D = -121665 * pow(121666, -1, FIELD_PRIME) % FIELD_PRIME
# The points whose multiples by the cofactor vanish, as residues, so that an encoding above the prime is
# caught as well.
_X25519_SMALL = frozenset(
    {
        0,
        1,
        FIELD_PRIME - 1,
        int.from_bytes(
            bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"), "little"
        ),
        int.from_bytes(
            bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"), "little"
        ),
    }
)
_X25519_SMALL_KEYS = frozenset(value.to_bytes(KEY_BYTES, "little") for value in _X25519_SMALL)
_TOP_BYTE = FIELD_PRIME >> 248
_ED25519_SMALL = frozenset(
    {
        0,
        1,
        FIELD_PRIME - 1,
        int.from_bytes(
            bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
        ),
        int.from_bytes(
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
        ),
    }
)


def tagged_hash(label: str, *parts: bytes | memoryview) -> bytes:
    """Hash a label and parts, each with its length in front, so that no two different lists collide."""
    digest = hashlib.sha256(_label_bytes(label))
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


@cache
def _label_bytes(label: str) -> bytes:
    text = b"quintain secure aggregation 2: " + label.encode()
    return len(text).to_bytes(8, "big") + text


def is_small_order(public: bytes, *, signing: bool) -> bool:
    """Whether a public key is one of the few points that make any peer's secret irrelevant.

    The curve is that of Ed25519 if ``signing``, else that of X25519.
    """
    residue = (int.from_bytes(public, "little") & (2**255 - 1)) % FIELD_PRIME
    return residue in (_ED25519_SMALL if signing else _X25519_SMALL)


def are_ordinary(keys: frozenset[bytes]) -> bool:
    """Whether X25519 keys are not of small order and spelled in their one shortest form.

    Otherwise two spellings would pass for two keys.
    """
    # below the prime at once if the top byte is below the prime's
    large = (int.from_bytes(key, "little") for key in keys if key[-1] >= _TOP_BYTE)
    return keys.isdisjoint(_X25519_SMALL_KEYS) and all(value < FIELD_PRIME for value in large)


def is_on_curve(public: bytes, *, signing: bool) -> bool:
    r"""Whether a public key is a canonical point of its curve, as every private key's is.

    The curve is that of Ed25519 if ``signing``, else that of X25519.

    Ed25519 sends y, where :math:`x^2 = (y^2 - 1) / (d y^2 + 1)` needs a root (RFC 8032); X25519 sends u,
    where
    :math:`v^2 = u^3 + 486662 u^2 + u` does (RFC 7748). Euler's criterion tells whether there is one.
    """
    value = int.from_bytes(public, "little")
    if signing:
        value &= 2**255 - 1
        square = (value**2 - 1) * (_EDWARDS_D * value**2 + 1)
    else:
        square = value**3 + 486662 * value**2 + value
    return value < FIELD_PRIME and pow(square % FIELD_PRIME, (FIELD_PRIME - 1) // 2, FIELD_PRIME) in (0, 1)


def x25519_public(private: bytes | bytearray) -> bytes:
    """Compute the X25519 public key of a private one (RFC 7748)."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def load_x25519(private: bytes | bytearray) -> X25519PrivateKey:
    """Load a private key that serves for several shared secrets: loading costs as much as one of them."""
    return X25519PrivateKey.from_private_bytes(private)


def x25519(private: X25519PrivateKey | bytes | bytearray, public: bytes) -> bytes:
    """Compute the X25519 shared secret (RFC 7748).

    Raises:
        ProtocolError: If the peer's key is of small order, so that the secret would be known to all.
    """
    if is_small_order(public, signing=False):
        raise ProtocolError(
            "a peer's X25519 key is a point of small order; expected an ordinary key: exclude that peer"
        )
    try:
        loaded = private if isinstance(private, X25519PrivateKey) else load_x25519(private)
        return loaded.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise ProtocolError(
            "a peer's X25519 key gives an empty secret; expected an ordinary key: exclude that peer"
        ) from error


def ed25519_public(private: bytes | bytearray) -> bytes:
    """Compute the Ed25519 public key of a private one (RFC 8032)."""
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def load_ed25519(private: bytes | bytearray) -> Ed25519PrivateKey:
    """Load a signing key that makes several signatures: loading costs half of one."""
    return Ed25519PrivateKey.from_private_bytes(private)


def sign(private: Ed25519PrivateKey | bytes | bytearray, message: bytes) -> bytes:
    """An Ed25519 signature (RFC 8032), 64 bytes."""
    loaded = private if isinstance(private, Ed25519PrivateKey) else load_ed25519(private)
    return loaded.sign(message)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an Ed25519 signature is valid under a key that is not of small order."""
    if is_small_order(public, signing=True):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def derive_key(
    secret: bytes | bytearray | memoryview, info: bytes, *, salt: bytes = b"", length: int = KEY_BYTES
) -> bytes:
    """HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt or None, info=info).derive(secret)


def seal(key: bytes, plain: bytes, associated_data: bytes) -> bytes:
    """AES-256-GCM under a key that is used once, which is why the nonce may be zero."""
    return AESGCM(key).encrypt(bytes(12), plain, associated_data)


def unseal(key: bytes, sealed: bytes, associated_data: bytes) -> bytes:
    """The plain text of ``seal``.

    Raises:
        ProtocolError: If the text, its envelope or the key is another one.
    """
    try:
        return AESGCM(key).decrypt(bytes(12), sealed, associated_data)
    except InvalidTag as error:
        raise ProtocolError(
            "a sealed share does not open; it was changed, or made for another round or site"
        ) from error


def authenticate(key: bytes, message: bytes | memoryview) -> bytes:
    """Return the 16-byte tag of AES-256-GMAC (NIST SP 800-38D) under a key that is used for one tag only."""
    return AESGCM(key).encrypt(bytes(12), b"", message)


def keystream(key: bytes, counter: bytes = bytes(16)) -> CipherContext:
    """Return the AES-256-CTR key stream (NIST SP 800-38A) from a 16-byte counter block on."""
    return Cipher(AES(key), CTR(counter)).encryptor()


def expect_length(data: bytes | memoryview, length: int, what: str) -> None:
    """Refuse bytes of another length than their layout has."""
    if len(data) != length:
        raise ProtocolError(f"{what} of {len(data)} bytes; expected {length}: refuse it")
