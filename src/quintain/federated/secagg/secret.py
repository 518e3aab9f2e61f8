"""Secrets that can be used once, are erased by that use, and never show."""

from collections.abc import Mapping
from typing import Generic, NoReturn, Self, TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from quintain.core.errors import ProtocolError

T = TypeVar("T")

_ZEROS = bytes(2**16)


def wipe(buffer: bytearray) -> None:
    """Overwrite a buffer with zeros: best effort, since Python may have made copies."""
    whole = memoryview(buffer)
    for start in range(0, len(buffer), len(_ZEROS)):
        part = whole[start : start + len(_ZEROS)]
        part[:] = _ZEROS[: len(part)]


class SingleUse(Generic[T]):
    """Something that is used once: taking it leaves this empty, and nobody sees, copies or pickles it.

    An old state can then not be run a second time.
    """

    __slots__ = ("_content",)

    def __init__(self, content: T) -> None:
        self._content: T | None = content

    def peek(self) -> T:
        """The content, still held.

        Raises:
            ProtocolError: If it was taken or erased.
        """
        if self._content is None:
            raise ProtocolError(
                "this step was taken before and its secrets are erased; a step is taken once: start a new "
                "round"
            )
        return self._content

    def take(self) -> T:
        """The content, no longer held here.

        Raises:
            ProtocolError: If it was taken or erased.
        """
        taken, self._content = self.peek(), None
        return taken

    def move(self) -> Self:
        """The same content in a new object; this one is empty afterwards."""
        # not by the class's own call, which may make a copy that nobody overwrites
        moved = type(self).__new__(type(self))
        moved._content = self.take()
        return moved

    def erase(self) -> None:
        """Let the content go."""
        self._content = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'erased' if self._content is None else 'hidden'})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not copied or pickled")


class Secret(SingleUse[bytearray]):
    """Bytes that are overwritten when they are erased.

    Args:
        content: The bytes, of which it holds a copy.
    """

    __slots__ = ()

    def __init__(self, content: bytes | bytearray | memoryview) -> None:
        super().__init__(bytearray(content))

    def erase(self) -> None:
        """Overwrite and forget."""
        if self._content is not None:
            wipe(self._content)
        super().erase()


class HeldVector(SingleUse[NDArray[np.uint32]]):
    """A vector, which is no copy: its site keeps it until the model moves."""

    __slots__ = ()


class LoadedKeys(SingleUse[Mapping[int, X25519PrivateKey]]):
    """Private keys by peer, loaded for the two uses that a step and the next one have of each.

    The library overwrites them when they are let go.
    """

    __slots__ = ()
