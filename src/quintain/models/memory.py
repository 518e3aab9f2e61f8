"""Memory for batches: those that do not fit are taken in halves, and freed memory is kept for the next."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

import torch

from quintain.core.errors import ExecutionError

Result = TypeVar("Result")

ALLOCATION_FAILED = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "failed to allocate memory",
    "bad_alloc",
)
"""What accelerators, PyTorch's allocator on the CPU and onnxruntime say, in lower case."""

LARGEST_KEPT_BLOCK = 31 * 2**20
"""Bytes; glibc raises its thresholds up to 32 MiB."""


@dataclass(slots=True)
class MemoryLog:
    """The batches that did not fit into memory while something ran.

    Args:
        batch_sizes: For each kind of work, how many examples were taken at a time at first, and how many
            then.
        left_out: For each kind of work that rests on fewer examples, on how many it was to, and does.
    """

    batch_sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    left_out: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind of work."""
        return (
            *(
                f"{work}: memory did not suffice for {first} examples at a time; {last} at a time were "
                "taken, which changes nothing but rounding"
                for work, (first, last) in self.batch_sizes.items()
            ),
            *(
                f"{work}: memory did not suffice for {first} examples together; they rest on {last} of them"
                for work, (first, last) in self.left_out.items()
            ),
        )


_current: ContextVar[MemoryLog | None] = ContextVar("memory_log", default=None)


@contextmanager
def memory_log() -> Iterator[MemoryLog]:
    """Keep account, within a ``with`` block, of the batches that do not fit into memory."""
    log = MemoryLog()
    token = _current.set(log)
    try:
        yield log
    finally:
        _current.reset(token)


def in_fitting_parts(run: Callable[[slice], Result], count: int, *, work: str) -> Iterator[Result]:
    """Run on ``count`` examples at once; where memory runs out, on halves of them, and on halves of these.

    Within a ``memory_log`` the size that did not fit is not tried again for the same kind of work.

    Args:
        run: Takes a slice of the examples, and depends on each of them alone.
        count: How many there are.
        work: The kind of work, as it is named in notes.

    Yields:
        What it returns for each part, in order.

    Raises:
        ExecutionError: If memory does not suffice for one example.
    """
    log = _current.get() or MemoryLog()
    start, size = 0, min(count, log.batch_sizes.get(work, (count, count))[1])
    while start < count:
        part = slice(start, min(start + size, count))
        found = _try_run(run, part, work)
        if found is None:
            taken = part.stop - part.start
            size = (taken + 1) // 2
            log.batch_sizes[work] = (log.batch_sizes.get(work, (taken, taken))[0], size)
            continue
        yield found[0]
        start = part.stop


def largest_fitting_part(run: Callable[[slice], Result], count: int, *, work: str) -> Result:
    """Run on the first ``count`` examples; where memory runs out, on the first half of them, and so on.

    Args:
        run, work: As for ``in_fitting_parts``; what is run rests on several examples together.
        count: How many there are, at least 1.

    Raises:
        ExecutionError: If memory does not suffice for one example.
    """
    size = count
    while (found := _try_run(run, slice(0, size), work)) is None:
        size = (size + 1) // 2
    if size < count and (log := _current.get()) is not None:
        log.left_out[work] = (count, size)
    return found[0]


def _try_run(run: Callable[[slice], Result], part: slice, work: str) -> tuple[Result] | None:
    """Run on some examples, and return the result in a tuple; None if memory ran out and fewer can be tried.

    Raises:
        ExecutionError: If memory ran out on a single example.
    """
    try:
        return (run(part),)
    except Exception as error:  # each backend has a class of its own for a lack of memory
        if not is_out_of_memory(error):
            raise
        if part.stop - part.start == 1:
            message = next(iter(str(error).splitlines()), "")
            raise ExecutionError(
                f"{work}: memory does not suffice for a single example; give a smaller model, or a device "
                f"with more memory (--device cpu). What failed: {type(error).__name__}"
                + (f": {message}" if message else "")
            ) from error
    # Only outside of the handler are the tensors of the failed run free to go.
    release_memory()
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that memory ran out, an accelerator's or the computer's."""
    error_text = str(error).lower()
    # the errors of onnxruntime have no base but Exception, so that it need not be imported to know them
    is_of_runtime = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime.")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        is_of_runtime and any(words in error_text for words in ALLOCATION_FAILED)
    )


def release_memory() -> None:
    """Give memory that PyTorch holds for later, but does not use, back to the accelerator."""
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator()
        empty_cache = getattr(torch.get_device_module(device), "empty_cache", None)
        if empty_cache is not None:
            empty_cache()


@cache
def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next batch, once for the whole process.

    glibc gives the activations of a batch back to the system after each forward pass, and fetches the same
    pages, zeroed, for the next one: measured, this took a fifth to a half of the time of small nets on the
    CPU. Its thresholds rise with the largest block of up to 32 MiB that was ever freed (``mallopt(3)``,
    ``M_MMAP_THRESHOLD``), so one such block, which is never written to, is freed here; at most 64 MiB then
    stay with the process. Other C libraries are left as they are.
    """
    torch.empty(LARGEST_KEPT_BLOCK, dtype=torch.uint8)
