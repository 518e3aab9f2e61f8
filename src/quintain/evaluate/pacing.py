"""How many examples an attack takes at a time, so that a chunk is finished about every ten seconds.

Random numbers belong to the example, so that the split decides nothing but rounding.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from quintain.core.progress import CHECKPOINT_SECONDS
from quintain.models.memory import is_out_of_memory
from quintain.models.protocol import ClassifierLike

SMALL_BATCH, LARGE_BATCH = 4, 32
"""Batch sizes at which a forward pass is timed."""

STEP_SECONDS = 0.005
"""What an attack itself does in a step, whatever the batch holds: kernels of a few numbers, on the CPU."""

TOLERATED_SLOWDOWN = 0.3
"""How much longer a gradient step on an example may take in the smallest batch than in an endless one."""

FUNCTION_SIZE = 16
"""Smallest batch for a function of which nothing is known."""

REQUEST_SIZE = 64
"""Smallest batch for a model behind an address, where each call costs a round trip."""


@dataclass(slots=True)
class Pace:
    """The measured speed of one attack or certifier, and the batch size that follows from it.

    Args:
        smallest: Smallest batch that uses the machine well.
        seconds: About how long a chunk is to last.

    Attributes:
        seconds_per_example: As of the chunk before; None before the first.
    """

    smallest: int
    seconds: float = CHECKPOINT_SECONDS
    seconds_per_example: float | None = field(default=None, init=False)

    def next_size(self, left: int) -> int:
        """Return how many of the ``left`` examples are taken next; the first time it is a short trial."""
        if self.seconds_per_example is None:
            size = self.smallest
        else:
            size = max(self.smallest, int(self.seconds / max(self.seconds_per_example, 1e-9)))
        # A rest of less than half a chunk is taken along: it would be a small and slow one.
        return left if left <= 1.5 * size else size

    def record(self, count: int, seconds: float) -> None:
        """Note that ``count`` examples took so long; of a small rest this says nothing."""
        if count >= self.smallest:
            self.seconds_per_example = seconds / count


def work_clock(model: ClassifierLike) -> Callable[[], float]:
    """Return a clock for a model's work: processor time of this thread for a net on the CPU, else wall time.

    With processor time, other programs on a busy machine do not make chunks smaller.
    """
    return (
        time.thread_time if model.access == "gradients" and model.device.type == "cpu" else time.perf_counter
    )


def smallest_batch(model: ClassifierLike, x: Tensor, clock: Callable[[], float] | None = None) -> int | None:
    r"""Return the smallest batch in which a step of an attack is hardly slower for an example than in a large
    one.

    With :math:`a + b n` seconds for a forward pass of n examples, a gradient step takes three of them and
    what the attack does itself, so that

    .. math:: 3 (a + b n) + s \le (1 + t)\, 3 b n \iff n \ge \frac{3 a + s}{3 b t}

    None where that is no smaller than half of what there is: batches are not split then, as on an accelerator
    that is not filled, where a call costs about the same whatever it holds. A model of which only outputs are
    seen is not called to find out: its calls may be counted or paid.

    Args:
        model: The model under attack.
        x: Clean inputs (B, *S).
        clock: Seconds of work; ``work_clock`` of the model if not given.
    """
    if model.access != "gradients":
        return REQUEST_SIZE if getattr(model, "cached", False) else FUNCTION_SIZE
    if len(x) < 2 * SMALL_BATCH:
        return SMALL_BATCH
    seconds, many = clock or work_clock(model), min(LARGE_BATCH, len(x))
    few_seconds = _forward_seconds(model, x[:SMALL_BATCH], seconds)
    if few_seconds is None:
        return 1
    many_seconds = _forward_seconds(model, x[:many], seconds)
    if many_seconds is None:
        return SMALL_BATCH
    each = (many_seconds - few_seconds) / (many - SMALL_BATCH)
    if each <= 0:
        return None
    fixed = max(few_seconds - SMALL_BATCH * each, 0.0)
    size = math.ceil((3 * fixed + STEP_SECONDS) / (3 * each * TOLERATED_SLOWDOWN))
    return None if 2 * size > len(x) else max(size, SMALL_BATCH)


def _forward_seconds(model: ClassifierLike, x: Tensor, clock: Callable[[], float]) -> float | None:
    """Return the seconds of a forward pass, None if it does not fit into memory."""
    laps = []
    for _ in range(2):
        start = clock()
        try:
            model(x).cpu()  # waits for an accelerator
        except Exception as error:  # each backend has a class of its own for a lack of memory
            if not is_out_of_memory(error):
                raise
            return None
        laps.append(clock() - start)
    return min(laps)
