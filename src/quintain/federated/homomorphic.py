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

from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import ExecutionError, ProtocolError, SettingError
from quintain.federated.secagg.encoding import HALF_MODULUS, Encoding

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
KEY_ID_BYTES = 16
HEADER_BYTES = len(MAGIC) + KEY_ID_BYTES + 8


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
        parts = parse_ciphertext(ciphertext, self._key_id, self._encoding.num_words)
        vectors = [parse_chunk(self._context, part) for part in parts]
        sizes = [vector.size() for vector in vectors]
        if sizes != chunk_sizes(self._encoding.num_words):
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
        return pack_ciphertext(self._key_id, self._encoding.num_words, self.summands, parts)


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


def tenseal_module() -> ModuleType:
    """Import TenSEAL, or say that it is not installed."""
    try:
        import tenseal
    except ImportError as error:
        raise ExecutionError(
            "homomorphic encryption needs TenSEAL, which is not installed; run: pip install 'quintain[he]'"
        ) from error
    return tenseal


def new_context() -> Any:
    """Return TenSEAL's context with new keys."""
    tenseal = tenseal_module()
    return tenseal.context(
        tenseal.SCHEME_TYPE.BFV,
        poly_modulus_degree=RING_DEGREE,
        plain_modulus=PLAIN_MODULUS,
        coeff_mod_bit_sizes=list(COEFFICIENT_BITS),
    )


@lru_cache(maxsize=1)
def _keyless_context() -> Any:
    return parse_context(serialize_context(new_context(), with_keys=False))


def serialize_context(context: Any, *, with_keys: bool) -> bytes:
    """Write a context of TenSEAL, with both its keys or with none."""
    content = context.serialize(
        save_public_key=with_keys, save_secret_key=with_keys, save_galois_keys=False, save_relin_keys=False
    )
    return bytes(content)


def parse_context(content: bytes) -> Any:
    """Read a context of TenSEAL."""
    try:
        return tenseal_module().context_from(content)
    except (ValueError, RuntimeError) as error:
        raise ProtocolError(f"{len(content)} bytes that are no key of TenSEAL: {error}") from error


def parse_chunk(context: Any, content: bytes) -> Any:
    """Read one chunk of a ciphertext as TenSEAL's encrypted vector."""
    try:
        vector = tenseal_module().bfv_vector_from(context, content)
    except (ValueError, RuntimeError) as error:
        raise ProtocolError(f"a ciphertext cannot be read: {error}; refuse it") from error
    if not 1 <= vector.size() <= RING_DEGREE:
        raise ProtocolError(f"a ciphertext of {vector.size()} integers; expected 1 to {RING_DEGREE}")
    return vector


def chunks_of(integers: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut a vector into parts of one ciphertext each."""
    return (integers[start : start + RING_DEGREE] for start in range(0, len(integers), RING_DEGREE))


def chunk_sizes(num_words: int) -> list[int]:
    """How many integers each ciphertext of a vector holds, the count's slot included."""
    full, rest = divmod(num_words + 1, RING_DEGREE)
    return [RING_DEGREE] * full + [rest] * (rest > 0)


def pack_ciphertext(key_id: bytes, num_words: int, summands: int, parts: Iterable[bytes]) -> bytes:
    """Write a ciphertext: the key's name, words and summands, then each chunk behind its length."""
    header = MAGIC + key_id + num_words.to_bytes(4, "big") + summands.to_bytes(4, "big")
    return header + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def parse_ciphertext(ciphertext: bytes, key_id: bytes, num_words: int) -> list[bytes]:
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
    expected = len(chunk_sizes(num_words))
    if start != len(ciphertext) or len(parts) != expected:
        raise ProtocolError(
            f"a ciphertext of {len(parts)} parts and {len(ciphertext)} bytes; expected {expected} whole parts"
        )
    return parts
