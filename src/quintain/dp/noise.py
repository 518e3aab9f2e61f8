"""Random numbers for privacy: AES-256 in counter mode, keyed from the operating system's entropy or from an explicit seed."""

import hashlib
import math
import os
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

from quintain.core.errors import PrivacyError

BLOCK = 16
WORD = 1 << 64


class Stream:
    """An endless stream of 64-bit words: AES-256 in counter mode.

    What it protects: who does not know the key cannot tell the stream from chance, nor continue or rewind it, however much of it the
    released models show. What it does not: Gaussian noise is rounded to floating point, and the low bits of such a sum can
    leak (Mironov, 2012, CCS); nor is the time of a draw constant. A seeded stream protects nobody who can guess the seed.

    Args:
        key: 32 bytes.
        position: Blocks of 16 bytes already used; a stream put back to its position continues bit for bit.
    """

    def __init__(self, key: bytes, position: int = 0) -> None:
        self._key = key
        self.position = position

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
        return cls(hashlib.blake2b("/".join(map(str, ("quintain.dp", seed, *path))).encode(), digest_size=32).digest())

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """``count`` words, uniform in [0, 2^64)."""
        blocks = -(-count * 8 // BLOCK)
        cipher = Cipher(algorithms.AES(self._key), modes.CTR(self.position.to_bytes(BLOCK, "big")))
        self.position += blocks
        return np.frombuffer(cipher.encryptor().update(bytes(blocks * BLOCK)), dtype="<u8")[:count]

    def normal(self, count: int) -> Tensor:
        """``count`` standard normal numbers in float64, by the transform of Box and Muller on 53-bit uniforms in (0, 1]."""
        half = -(-count // 2)
        uniform = torch.from_numpy(((self.words(2 * half) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)
        radius, angle = (-2 * uniform[:half].log()).sqrt(), 2 * math.pi * uniform[half:]
        return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count]

    def chosen(self, records: int, expected: int) -> npt.NDArray[np.int64]:
        """Which of ``records`` are in, each by itself with probability ``expected / records``, exact to 2^-64 and never above."""
        if expected == records:
            return np.arange(records)
        return np.flatnonzero(self.words(records) < np.uint64(expected * WORD // records))
