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

    The batch's pieces so far are dropped, and the loader yields the same rows again from the beginning, half
    as many at a time, now and from then on; nothing is released or counted in between. Random layers draw
    anew. So do not use it in a run that is to be resumed with its key, where a step that is repeated with the
    same noise must be the same, bit for bit.

    Args:
        train_step: Takes what the loader yields; one call ends with ``optimizer.step()``.
        loader: A private loader.
        optimizer: The private optimizer that goes with it.

    Returns:
        A function of the same batch; it gives None for a piece that memory did not suffice for.

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
            most = _halved_limit(loader)
            if most is None:
                raise
        loader.max_physical_batch_size = most
        optimizer.discard_batch()
        loader.rewind_batch()
        release_memory()
        return None

    return try_step


def _halved_limit(loader: SamplingLoader[object]) -> int | None:
    """Half the rows of the current physical batch, or those of its largest unit; None if that is no less."""
    counts, rows = loader.physical_batch.rows_per_unit, len(loader.physical_batch.rows)
    whole = 1 if counts is None or not len(counts) else int(counts.max())
    most = max(rows // 2, whole)
    return most if most < rows else None


def check_pair(loader: object, optimizer: BatchConsumer) -> None:
    """Raise unless the optimizer steps on the batches of the loader."""
    if not isinstance(loader, SamplingLoader) or getattr(optimizer, "loader", None) is not loader:
        raise SettingError(
            f"got a {type(loader).__name__} and a {type(optimizer).__name__} that do not belong together; "
            "expected the loader and the optimizer that one make_private returned"
        )
