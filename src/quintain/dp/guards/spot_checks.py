"""Spot checks: the first passes and random later ones, which nobody can predict without the run's key."""

from collections import deque

from quintain.dp.randomness.stream import RandomStream

FIRST_PASSES = 3
ONE_IN = 64
DRAWN_AHEAD = 256


class SpotChecks:
    """Says for each pass whether it is checked in full.

    Args:
        stream: Of the run, for this purpose alone: under a seed the same passes are chosen again.
    """

    def __init__(self, stream: RandomStream) -> None:
        self._stream, self._passes = stream, 0
        self._ahead: deque[bool] = deque()

    def __call__(self) -> bool:
        self._passes += 1
        if self._passes <= FIRST_PASSES:
            return True
        if not self._ahead:
            self._ahead.extend((self._stream.words(DRAWN_AHEAD) % ONE_IN == 0).tolist())
        return self._ahead.popleft()
