"""Two pieces of work timed in turn, A B A B, so that a machine that drifts drifts under both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimedComparison:
    """What a comparison found.

    Args:
        name: What was compared.
        ours, peer: Seconds of each round.
        notes: What the two gave, such as accuracies: a faster wrong answer is no win.
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

        def three(values: tuple[float, ...], form: str) -> str:
            return " / ".join(
                format(value, form) for value in (min(values), statistics.median(values), max(values))
            )

        return (
            f"{self.name}: peer/ours {three(self.ratios, '.2f')} (min / median / max of {len(self.ratios)}); "
            f"ours {three(self.ours, '.3f')} s, peer {three(self.peer, '.3f')} "
            f"s{f'; {self.notes}' if self.notes else ''}"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison that is more than two times.

    Args:
        name: What was compared.
        text: What was found.
    """

    name: str
    text: str

    def line(self) -> str:
        """One line."""
        return f"{self.name}: {self.text}"


def compare_times(
    name: str, ours: Callable[[], object], peer: Callable[[], object], *, rounds: int = 5, notes: str = ""
) -> TimedComparison:
    """Time two pieces of work in turn, after one round of each that is not counted."""
    ours()
    peer()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, spent in zip((ours, peer), times, strict=True):
            clock = time.perf_counter()
            work()
            spent.append(time.perf_counter() - clock)
    return TimedComparison(name, tuple(times[0]), tuple(times[1]), notes)
