r"""Homomorphic encryption of updates: the server adds ciphertexts that it cannot read (BFV, by TenSEAL).

.. math:: \mathrm{Dec}\Big(\sum_i \mathrm{Enc}(k_i)\Big) = \sum_i k_i \quad \text{exactly, over the integers}

The vectors are the integers of ``secagg.encoding.Encoding``, so that the decrypted sum equals a secure sum
bit for bit. One secret key is shared by all sites: **a site that sides with the server reads every
update**, at any later time too, and so does whoever steals a site's key file; and ciphertexts can be changed
without a trace, so that they are to travel signed. Dropouts are free, and only one message is sent up. Secure
aggregation has no such key.

Source: Brakerski, 2012, ePrint 2012/078; Fan, Vercauteren, 2012, ePrint 2012/144; parameters for 128 bits of
security: HomomorphicEncryption.org, 2018.
"""

import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import ExecutionError, ProtocolError, SettingError, StorageError
from quintain.federated.secagg.encoding import HALF_MODULUS, EncodedVector, Encoding
from quintain.federated.secagg.secret import Secret

RING_DEGREE = 4096
"""N: coefficients of a polynomial, and integers in one ciphertext."""
COEFFICIENT_BITS = (36, 36, 37)
"""Bits of the primes of q; 109 in all are the most for 128 bits of security at this degree."""
PLAIN_MODULUS = 8_590_090_241
"""p: a prime of 34 bits, 1 mod 2N, so that signed sums of 32 bits and their doubles are read back exactly."""
MAX_SUMMANDS = 1 << 16
"""A fresh ciphertext has noise below 2 * 19.2 N + 19.2 < 2^18, the worst case of SEAL's clipped Gaussian and
ternary keys; a sum decrypts while its noise is below q / 2p > 2^36, so that 2^18 of them would.
"""
MAGIC = b"QHE1"
KEY_MAGIC = b"QHK1"
KEY_ID_BYTES = 16
HEADER_BYTES = len(MAGIC) + KEY_ID_BYTES + 8


@dataclass(frozen=True)
class SharedKey:
    """The secret key that all sites of a federation share, and the public one that goes with it.

    Args:
        key_id: 16 random bytes that name it.
        content: The key, for TenSEAL.

    Raises:
        ExecutionError: If TenSEAL is not installed.
        ProtocolError: If the content is no such key.
    """

    key_id: bytes
    content: Secret = field(repr=False)

    @classmethod
    def create(cls) -> "SharedKey":
        """Make a new key, by one site, which hands it to the others over channels that are theirs alone."""
        return cls(secrets.token_bytes(KEY_ID_BYTES), Secret(_serialize(_new_context(), with_keys=True)))

    def save(self, path: Path) -> None:
        """Write a key file that only its owner can read (mode 0600); hand it to each site by a safe channel.

        Raises:
            StorageError: If the file is there already, or cannot be written.
        """
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(KEY_MAGIC + self.key_id + self.content.peek())
        except OSError as error:
            raise StorageError(
                f"cannot write the key file {path}: {error.strerror}; a key is never written over another"
            ) from error

    @classmethod
    def load(cls, path: Path) -> "SharedKey":
        """Read a key file.

        Raises:
            StorageError: If it cannot be read, or others than its owner can read it.
            ProtocolError: If it is no key file.
        """
        try:
            mode, data = path.stat().st_mode, path.read_bytes()
        except OSError as error:
            raise StorageError(f"cannot read the key file {path}: {error.strerror}") from error
        if mode & 0o077:
            raise StorageError(
                f"the key file {path} has mode {mode & 0o777:o}; expected 600, since who reads it reads "
                f"every site's updates: chmod 600 {path}, and make a new key if others may have read it"
            )
        start = len(KEY_MAGIC) + KEY_ID_BYTES
        if not data.startswith(KEY_MAGIC) or len(data) <= start:
            raise ProtocolError(f"{path} is no key file of a homomorphic sum; expected one of SharedKey.save")
        key = cls(data[len(KEY_MAGIC) : start], Secret(data[start:]))
        _ = key._context
        return key

    @cached_property
    def _context(self) -> Any:
        context = _parse_context(bytes(self.content.peek()))
        if not context.is_private():
            raise ProtocolError("this key file holds no secret key; expected the key that the sites share")
        return context

    def encrypt(self, encoded: EncodedVector, encoding: Encoding) -> bytes:
        """Encrypt one site's encoded vector.

        Args:
            encoded: (num_words,) words.
            encoding: Its grid.

        Raises:
            ProtocolError: If the vector has another length.
        """
        check_encoding(encoding)
        if encoded.shape != (encoding.num_words,):
            raise ProtocolError(f"an encoded vector {encoded.shape}; expected ({encoding.num_words},) words")
        # one more integer, which is 1: sums show how many vectors are in them, and a wrong key shows too
        integers = np.append(encoding.to_signed(encoded), 1)
        chunks = (
            _tenseal().bfv_vector(self._context, chunk.tolist()).serialize() for chunk in _chunks(integers)
        )
        return _pack(self.key_id, encoding.num_words, 1, chunks)

    def decrypt(self, ciphertext: bytes, encoding: Encoding, summands: int) -> NDArray[np.int64]:
        """Decrypt a sum.

        Args:
            ciphertext: What ``add_ciphertexts`` returned.
            encoding: The grid.
            summands: Of how many vectors it is meant to be.

        Returns:
            (num_words,) signed integers, those that a secure sum of the same vectors has.

        Raises:
            ProtocolError: If it is under another key, of other vectors, or impossible for honest ones.
        """
        parts = _parse(ciphertext, self.key_id, encoding.num_words)
        try:
            integers = np.concatenate(
                [np.array(_parse_vector(self._context, part).decrypt(), np.int64) for part in parts]
            )
        except (ValueError, RuntimeError) as error:
            raise ProtocolError(f"a ciphertext cannot be decrypted: {error}; refuse it") from error
        if integers.shape != (encoding.num_words + 1,) or integers[-1] != summands:
            raise ProtocolError(
                f"a ciphertext decrypts to a sum of {integers[-1] if integers.size else 0} vectors; expected "
                f"{summands}: it was made under another key, or is of other sites"
            )
        encoding.check_sum(integers[:-1], summands)
        return integers[:-1]


