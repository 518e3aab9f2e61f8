"""Random streams for privacy: AES-256 in counter mode, with a secret key or an explicit seed."""

import hashlib
import math
import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, NoReturn, ParamSpec, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from torch import Tensor

from quintain.core.errors import PrivacyError

AES_BLOCK_BYTES = 16
WORD_RANGE = 1 << 64
CHUNK_BYTES = 1 << 18
"""Bytes of cipher that are worked on together: few enough to stay in the processor's caches, and even in
pairs of words.
"""
ZEROS = bytes(CHUNK_BYTES)
MAX_TAG_BYTES = 1 << 30
"""Bytes that are hashed into one tag."""
EDGE_BITS = 20
"""Radii come from more bits than one word has where their uniform number is within 2^-20 of 0 or 1: once in
half a million.
"""
SIGNIFICANT = 1 << 64
"""From where on an integer says enough of a uniform one."""
P = ParamSpec("P")
R = TypeVar("R")


class _Process:
    """This process: its number, and how many forks lie between it and the import of this module.

    Numbers of processes are used again.
    """

    forks = 0

    def __call__(self) -> tuple[int, int]:
        return os.getpid(), self.forks

    def forked(self) -> None:
        self.forks += 1


PROCESS = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PROCESS.forked)


class _ThreadPosition(threading.local):
    """The position of a thread in a stream; None until it seeks."""

    cipher: Any = None


