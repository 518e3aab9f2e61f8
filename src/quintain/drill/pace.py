"""How long a drill's steps take by the clock beside what was estimated for them, as steps tell it."""

from dataclasses import dataclass, field

PRIOR = 0.05
"""Of the whole time: so much counts as if it had been estimated rightly, since short steps say little."""

MAX_CORRECTION = 3.0
"""Estimates are made so many times longer or shorter at most."""

HALF_LIFE = 0.02
"""Of the whole time: after so much of it, half of how busy the machine was before is forgotten."""


@dataclass
class DrillPace:
    r"""Seconds by the clock for each second of processor time that a step is estimated to need.

    .. math:: \text{pace} = \text{slowdown} \cdot \text{correction}

    The slowdown is the time that passes while this process gets a second of a processor, at least 1. It
    follows the machine, which other programs may load at any moment. The correction is the processor time of
    the steps so far over their estimates, and says how good these are, whatever the load.

    Args:
        seconds: The whole time of the drill.

    Attributes:
        slowdown: As of the last load that was noted; 1 before.
    """

    seconds: float
    slowdown: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        self.forget_estimates()

    @property
    def correction(self) -> float:
        """How many times as much processor time as estimated the steps took."""
        return min(max(self._worked / self._estimated, 1 / MAX_CORRECTION), MAX_CORRECTION)

    def __float__(self) -> float:
        return self.slowdown * self.correction

    def forget_estimates(self) -> None:
        """Forget how good the estimates were, where others take their place."""
        self._estimated = self._worked = PRIOR * self.seconds

    def note_load(self, taken: float, worked: float, *, is_trial: bool = False) -> None:
        """Take note of how busy the machine was.

        Args:
            taken: Seconds by the clock.
            worked: Processor time of this thread in them.
            is_trial: Whether these are trials of all kinds of work, after which nothing older counts.
        """
        if taken <= 0 or worked <= 0:
            return
        kept = 0.0 if is_trial else 0.5 ** (taken / (HALF_LIFE * self.seconds))
        self.slowdown = kept * self.slowdown + (1 - kept) * slowdown(taken, worked)

    def note_step(self, estimated: float, worked: float, *, at_most: bool) -> None:
        """Take note of the processor time of a step.

        Args:
            estimated: Estimate of it.
            worked: What the step took.
            at_most: Whether the estimate is of the most that it may take: less says nothing of it.
        """
        if at_most and worked < self.correction * estimated:
            return
        self._estimated += estimated
        self._worked += worked


def slowdown(taken: float, worked: float) -> float:
    """Return how many seconds pass for each of processor time, 1 where none was measured."""
    return max(taken / worked, 1.0) if worked > 0 else 1.0
