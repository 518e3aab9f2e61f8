r"""The masks of vectors, and how they cancel in the sum.

.. math:: y_i = x_i + G(b_i) + \sum_{v > i} G(k_{iv}) - \sum_{v < i} G(k_{iv}) \bmod 2^{32}

with G the AES-256-CTR stream read as little-endian words. The pairwise parts cancel in the sum; b_i protects
y_i should the server pretend that the site had dropped out. Every key is bound to the transcript, so that no
stream serves twice.
Source: Bonawitz et al., 2017, ePrint 2017/281.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from quintain.federated.secagg.encoding import WORD_DTYPE, EncodedVector
from quintain.federated.secagg.primitives import derive_key, keystream, load_x25519, tagged_hash, x25519

CHUNK_WORDS = 2**15
CACHED_WORDS = 2**17
"""A vector of so many words, 512 KiB, stays in the cache from one stream to the next."""
_ZEROS = memoryview(bytes(4 * CHUNK_WORDS))

Stream = tuple[bytes, bool]
"""A mask's key, and whether its stream is subtracted."""


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


def add_streams(encoded: EncodedVector, streams: Sequence[Stream], out: EncodedVector | None = None) -> None:
    """Add some streams, mod 2^32.

    It is done in place, or into ``out``, which spares a copy of a long vector.
    """
    if out is None:
        out = encoded
    if len(encoded) <= CACHED_WORDS or not streams:
        np.copyto(out, encoded)
        for key, subtract in streams:
            add_stream(out, key, subtract=subtract)
        return
    # all streams of one chunk of the vector while it is in the cache, then the next chunk
    opened = [(keystream(key), np.subtract if subtract else np.add) for key, subtract in streams]
    buffer = np.empty(CHUNK_WORDS, WORD_DTYPE)
    for start in range(0, len(encoded), CHUNK_WORDS):
        before, part = encoded[start : start + CHUNK_WORDS], out[start : start + CHUNK_WORDS]
        mask = buffer[: len(part)]
        zeros, octets = _ZEROS[: 4 * len(part)], mask.view(np.uint8).data
        for stream, add_or_subtract in opened:
            stream.update_into(zeros, octets)
            add_or_subtract(before, mask, out=part)
            before = part


def self_key(seed: bytes | bytearray, transcript_hash: bytes, site: int) -> bytes:
    """Derive the stream key of a site's self-mask."""
    return derive_key(seed, tagged_hash("self mask", transcript_hash, _number(site)))


def pair_key(
    private: X25519PrivateKey | bytes | bytearray,
    peer_public: bytes,
    transcript_hash: bytes,
    site: int,
    peer: int,
) -> bytes:
    """Derive the stream key that two sites share, the same from either side."""
    low, high = sorted((site, peer))
    return derive_key(
        x25519(private, peer_public), tagged_hash("pair mask", transcript_hash, _number(low), _number(high))
    )


def self_streams(
    seed: bytes | bytearray, transcript_hash: bytes, site: int, *, remove: bool = False
) -> list[Stream]:
    """Return the stream that is a site's self-mask, for ``add_streams``."""
    return [(self_key(seed, transcript_hash, site), remove)]


def pair_stream(
    private: X25519PrivateKey | bytes | bytearray,
    peer_public: bytes,
    transcript_hash: bytes,
    site: int,
    peer: int,
    *,
    remove: bool = False,
) -> Stream:
    """Return the stream that ``site`` shares with ``peer``, for its vector.

    The key may be derived from either private half: give that one and the other's public key.
    """
    return pair_key(private, peer_public, transcript_hash, site, peer), (site > peer) != remove


def pair_streams(
    private: bytes | bytearray, peers: Mapping[int, bytes], transcript_hash: bytes, site: int
) -> list[Stream]:
    """Return the streams that ``site`` shares with some peers, given their public keys, for its vector."""
    loaded = load_x25519(private)
    return [pair_stream(loaded, public, transcript_hash, site, peer) for peer, public in peers.items()]


def mask_vector(
    encoded: EncodedVector,
    private: bytes | bytearray,
    seed: bytes | bytearray,
    peers: Mapping[int, bytes],
    transcript_hash: bytes,
    site: int,
) -> EncodedVector:
    """Return a site's vector (num_words,) under its self-mask and all masks that it shares with some peers.

    Args:
        encoded: (num_words,) the vector; not changed.
        private: The site's mask key.
        seed: Its self-mask seed.
        peers: The peers' public mask keys.
        transcript_hash: Of the messages up to the sharers.
        site: Its index.
    """
    masked = np.empty_like(encoded)
    streams = [
        *self_streams(seed, transcript_hash, site),
        *pair_streams(private, peers, transcript_hash, site),
    ]
    add_streams(encoded, streams, out=masked)
    return masked


def add_self_mask(
    encoded: EncodedVector,
    seed: bytes | bytearray,
    transcript_hash: bytes,
    site: int,
    *,
    remove: bool = False,
) -> None:
    """Add a site's self-mask to its vector (or to a sum), or remove it."""
    add_streams(encoded, self_streams(seed, transcript_hash, site, remove=remove))


def add_pair_masks(
    encoded: EncodedVector,
    private: bytes | bytearray,
    peers: Mapping[int, bytes],
    transcript_hash: bytes,
    site: int,
) -> None:
    """Put all masks that ``site`` shares with some peers on its vector, given their public keys.

    On a sum over the peers' vectors they take those masks off, since what is added to one is subtracted from
    the other.
    """
    add_streams(encoded, pair_streams(private, peers, transcript_hash, site))


def _number(site: int) -> bytes:
    return site.to_bytes(4, "big")
