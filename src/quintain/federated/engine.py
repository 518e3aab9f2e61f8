"""What carries the messages of a simulation: calls in this process, or the engine of a framework."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

Handle = Callable[[bytes], bytes]
"""``Client.handle`` of one site."""
Carry = Callable[[Mapping[int, bytes]], Iterator[tuple[int, bytes | Exception]]]
"""Brings some sites, by index, a message each; yields each site's reply, or what it has raised."""
Result = TypeVar("Result")


class Engine(Protocol):
    """An engine runs the work of a server whose messages it carries to the sites."""

    def __call__(self, handles: Sequence[Handle], work: Callable[[Carry], Result]) -> Result:
        """Return what the work returns.

        Args:
            handles: Of each site, in the roster's order. No two of them are ever called at once.
            work: Gets what carries its messages.
        """


def local_engine(handles: Sequence[Handle], work: Callable[[Carry], Result]) -> Result:
    """Call the sites one after the other, each when the reply of the one before is dealt with."""

    def carry(outgoing: Mapping[int, bytes]) -> Iterator[tuple[int, bytes | Exception]]:
        for site, message in outgoing.items():
            reply: bytes | Exception
            try:
                reply = handles[site](message)
            except Exception as error:  # an error of one site is its reply, as over a network
                reply = error
            yield site, reply

    return work(carry)
