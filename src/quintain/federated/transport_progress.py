"""Progress of a server's rounds, a line for each stage: who is late or silent, bytes, seconds."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from quintain.federated.reports import ServerReport
from quintain.federated.secagg.messages import MessageType
from quintain.federated.transport import StreamingExchange, Transport


class TransportProgress:
    """A transport that carries one round by another one, and tells each stage when it is over.

    Args:
        inner: What carries the messages.
        names: The sites' names, in the roster's order.
        replies: What the replies of the aggregation stand for, in order (``Aggregation.replies``).
        say: Gets one line at a time.
        clock: Seconds that never go back.

    Attributes:
        silent: Sites that did not reply in time to something in the round.
    """

    def __init__(
        self,
        inner: Transport,
        names: Sequence[str],
        replies: Sequence[MessageType],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner, self._names, self._say, self._clock = inner, tuple(names), say, clock
        self._replies = iter(replies)
        self.silent: set[int] = set()

    def broadcast(self, message: bytes, sites: Iterable[int]) -> Mapping[int, bytes]:
        """Send the task of the round, and tell who is ready."""
        recipients = tuple(sites)
        self._say(f"training: the task goes to {_join_names(self._names[site] for site in recipients)}")
        started = self._clock()
        ready = self._inner.broadcast(message, recipients)
        self._tell("training", recipients, ready, len(message) * len(recipients), 0, started)
        early = {site: answer for site, answer in ready.items() if answer}
        if early:
            stage = next(self._replies).name.lower()
            self._tell(stage, ready, early, 0, sum(map(len, early.values())), self._clock())
        return ready

    def exchange(self, outgoing: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Carry the messages of a stage, and tell who has replied."""
        return dict(self.arrivals(outgoing))

    def arrivals(self, outgoing: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Carry the messages of a stage; yield the replies as they come, where the transport can."""
        stage = next(self._replies).name.lower()
        started, uploaded, repliers = self._clock(), 0, set()
        inner = self._inner
        if isinstance(inner, StreamingExchange):
            replies = inner.arrivals(outgoing)
        else:
            replies = iter(inner.exchange(outgoing).items())
        for site, reply in replies:
            repliers.add(site)
            uploaded += len(reply)
            yield site, reply
        sent = sum(map(len, outgoing.values()))
        self._tell(stage, outgoing, repliers, sent, uploaded, started)

    def cancel(self, message: bytes, sites: Iterable[int]) -> None:
        """Tell sites that the round is over."""
        self._inner.cancel(message, sites)

    def _tell(
        self,
        stage: str,
        recipients: Iterable[int],
        repliers: Iterable[int],
        down: int,
        up: int,
        started: float,
    ) -> None:
        there = set(repliers)
        missing = [site for site in recipients if site not in there]
        self.silent.update(missing)
        late = f", late or silent: {_join_names(self._names[site] for site in missing)}" if missing else ""
        seconds = self._clock() - started
        self._say(
            f"{stage}: {len(there)} of {len(there) + len(missing)} sites{late}; {_size(down)} down, "
            f"{_size(up)} up, {seconds:.1f} s"
        )


def report_text(report: ServerReport) -> str:
    """Return the outcome of a round in one line."""
    if report.abort_reason:
        return f"abandoned, the model is as it was: {report.abort_reason}"
    refused = "".join(f"; {name} left out: {why}" for name, why in report.refused.items())
    return (
        f"the sum of {_join_names(report.survivors)}; dropped out: {_join_names(report.dropped)}; "
        f"{report.seconds:.1f} s{refused}"
    )


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(names) or "nobody"


def _size(num_bytes: int) -> str:
    """Bytes with a unit that leaves few digits."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} B"
