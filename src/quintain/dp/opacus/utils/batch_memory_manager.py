"""Batches cut into physical batches that fit into memory, under the name that Opacus gives it."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from quintain.core.limits import require_at_least
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.sampling.batch_consumer import BatchConsumer
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.sampling.out_of_memory import check_pair

__all__ = ["BatchMemoryManager"]
__getattr__ = missing_name_getattr(__name__)


class BatchMemoryManager:
    """A context in which batches come as physical batches, and the optimizer steps at the last one of each.

    It sets ``max_physical_batch_size`` of the loader, and on leaving sets it back. If a loop leaves a batch
    before its last physical batch (``break``), the whole batch is dropped: the next step is on the next batch
    alone. ``len()`` of the manager, and of what ``with`` gives, is the number of physical batches that the
    next iteration yields, so that a progress bar ends with it.

    Args:
        data_loader: A private loader.
        max_physical_batch_size: Maximum rows of a physical batch.
        optimizer: The private optimizer that steps on the loader's batches.

    Raises:
        SettingError: If the optimizer does not step on this loader's batches, or
            ``max_physical_batch_size`` is no whole number of at least 1.
    """

    def __init__(
        self, *, data_loader: SamplingLoader[Any], max_physical_batch_size: int, optimizer: BatchConsumer
    ) -> None:
        check_pair(data_loader, optimizer)
        require_at_least(1, max_physical_batch_size=max_physical_batch_size)
        self._loader, self._max_size = data_loader, max_physical_batch_size
        self._size_before: int | None = None

    def __len__(self) -> int:
        size_before = self._loader.max_physical_batch_size
        self._loader.max_physical_batch_size = self._max_size
        try:
            return self._loader.num_physical_batches()
        finally:
            self._loader.max_physical_batch_size = size_before

    def __enter__(self) -> "PhysicalBatches":
        self._size_before = self._loader.max_physical_batch_size
        self._loader.max_physical_batch_size = self._max_size
        return PhysicalBatches(self._loader)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loader.max_physical_batch_size = self._size_before


class PhysicalBatches:
    """A private loader whose length is its number of physical batches; all else is the loader's own."""

    def __init__(self, loader: SamplingLoader[Any]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return self._loader.num_physical_batches()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_loader"], name)
