"""Time two pieces of work in turn, A B A B, so that a machine whose speed drifts slows both alike."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimedComparison:
    """The seconds of both sides of a comparison.

    Args:
        name: What was compared.
        ours, peer: Seconds of each round.
        notes: Results of the two, such as accuracies: a faster wrong result is no gain.
    """

    name: str
    ours: tuple[float, ...]
    peer: tuple[float, ...]
    notes: str = ""

    @property
    def ratios(self) -> tuple[float, ...]:
        """Peer's time over ours, round by round: above 1, ours is faster."""
        return tuple(peer / ours for ours, peer in zip(self.ours, self.peer, strict=True))

    def line(self) -> str:
        """One line with minimum, median and maximum."""

        def summary(values: tuple[float, ...], spec: str) -> str:
            return " / ".join(
                format(value, spec) for value in (min(values), statistics.median(values), max(values))
            )

        return (
            f"{self.name}: peer/ours {summary(self.ratios, '.2f')} "
            f"(min / median / max of {len(self.ratios)}); "
            f"ours {summary(self.ours, '.3f')} s, peer {summary(self.peer, '.3f')} "
            f"s{f'; {self.notes}' if self.notes else ''}"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of more than two times.

    Args:
        name: What was compared.
        text: The result in words.
    """

    name: str
    text: str

    def line(self) -> str:
        """One line."""
        return f"{self.name}: {self.text}"


def compare_times(
    name: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    rounds: int = 5,
    notes: str = "",
    clock: Callable[[], float] = time.perf_counter,
) -> TimedComparison:
    """Time two pieces of work in turn, after a warm-up round of each.

    Args:
        name, notes: As of ``TimedComparison``.
        ours, peer: The work.
        rounds: How often each is timed.
        clock: ``time.process_time`` on a machine that others use, too.
    """
    ours()
    peer()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, seconds in zip((ours, peer), times, strict=True):
            start = clock()
            work()
            seconds.append(clock() - start)
    return TimedComparison(name, tuple(times[0]), tuple(times[1]), notes)
