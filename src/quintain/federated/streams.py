"""A transport over sockets, such as Unix sockets and pipes between processes: frames, deadlines, no secrets.

A frame is its number, its length and its bytes. A reply carries the number of the message that it answers, so
that one that comes after its deadline is known and discarded, whatever stage it was for. A client that has no
answer, since it refused or failed, sends an empty frame: the server learns that it is silent, without a
reason, and need not wait.
"""

import logging
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress

from quintain.core.errors import ProtocolError
from quintain.federated.round_messages import early_answers
from quintain.federated.transport import Deadlines

_HEAD = struct.Struct(">QQ")
MAX_FRAME = 2**32
CHUNK = 2**20
log = logging.getLogger(__name__)


class StreamTransport:
    """The server's end: one connected stream socket for each site.

    Args:
        sockets: Site index to socket; who has none is silent. They are closed by whoever made them.
        deadlines: How long a site has to train, and to reply.
        max_frame: The largest reply in bytes that is read; a site that sends a larger one is cut off.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        sockets: Mapping[int, socket.socket],
        deadlines: Deadlines | None = None,
        *,
        max_frame: int = MAX_FRAME,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streams = {site: _Stream(one, max_frame) for site, one in sockets.items()}
        self._deadlines = Deadlines() if deadlines is None else deadlines
        self._clock = clock
        self._number = 0

    def broadcast(self, message: bytes, sites: Iterable[int]) -> Mapping[int, bytes]:
        """Send the task of a round; return who is ready within the deadline of training, and its answer."""
        return early_answers(self._arrivals(dict.fromkeys(sites, message), self._deadlines.train))

    def exchange(self, outgoing: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Send each site its message; return what came back within the deadline of a stage."""
        found = dict(self.arrivals(outgoing))
        return {site: found[site] for site in outgoing if site in found}

    def arrivals(self, outgoing: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Send each site its message; yield what comes back within the deadline of a stage, as it comes."""
        return self._arrivals(outgoing, self._deadlines.stage)

    def cancel(self, message: bytes, sites: Iterable[int]) -> None:
        """Tell sites that the round is over; their empty replies are discarded when they come."""
        for _ in self._arrivals(dict.fromkeys(sites, message), 0.0):
            pass

    def _arrivals(self, outgoing: Mapping[int, bytes], seconds: float) -> Iterator[tuple[int, bytes]]:
        self._number += 1
        number, deadline = self._number, self._clock() + seconds
        waiting = {site: self._streams[site] for site in outgoing if site in self._streams}
        with selectors.DefaultSelector() as selector:
            for site, stream in list(waiting.items()):
                stream.put(number, outgoing[site])
                if stream.is_open:
                    selector.register(stream.socket, stream.events, site)
                else:
                    del waiting[site]
            while waiting:
                left = deadline - self._clock()
                for key, events in selector.select(max(0.0, left)):
                    site, stream = key.data, waiting[key.data]
                    replies = [reply for answered, reply in stream.move(events) if answered == number]
                    if replies or not stream.is_open:
                        selector.unregister(stream.socket)
                        del waiting[site]
                    else:
                        selector.modify(stream.socket, stream.events, site)
                    if replies and replies[0]:
                        yield site, replies[0]
                # a last look at what has come; whoever still sends is late
                if left <= 0:
                    break


class _Stream:
    """One socket with what is still to be sent and what has come of the next frame."""

    def __init__(self, one: socket.socket, max_frame: int) -> None:
        self.socket, self.is_open = one, True
        self._max_frame = max_frame
        self._outgoing = bytearray()
        self._incoming = bytearray()
        one.setblocking(False)

    @property
    def events(self) -> int:
        """What the selector is to wait for."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outgoing else 0)

    def put(self, number: int, message: bytes) -> None:
        """Queue a frame; a site that has not taken the last one yet gets no other, and is silent."""
        if not self._outgoing:
            self._outgoing += _HEAD.pack(number, len(message))
            self._outgoing += message

    def move(self, events: int) -> list[tuple[int, bytes]]:
        """Send and receive what is possible now; return the whole frames that have come."""
        try:
            if events & selectors.EVENT_WRITE and self._outgoing:
                del self._outgoing[: self.socket.send(memoryview(self._outgoing)[:CHUNK].tobytes())]
            if events & selectors.EVENT_READ:
                data = self.socket.recv(CHUNK)
                self._incoming += data
                self.is_open = bool(data)
        except BlockingIOError:
            pass
        except OSError:
            self.is_open = False
        return list(self._frames())

    def _frames(self) -> Iterable[tuple[int, bytes]]:
        while len(self._incoming) >= _HEAD.size:
            number, size = _HEAD.unpack_from(self._incoming)
            if size > self._max_frame:
                self.is_open = False
                return
            if len(self._incoming) < _HEAD.size + size:
                return
            yield number, bytes(self._incoming[_HEAD.size : _HEAD.size + size])
            del self._incoming[: _HEAD.size + size]


def serve(
    handle: Callable[[bytes], bytes],
    one: socket.socket,
    *,
    max_frame: int = MAX_FRAME,
    patience: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run a client's end until the server hangs up: read a message, handle it, send the reply.

    Whatever ``handle`` raises goes to the log of this process; the server gets an empty reply, always the
    same.

    Args:
        handle: ``Client.handle``.
        one: A connected stream socket, which blocks.
        max_frame: The largest message in bytes that is read.
        patience: Seconds in which the next message must have come whole, and in which a reply must be taken;
            otherwise this end hangs up. None to wait for ever.
        clock: Seconds that never go back.

    Raises:
        ProtocolError: If the server sends a larger one.
    """

    def read(size: int) -> bytes | None:
        return _read(one, size, None if patience is None else lambda: until - clock())

    with suppress(ConnectionError, TimeoutError):
        while True:
            until = clock() + (patience or 0.0)
            head = read(_HEAD.size)
            if head is None:
                return
            number, size = _HEAD.unpack(head)
            if size > max_frame:
                raise ProtocolError(f"a frame of {size} bytes; expected at most {max_frame}: hang up")
            message = read(size)
            if message is None:
                return
            try:
                reply = handle(message)
            except Exception:  # whatever it is, the server gets the same empty reply, and the log the reason
                log.exception("this site leaves the round")
                reply = b""
            one.settimeout(patience)
            one.sendall(_HEAD.pack(number, len(reply)) + reply)


def _read(one: socket.socket, size: int, left: Callable[[], float] | None = None) -> bytes | None:
    """So many bytes; None if the other end hangs up before.

    Args:
        one: The socket.
        size: How many.
        left: How many seconds are left for them; None where there is no end.

    Raises:
        TimeoutError: If they have not come by then.
    """
    parts = bytearray()
    while len(parts) < size:
        if left is not None:
            seconds = left()
            if seconds <= 0:
                raise TimeoutError
            one.settimeout(seconds)
        data = one.recv(min(CHUNK, size - len(parts)))
        if not data:
            return None
        parts += data
    return bytes(parts)
