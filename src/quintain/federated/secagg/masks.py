r"""The masks, and how they cancel.

.. math:: y_i = x_i + G(b_i) + \sum_{v > i} G(k_{iv}) - \sum_{v < i} G(k_{iv}) \bmod 2^{32}

with G the AES-256-CTR stream read as little-endian words. The pairwise parts cancel in the sum; b_i protects y_i should the server pretend
that the site had dropped out. Every key is bound to the transcript, so that no stream serves twice.
Source: Bonawitz et al., 2017, ePrint 2017/281.
"""

import numpy as np

from quintain.federated.secagg.encoding import WORD, Words
from quintain.federated.secagg.primitives import bind, derive_key, exchange, keystream

CHUNK_WORDS = 2**15
_ZEROS = memoryview(bytes(4 * CHUNK_WORDS))


def add_stream(words: Words, key: bytes, *, subtract: bool = False) -> None:
    """Add the stream of ``key`` to ``words`` in place, mod 2^32, or take it away."""
    stream = keystream(key)
    piece = np.empty(CHUNK_WORDS, WORD)
    fold = np.subtract if subtract else np.add
    for start in range(0, len(words), CHUNK_WORDS):
        part = words[start : start + CHUNK_WORDS]
        mask = piece[: len(part)]
        stream.update_into(_ZEROS[: 4 * len(part)], mask.view(np.uint8).data)
        fold(part, mask, out=part)


def self_key(seed: bytes | bytearray, transcript: bytes, site: int) -> bytes:
    """The stream key of a site's own mask."""
    return derive_key(seed, bind("self mask", transcript, _number(site)))


def pair_key(private: bytes | bytearray, peer_public: bytes, transcript: bytes, site: int, peer: int) -> bytes:
    """The stream key that two sites share, the same from either side."""
    low, high = sorted((site, peer))
    return derive_key(exchange(private, peer_public), bind("pair mask", transcript, _number(low), _number(high)))


def add_self_mask(words: Words, seed: bytes | bytearray, transcript: bytes, site: int, *, remove: bool = False) -> None:
    """Put a site's own mask on its vector (or sum), or take it off."""
    add_stream(words, self_key(seed, transcript, site), subtract=remove)


def add_pair_mask(
    words: Words, private: bytes | bytearray, peer_public: bytes, transcript: bytes, site: int, peer: int, *, remove: bool = False
) -> None:
    """Put the mask that ``site`` shares with ``peer`` on the vector of ``site``, or take it off.

    The key may be worked out from either private half: give that one and the other's public key.
    """
    add_stream(words, pair_key(private, peer_public, transcript, site, peer), subtract=(site > peer) != remove)


def _number(site: int) -> bytes:
    return site.to_bytes(4, "big")
