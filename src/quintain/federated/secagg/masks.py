r"""The masks of vectors, and how they cancel in the sum.

.. math:: y_i = x_i + G(b_i) + \sum_{v > i} G(k_{iv}) - \sum_{v < i} G(k_{iv}) \bmod 2^{32}

with G the AES-256-CTR stream read as little-endian words. The pairwise parts cancel in the sum; b_i protects
y_i should the server pretend that the site had dropped out. Every key is bound to the transcript, so that no
stream serves twice.
Source: Bonawitz et al., 2017, ePrint 2017/281.
"""

import numpy as np

from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector
from quintain.federated.secagg.primitives import derive_key, keystream, tagged_hash, x25519

CHUNK_WORDS = 2**15
_ZEROS = memoryview(bytes(4 * CHUNK_WORDS))


def add_stream(encoded: EncodedVector, key: bytes, *, subtract: bool = False) -> None:
    """Add the stream of ``key`` to ``encoded`` in place, mod 2^32, or subtract it."""
    # AES-CTR of zeros is the stream; 128 KiB at a time keeps it in the cache and the vector in place.
    stream = keystream(key)
    buffer = np.empty(CHUNK_WORDS, WORD_DTYPE)
    add_or_subtract = np.subtract if subtract else np.add
    for start in range(0, len(encoded), CHUNK_WORDS):
        part = encoded[start : start + CHUNK_WORDS]
        mask = buffer[: len(part)]
        stream.update_into(_ZEROS[: 4 * len(part)], mask.view(np.uint8).data)
        add_or_subtract(part, mask, out=part)


def self_key(seed: bytes | bytearray, transcript_hash: bytes, site: int) -> bytes:
    """Derive the stream key of a site's self-mask."""
    return derive_key(seed, tagged_hash("self mask", transcript_hash, _number(site)))


def pair_key(
    private: bytes | bytearray, peer_public: bytes, transcript_hash: bytes, site: int, peer: int
) -> bytes:
    """Derive the stream key that two sites share, the same from either side."""
    low, high = sorted((site, peer))
    return derive_key(
        x25519(private, peer_public), tagged_hash("pair mask", transcript_hash, _number(low), _number(high))
    )


def add_self_mask(
    encoded: EncodedVector,
    seed: bytes | bytearray,
    transcript_hash: bytes,
    site: int,
    *,
    remove: bool = False,
) -> None:
    """Add a site's self-mask to its vector (or to a sum), or remove it."""
    add_stream(encoded, self_key(seed, transcript_hash, site), subtract=remove)


def add_pair_mask(
    encoded: EncodedVector,
    private: bytes | bytearray,
    peer_public: bytes,
    transcript_hash: bytes,
    site: int,
    peer: int,
    *,
    remove: bool = False,
) -> None:
    """Put the mask that ``site`` shares with ``peer`` on the vector of ``site``, or take it off.

    The key may be worked out from either private half: give that one and the other's public key.
    """
    add_stream(
        encoded, pair_key(private, peer_public, transcript_hash, site, peer), subtract=(site > peer) != remove
    )


def _number(site: int) -> bytes:
    return site.to_bytes(4, "big")
