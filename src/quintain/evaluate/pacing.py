"""How many examples an attack takes at a time, so that a chunk is finished about every ten seconds.

Random numbers belong to the example, so that the split decides nothing but rounding.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from quintain.core.progress import CHECKPOINT_SECONDS
from quintain.models.memory import is_out_of_memory
from quintain.models.protocol import ClassifierLike

TRIAL_SIZES = (4, 16, 64)
"""Batch sizes that are timed to find the smallest one that is not much slower for an example."""

TOLERATED_SLOWDOWN = 1.3
"""Time for an example in a small batch, relative to that in the largest one that is timed."""

REQUEST_SIZE = 64
"""Smallest batch for a model behind an address, where each call costs a round trip."""


@dataclass(slots=True)
class Pace:
    """The measured speed of one attack, and the batch size that follows from it.

    Args:
        smallest: Smallest batch that uses the machine well.
        seconds: About how long a chunk is to last.
    """

    smallest: int
    seconds: float = CHECKPOINT_SECONDS
    _seconds_per_example: float | None = field(default=None, init=False)

    def next_size(self, left: int) -> int:
        """Return how many of the ``left`` examples are attacked next; the first time it is a short trial."""
        if self._seconds_per_example is None:
            size = self.smallest
        else:
            size = max(self.smallest, int(self.seconds / max(self._seconds_per_example, 1e-9)))
        # A rest of less than half a chunk is taken along: it would be a small and slow one.
        return left if left <= 1.5 * size else size

    def record(self, count: int, seconds: float) -> None:
        """Note that ``count`` examples took so long; of a small rest this says nothing."""
        if count >= self.smallest:
            self._seconds_per_example = seconds / count


def smallest_batch(
    model: ClassifierLike, x: Tensor, clock: Callable[[], float] = time.perf_counter
) -> int | None:
    """Return the smallest batch in which an example takes hardly longer than in a large one.

    None where batches cannot be split without a loss: a call costs about the same whatever it holds, as on an
    accelerator that is not filled.

    A model of which only outputs are seen is not called for that: its calls may be counted or paid.

    Args:
        model: The model under attack.
        x: Clean inputs (B, *S).
        clock: Seconds; injected in tests.
    """
    if model.access != "gradients":
        return REQUEST_SIZE if getattr(model, "cached", False) else TRIAL_SIZES[1]
    sizes = [size for size in TRIAL_SIZES if size <= len(x)]
    if not sizes:
        return TRIAL_SIZES[0]
    times = {}
    for size in sizes:
        try:
            laps = [_lap(model, x[:size], clock) for _ in range(2)]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        times[size] = min(laps) / size
    if not times:
        return 1
    sizes = list(times)
    largest = sizes[-1]
    fit = next(size for size in sizes if times[size] <= TOLERATED_SLOWDOWN * times[largest])
    # Four times the examples in less than twice the time: larger batches still pay.
    if len(sizes) > 1 and fit == largest and times[sizes[-2]] > 2 * times[largest]:
        return None
    return fit


def _lap(model: ClassifierLike, x: Tensor, clock: Callable[[], float]) -> float:
    """Return the seconds of one call."""
    start = clock()
    model(x).cpu()  # waits for an accelerator
    return clock() - start