class _Workspace:
    """Memory for the stages on the way to normal numbers, and all views of it, made once for many pieces.

    Args:
        count: How many numbers; they are made in pairs.
        dtype: float32 or float64.
    """

    def __init__(self, count: int, dtype: torch.dtype) -> None:
        half, single = -(-count // 2), dtype == torch.float32
        self.count, self.width = count, 31 if single else 63
        self.bits = bytearray(-(-2 * half * dtype.itemsize // AES_BLOCK_BYTES) * AES_BLOCK_BYTES)
        raw = np.frombuffer(self.bits, dtype="<i4" if single else "<i8", count=2 * half)
        self.radius_bits, self.most = raw[:half], raw.dtype.type(2**self.width - 1)
        self.integers = torch.from_numpy(raw).view(2, half)
        self.words, self.pairs = torch.empty(2, half, dtype=dtype), torch.empty(2, half, dtype=dtype)
        self.radius, self.angle = self.words
        self.cosine, self.sine = self.pairs
        self.normal = self.pairs.view(-1)


class RandomStream:
    """An endless stream of random words for each index 0, 1, 2, ...

    AES-256 in counter mode, the index in the counter's upper half: 2^64 blocks for each, of which no two
    overlap.

    What it protects: who does not know the key cannot tell the stream from chance, nor continue or rewind it,
    however much of it the released models show. Its normal numbers have no largest one, so that delta needs
    no term for a tail that is cut off, whatever the noise multiplier: each pair lies within 2^-14 (float32)
    or 2^-42 (float64), or that fraction of its length, of a pair of exact ones.

    What it does not: by as much is Gaussian noise rounded, and the low bits of such a sum can leak (Mironov,
    2012, CCS); ``secure_mode`` uses integers instead. Nor does it take constant time. A seeded
    stream protects nobody who can guess the seed.

    It belongs to the process that made it: a fork holds the same key and would draw the same noise, so there
    every use is refused. Each thread has a place of its own, so that none moves another's between ``seek``
    and what it draws; threads that never went anywhere take turns at one place, and get different words.

    Args:
        key: 32 bytes.
        reproducible: Whether somebody may know the key, as of a seed; streams derived from it say the same.
    """

    def __init__(self, key: bytes, *, reproducible: bool = False) -> None:
        self._key, self._made_in, self.reproducible = key, PROCESS(), reproducible
        self.lock = threading.RLock()
        self._place, self._common = _ThreadPosition(), self._cipher_at(0)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse copies: two runs with one stream have the same noise, which cancels in a difference."""
        raise PrivacyError(
            "got a request to copy or pickle a stream of noise; expected each run to have its own: "
            "make_private anew, and load state_dict()"
        )

    @classmethod
    def from_os_entropy(cls) -> "RandomStream":
        """A stream keyed with fresh entropy of the operating system."""
        return cls(os.urandom(32))

    @classmethod
    def from_seed(cls, seed: int, *path: str | int) -> "RandomStream":
        """A stream from a seed and a path; anyone who knows both can repeat it."""
        return cls(seeded_key(seed), reproducible=True).derive(*path)

    def derive(self, *path: str | int) -> "RandomStream":
        """The stream of a path, from a key derived from this one's; it reveals nothing of others."""
        self._check_process()
        return RandomStream(
            hashlib.blake2b("/".join(map(str, path)).encode(), key=self._key, digest_size=32).digest(),
            reproducible=self.reproducible,
        )

    def tag(self, content: Tensor, *settings: object) -> bytes:
        """A secret tag of 16 bytes that, but for a chance of 2^-100, only the same bits and settings have.

        The authentication tag of AES-GCM, under a key of its own.
        """
        self._check_process()
        key = hashlib.blake2b(repr(settings).encode(), key=self._key, person=b"tag", digest_size=32).digest()
        data = content.detach().cpu().contiguous().view(torch.uint8).numpy().data
        tags = [
            AESGCM(key).encrypt(at.to_bytes(12, "big"), b"", data[at : at + MAX_TAG_BYTES])
            for at in range(0, max(len(data), 1), MAX_TAG_BYTES)
        ]
        return (
            tags[0] if len(tags) == 1 else hashlib.blake2b(b"".join(tags), key=key, digest_size=16).digest()
        )

    @property
    def key_id(self) -> bytes:
        """An identifier of the stream's key, which reveals nothing of its random numbers."""
        return self.derive("name").words(2).tobytes()

    def with_key_from(self, exchange: Callable[[bytes], bytes]) -> "RandomStream":
        """The stream whose key ``exchange`` returns when it is called with this stream's key.

        With a broadcast as ``exchange``, all processes get the stream of the first.
        """
        self._check_process()
        return RandomStream(exchange(self._key), reproducible=self.reproducible)

    def seek(self, index: int) -> None:
        """Move this thread to the start of sub-stream ``index``.

        Use each index once. Using it again is safe only if the same computation is repeated bit for bit (a
        resumed step): the same noise on two different sums cancels in their difference.
        """
        self._start_cipher(index << 64)

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """``count`` random words, uniform in [0, 2^64)."""
        return np.frombuffer(self._bytes(8 * count), dtype="<u8", count=count)

    def normal(self, count: int, dtype: torch.dtype = torch.float64) -> Tensor:
        r"""``count`` standard normal numbers, by the transform of Box and Muller.

        .. math:: (z_1, z_2) = \sqrt{-2 \ln u}\, (\cos \varphi, \sin \varphi)

        Words of 31 bits (float32) or 63 (float64) give u, whose digits are too few near 0 and 1, where the
        radius is largest and smallest; there further words of the stream continue u until 64 digits follow
        its first one, or that of 1 - u. In between, the last digit of u is a share of at most 2^-11 (2^-43)
        of it, and 1 - u is rounded by at most 2^-24 (2^-53), so that neither moves the radius by more than
        2^-14 (2^-42).
        """
        return self._normal(_Workspace(count, dtype))[:count]

    def add_gaussian(self, into: Tensor, std: float, divisor: int = 1) -> None:
        """Add Gaussian noise of standard deviation ``std`` to a flat tensor, and divide, chunk by chunk."""
        size = CHUNK_BYTES // into.element_size()
        work = _Workspace(min(size, len(into)), into.dtype)
        for piece in into.split(size):
            if len(piece) < work.count:
                work = _Workspace(len(piece), into.dtype)
            piece.add_(self._normal(work)[: len(piece)].to(piece.device), alpha=std)
            if divisor != 1:
                piece.mul_(1 / divisor)

    def poisson_sample(self, population: int, expected: int) -> npt.NDArray[np.int64]:
        """Poisson sampling: the indices of a sample, each in with probability ``expected / population``."""
        # floor(expected 2^64 / n) in integers: exact to 2^-64, and never above
        if expected == population:
            return np.arange(population)
        return np.flatnonzero(self.words(population) < np.uint64(expected * WORD_RANGE // population))

    def _normal(self, work: "_Workspace") -> Tensor:
        """Normal numbers in all of ``work``, which are there until it is used again."""
        if not work.count:
            return work.normal
        self._fill(work.bits, len(work.bits))
        # The first half of the words becomes radii, without the sign; the second half becomes angles, with
        # it.
        np.bitwise_and(work.radius_bits, work.most, out=work.radius_bits)
        # Words below 2 * edge stand for both ends of (0, 1), all others for what is between: 2 * edge is the
        # cell next above the edge.
        edge = 1 << (work.width - EDGE_BITS)
        at_edges = np.flatnonzero(work.radius_bits < 2 * edge) if work.radius_bits.min() < 2 * edge else ()
        work.words.copy_(work.integers)
        work.radius.add_(0.5 - edge).mul_(2.0**-work.width).log_().mul_(-2).sqrt_()
        for i in at_edges:
            digits = int(work.radius_bits[i])
            work.radius[i] = self._radius(digits % edge, work.width, near_one=digits >= edge)
        work.angle.mul_(math.pi * 2.0**-work.width)
        torch.cos(work.angle, out=work.cosine)
        torch.sin(work.angle, out=work.sine)
        work.pairs.mul_(work.radius)
        return work.normal

    def _radius(self, digits: int, width: int, *, near_one: bool) -> float:
        """sqrt(-2 ln u) where the first ``width`` binary digits of u, or of 1 - u, are known to be so few
        that more must follow.
        """
        while digits < SIGNIFICANT:
            digits, width = digits << 64 | int(self.words(1)[0]), width + 64
        if near_one:
            return math.sqrt(-2 * math.log1p(-math.ldexp(digits, -width)))
        return math.sqrt(2 * (width * math.log(2) - math.log(digits)))

    def _bytes(self, count: int) -> bytearray:
        """At least ``count`` random bytes."""
        out = bytearray()
        self._fill(out, count)
        return out

    def _start_cipher(self, counter: int) -> None:
        self._place.cipher = self._cipher_at(counter)

    def _cipher_at(self, counter: int) -> Any:
        return Cipher(
            algorithms.AES(self._key), modes.CTR(counter.to_bytes(AES_BLOCK_BYTES, "big"))
        ).encryptor()

    def _fill(self, out: bytearray, count: int) -> None:
        """Put at least so many bytes at the beginning of ``out``."""
        self._check_process()
        blocks = -(-count // AES_BLOCK_BYTES)
        if len(out) < blocks * AES_BLOCK_BYTES:
            out.extend(bytes(blocks * AES_BLOCK_BYTES - len(out)))
        view = memoryview(out)[: blocks * AES_BLOCK_BYTES]
        with self.lock:
            cipher = self._place.cipher or self._common
            for start in range(0, len(view), CHUNK_BYTES):
                piece = view[start : start + CHUNK_BYTES]
                cipher.update_into(ZEROS if len(piece) == CHUNK_BYTES else ZEROS[: len(piece)], piece)

    def _check_process(self) -> None:
        """Raise in a fork of the process that the stream was made in."""
        if self._made_in != (here := PROCESS()):
            raise PrivacyError(
                f"got a stream of batches or noise in process {here[0]} that process {self._made_in[0]} made "
                "before a fork: both would draw the same, and what they release would differ by no noise; "
                "expected each process to have its own: make the PrivacyEngine, and call make_private, "
                "after the fork"
            )


class _HasStream(Protocol):
    """Something that uses a random stream."""

    @property
    def stream(self) -> RandomStream: ...


D = TypeVar("D", bound=_HasStream)


def one_at_a_time(method: Callable[Concatenate[D, P], R]) -> Callable[Concatenate[D, P], R]:
    """Decorate a method so that one thread at a time runs it, and its random numbers belong to one step."""

    @wraps(method)
    def alone(self: D, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.stream.lock:
            return method(self, *args, **kwargs)

    return alone


def seeded_key(seed: int) -> bytes:
    """A key that follows from a seed."""
    return hashlib.blake2b(f"quintain.dp/{seed}".encode(), digest_size=32).digest()
