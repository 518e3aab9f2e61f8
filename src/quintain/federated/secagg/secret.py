"""A secret that can be used once, is erased by that use, and never shows."""

from collections.abc import Mapping
from typing import NoReturn

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from quintain.core.errors import ProtocolError

_ZEROS = bytes(2**16)


def wipe(buffer: bytearray) -> None:
    """Overwrite a buffer with zeros: best effort, since Python may have made copies."""
    whole = memoryview(buffer)
    for start in range(0, len(buffer), len(_ZEROS)):
        part = whole[start : start + len(_ZEROS)]
        part[:] = _ZEROS[: len(part)]


class Secret:
    """Bytes that move: whoever takes them leaves the holder empty.

    An old state can then not be run a second time.
    """

    __slots__ = ("_bytes",)

    def __init__(self, content: bytes | bytearray | memoryview) -> None:
        self._bytes: bytearray | None = bytearray(content)

    def peek(self) -> bytearray:
        """The bytes, still held.

        Raises:
            ProtocolError: If they were taken or erased.
        """
        if self._bytes is None:
            raise _taken()
        return self._bytes

    def take(self) -> bytearray:
        """The bytes, no longer held here.

        Raises:
            ProtocolError: If they were taken or erased.
        """
        taken, self._bytes = self.peek(), None
        return taken

    def move(self) -> "Secret":
        """The same bytes in a new holder; this one is empty afterwards."""
        moved = Secret(b"")
        moved._bytes = self.take()
        return moved

    def erase(self) -> None:
        """Overwrite and forget."""
        if self._bytes is not None:
            wipe(self._bytes)
            self._bytes = None

    def __repr__(self) -> str:
        return "Secret(erased)" if self._bytes is None else "Secret(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not copied or pickled")


class HeldVector:
    """A vector that moves as a ``Secret`` does, but is no copy: its site keeps it until the model moves."""

    __slots__ = ("_vector",)

    def __init__(self, vector: NDArray[np.uint32]) -> None:
        self._vector: NDArray[np.uint32] | None = vector

    def peek(self) -> NDArray[np.uint32]:
        """The vector, still held.

        Raises:
            ProtocolError: If it was taken or let go.
        """
        if self._vector is None:
            raise _taken()
        return self._vector

    def take(self) -> NDArray[np.uint32]:
        """The vector, no longer held here.

        Raises:
            ProtocolError: If it was taken or let go.
        """
        taken, self._vector = self.peek(), None
        return taken

    def move(self) -> "HeldVector":
        """The same vector in a new holder; this one is empty afterwards."""
        return HeldVector(self.take())

    def erase(self) -> None:
        """Let the vector go."""
        self._vector = None

    def __repr__(self) -> str:
        return "HeldVector(erased)" if self._vector is None else "HeldVector(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not copied or pickled")


class LoadedKeys:
    """Private keys by peer, loaded for the two uses that a step and the next one have of each.

    The library overwrites them when they are let go.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[int, X25519PrivateKey]) -> None:
        self._keys: Mapping[int, X25519PrivateKey] | None = keys

    def peek(self) -> Mapping[int, X25519PrivateKey]:
        """The keys, still held.

        Raises:
            ProtocolError: If they were erased.
        """
        if self._keys is None:
            raise _taken()
        return self._keys

    def erase(self) -> None:
        """Let the keys go."""
        self._keys = None

    def __repr__(self) -> str:
        return "LoadedKeys(erased)" if self._keys is None else "LoadedKeys(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not copied or pickled")


def _taken() -> ProtocolError:
    return ProtocolError(
        "this step was taken before and its secrets are erased; a step is taken once: start a new round"
    )
