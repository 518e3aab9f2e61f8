"""Batches that do not fit into memory are repeated in physical batches half as large."""

from collections.abc import Callable
from typing import Any, TypeVar

from quintain.core.errors import SettingError
from quintain.dp.sampling.batch_consumer import BatchConsumer
from quintain.dp.sampling.loader import SamplingLoader
from quintain.models.memory import is_out_of_memory, release_memory

Result = TypeVar("Result")


def retry_on_out_of_memory(
    train_step: Callable[[Any], Result], *, loader: SamplingLoader[object], optimizer: BatchConsumer
) -> Callable[[Any], Result | None]:
    """Wrap ``train_step`` so that it repeats a batch in smaller physical batches when memory runs out.

    ::

        train = retry_on_out_of_memory(train, loader=loader, optimizer=optimizer)
        for batch in loader:
            train(batch)                   # zero_grad, forward, backward, step

    The physical batches so far are dropped, and the loader yields the same rows again from the beginning;
    from then on physical batches are half as large. Nothing is released or counted in between. Random layers
    draw other numbers, so do not use it in a run that is to be resumed with its key: there, a step that is
    repeated with the same noise must be the same, bit for bit.

    Args:
        train_step: Takes what the loader yields; one call ends with ``optimizer.step()``.
        loader: A private loader.
        optimizer: The private optimizer that goes with it.

    Returns:
        A function of the same batch; it returns None for a physical batch that did not fit into memory.

    Raises:
        SettingError: If the two do not belong together.
    """
    check_pair(loader, optimizer)

    def try_step(batch: Any) -> Result | None:
        try:
            return train_step(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error) or optimizer.batch_is_consumed:
                raise
            limit = _halve_limit(loader)
            if limit is None:
                raise
        loader.max_physical_batch_size = limit
        optimizer.discard_batch()
        loader.rewind_batch()
        release_memory()
        return None

    return try_step


def _halve_limit(loader: SamplingLoader[object]) -> int | None:
    """Return half the rows of the current physical batch, at least those of its largest privacy unit.

    None if that is not smaller.
    """
    counts, rows = loader.physical_batch.rows_per_unit, len(loader.physical_batch.rows)
    largest_unit = 1 if counts is None or not len(counts) else int(counts.max())
    limit = max(rows // 2, largest_unit)
    return limit if limit < rows else None


def check_pair(loader: object, optimizer: BatchConsumer) -> None:
    """Raise unless the optimizer steps on the batches of the loader."""
    if not isinstance(loader, SamplingLoader) or getattr(optimizer, "loader", None) is not loader:
        raise SettingError(
            f"got a {type(loader).__name__} and a {type(optimizer).__name__} that do not belong together; "
            "expected the loader and the optimizer that one make_private returned"
        )