class CiphertextSum:
    """A sum of ciphertexts as they come in, made without any key.

    Args:
        key_id: That of the key under which all of them must be.
        encoding: The grid of the vectors.

    Attributes:
        summands: How many are in it.

    Raises:
        ExecutionError: If TenSEAL is not installed.
    """

    def __init__(self, key_id: bytes, encoding: Encoding) -> None:
        self._key_id, self._encoding = key_id, encoding
        self._context = _keyless_context()
        self._parts: list[Any] = []
        self.summands = 0

    def add(self, ciphertext: bytes) -> None:
        """Add one site's ciphertext.

        Raises:
            ProtocolError: If it is malformed or one too many; the sum is as it was.
        """
        if self.summands == self._encoding.num_sites:
            raise ProtocolError(
                f"{self.summands + 1} ciphertexts; expected 1 to {self._encoding.num_sites}, for which no "
                "sum wraps"
            )
        parts = _parse(ciphertext, self._key_id, self._encoding.num_words)
        vectors = [_parse_vector(self._context, part) for part in parts]
        sizes = [vector.size() for vector in vectors]
        if sizes != _chunk_sizes(self._encoding.num_words):
            raise ProtocolError(f"a ciphertext in parts of {sizes} integers; refuse it")
        try:
            self._parts = (
                [total + vector for total, vector in zip(self._parts, vectors, strict=True)]
                if self._parts
                else vectors
            )
        except (ValueError, RuntimeError) as error:
            raise ProtocolError(f"a ciphertext cannot be added: {error}; refuse it") from error
        self.summands += 1

    def pack(self) -> bytes:
        """Return the sum as a ciphertext.

        Raises:
            ProtocolError: If nothing was added.
        """
        if not self.summands:
            raise ProtocolError("0 ciphertexts; expected at least 1, since a sum of none hides nothing")
        parts = (part.serialize() for part in self._parts)
        return _pack(self._key_id, self._encoding.num_words, self.summands, parts)


def add_ciphertexts(ciphertexts: Iterable[bytes], key_id: bytes, encoding: Encoding) -> bytes:
    """Add vectors of sites without any key, one at a time.

    Raises:
        ExecutionError: If TenSEAL is not installed.
        ProtocolError: If there is none, one is malformed, or there are more than the encoding is proven for.
    """
    total = CiphertextSum(key_id, encoding)
    for ciphertext in ciphertexts:
        total.add(ciphertext)
    return total.pack()


