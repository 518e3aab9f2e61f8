"""Random numbers for privacy: AES-256 in counter mode, keyed from the operating system's entropy or from an explicit seed."""

import hashlib
import math
import os
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

from quintain.core.errors import PrivacyError

BLOCK = 16
WORD = 1 << 64
AT_ONCE = 1 << 18
"""Bytes of cipher that are worked on together: few enough to stay in the processor's caches, and even in pairs of words."""
ZEROS = bytes(AT_ONCE)


class Stream:
    """An endless stream of random words for each turn 0, 1, 2, ...: AES-256 in counter mode, the turn in the counter's upper half.

    What it protects: who does not know the key cannot tell the stream from chance, nor continue or rewind it, however much of it the
    released models show. What it does not: Gaussian noise is rounded to floating point, and the low bits of such a sum can
    leak (Mironov, 2012, CCS); in float32 no number is beyond 6.66 standard deviations, which adds up to 3e-11 a step to delta; nor is the
    time of a draw constant. A seeded stream protects nobody who can guess the seed.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._begin(0)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse copies: two runs with one stream draw the same noise, and the difference of what they release has none."""
        raise PrivacyError(
            "got a request to copy or pickle a stream of noise; expected each run to have its own: make_private anew, and load state_dict()"
        )

    @classmethod
    def secret(cls) -> "Stream":
        """A stream keyed with fresh entropy of the operating system."""
        return cls(os.urandom(32))

    @classmethod
    def seeded(cls, seed: int, *path: str | int) -> "Stream":
        """A stream that anyone who knows ``seed`` and the place of use can draw again."""
        return cls(seeded_key(seed)).child(*path)

    def child(self, *path: str | int) -> "Stream":
        """A stream of its own for a place of use; it tells nothing of this one or of other places."""
        return Stream(hashlib.blake2b("/".join(map(str, path)).encode(), key=self._key, digest_size=32).digest())

    def keyed(self, told: Callable[[bytes], bytes]) -> "Stream":
        """The stream of whose key ``told`` answers with, given this one's: how processes that train together come to share one."""
        return Stream(told(self._key))

    def seek(self, turn: int) -> None:
        """Go to the beginning of a turn, which must be new unless what it was drawn for is repeated bit for bit."""
        self._begin(turn << 64)

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """``count`` words, uniform in [0, 2^64)."""
        return np.frombuffer(self._bytes(8 * count), dtype="<u8", count=count)

    def normal(self, count: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """``count`` standard normal numbers, by the transform of Box and Muller.

        From uniforms of 53 bits in float64; in float32 from 31 bits for the radius (so that none is beyond 6.66) and 32 for the angle.
        """
        half = -(-count // 2)
        return self._normal(torch.empty(2, half, dtype=dtype), torch.empty(2, half, dtype=dtype), bytearray()).view(-1)[:count]

    def add_normal(self, into: Tensor, scale: float, by: int = 1) -> None:
        """Add independent normal numbers of standard deviation ``scale`` to a flat tensor, and divide it, in pieces that a cache holds."""
        size = AT_ONCE // into.element_size()
        room, bits = torch.empty(2, 2 * -(-min(size, len(into)) // 2), dtype=into.dtype), bytearray()
        for piece in into.split(size):
            drawn, words = room[:, : 2 * -(-len(piece) // 2)].unflatten(1, (2, -1))
            normal = self._normal(drawn, words, bits).view(-1)
            piece.add_(normal[: len(piece)].to(piece.device), alpha=scale)
            if by != 1:
                piece.mul_(1 / by)

    def chosen(self, records: int, expected: int) -> npt.NDArray[np.int64]:
        """Which of ``records`` are in, each by itself with probability ``expected / records``, exact to 2^-64 and never above."""
        if expected == records:
            return np.arange(records)
        return np.flatnonzero(self.words(records) < np.uint64(expected * WORD // records))

    def _normal(self, drawn: Tensor, words: Tensor, bits: bytearray) -> Tensor:
        """Normal numbers in all of ``drawn`` (2, half), by way of ``words``, of the same shape, and ``bits``, which grows as it must."""
        count = words.numel()
        if not count:
            return drawn
        self._fill(bits, count * words.element_size())
        if words.dtype == torch.float64:
            uniform = np.frombuffer(bits, dtype="<u8", count=count) >> np.uint64(11)
            words.view(-1).copy_(torch.from_numpy((uniform.astype(np.float64) + 0.5) * 2.0**-53))
            radius, angle = words[0], words[1].mul_(2 * math.pi)
        else:
            words.view(-1).copy_(torch.frombuffer(bits, dtype=torch.int32, count=count))
            radius, angle = words[0].abs_().add_(0.5).mul_(2.0**-31), words[1].mul_(math.pi * 2.0**-31)
        radius.log_().mul_(-2).sqrt_()
        torch.cos(angle, out=drawn[0])
        torch.sin(angle, out=drawn[1])
        return drawn.mul_(radius)

    def _bytes(self, count: int) -> bytearray:
        """At least so many."""
        out = bytearray()
        self._fill(out, count)
        return out

    def _begin(self, counter: int) -> None:
        self._cipher = Cipher(algorithms.AES(self._key), modes.CTR(counter.to_bytes(BLOCK, "big"))).encryptor()

    def _fill(self, out: bytearray, count: int) -> None:
        """Put at least so many bytes at the beginning of ``out``."""
        blocks = -(-count // BLOCK)
        if len(out) < blocks * BLOCK:
            out.extend(bytes(blocks * BLOCK - len(out)))
        view = memoryview(out)[: blocks * BLOCK]
        for start in range(0, len(view), AT_ONCE):
            piece = view[start : start + AT_ONCE]
            self._cipher.update_into(ZEROS if len(piece) == AT_ONCE else ZEROS[: len(piece)], piece)


def seeded_key(seed: int) -> bytes:
    """A key that follows from a seed."""
    return hashlib.blake2b(f"quintain.dp/{seed}".encode(), digest_size=32).digest()