def check_encoding(encoding: Encoding) -> None:
    """Refuse a federation whose sums the plain modulus or the noise does not allow.

    Raises:
        SettingError: If so.
    """
    if encoding.num_sites > MAX_SUMMANDS:
        raise SettingError(
            f"{encoding.num_sites} sites; expected at most {MAX_SUMMANDS}, whose noise decrypts for certain"
        )
    # sums are below 2^31 in magnitude by the encoding's own proof, hence below p / 2
    assert encoding.num_sites * encoding.max_abs < HALF_MODULUS < PLAIN_MODULUS // 2


def _tenseal() -> ModuleType:
    try:
        import tenseal
    except ImportError as error:
        raise ExecutionError(
            "homomorphic encryption needs TenSEAL, which is not installed; run: pip install 'quintain[he]'"
        ) from error
    return tenseal


def _new_context() -> Any:
    """Return TenSEAL's context with new keys."""
    tenseal = _tenseal()
    return tenseal.context(
        tenseal.SCHEME_TYPE.BFV,
        poly_modulus_degree=RING_DEGREE,
        plain_modulus=PLAIN_MODULUS,
        coeff_mod_bit_sizes=list(COEFFICIENT_BITS),
    )


@lru_cache(maxsize=1)
def _keyless_context() -> Any:
    return _parse_context(_serialize(_new_context(), with_keys=False))


def _serialize(context: Any, *, with_keys: bool) -> bytes:
    content = context.serialize(
        save_public_key=with_keys, save_secret_key=with_keys, save_galois_keys=False, save_relin_keys=False
    )
    return bytes(content)


def _parse_context(content: bytes) -> Any:
    try:
        return _tenseal().context_from(content)
    except (ValueError, RuntimeError) as error:
        raise ProtocolError(f"{len(content)} bytes that are no key of TenSEAL: {error}") from error


def _parse_vector(context: Any, content: bytes) -> Any:
    try:
        vector = _tenseal().bfv_vector_from(context, content)
    except (ValueError, RuntimeError) as error:
        raise ProtocolError(f"a ciphertext cannot be read: {error}; refuse it") from error
    if not 1 <= vector.size() <= RING_DEGREE:
        raise ProtocolError(f"a ciphertext of {vector.size()} integers; expected 1 to {RING_DEGREE}")
    return vector


def _chunks(integers: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut a vector into parts of one ciphertext each."""
    return (integers[start : start + RING_DEGREE] for start in range(0, len(integers), RING_DEGREE))


def _chunk_sizes(num_words: int) -> list[int]:
    """How many integers each ciphertext of a vector holds, the count's slot included."""
    full, rest = divmod(num_words + 1, RING_DEGREE)
    return [RING_DEGREE] * full + [rest] * (rest > 0)


def _pack(key_id: bytes, num_words: int, summands: int, parts: Iterable[bytes]) -> bytes:
    header = MAGIC + key_id + num_words.to_bytes(4, "big") + summands.to_bytes(4, "big")
    return header + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _parse(ciphertext: bytes, key_id: bytes, num_words: int) -> list[bytes]:
    """Return the parts of a ciphertext, one a chunk.

    Raises:
        ProtocolError: If it is under another key, of another length, or malformed.
    """
    found = ciphertext[len(MAGIC) : len(MAGIC) + KEY_ID_BYTES]
    words = int.from_bytes(ciphertext[HEADER_BYTES - 8 : HEADER_BYTES - 4], "big")
    if len(ciphertext) < HEADER_BYTES or not ciphertext.startswith(MAGIC):
        raise ProtocolError(f"{len(ciphertext)} bytes that are no ciphertext; expected {MAGIC.decode()}...")
    if found != key_id or words != num_words:
        raise ProtocolError(
            f"a ciphertext of {words} words under key {found.hex()}; expected {num_words} under "
            f"{key_id.hex()}"
        )
    parts, start = [], HEADER_BYTES
    while start < len(ciphertext):
        size = int.from_bytes(ciphertext[start : start + 4], "big")
        parts.append(ciphertext[start + 4 : start + 4 + size])
        start += 4 + size
    expected = len(_chunk_sizes(num_words))
    if start != len(ciphertext) or len(parts) != expected:
        raise ProtocolError(
            f"a ciphertext of {len(parts)} parts and {len(ciphertext)} bytes; expected {expected} whole parts"
        )
    return parts
