"""Batches in pieces that fit into memory, under the name that scripts know."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any

from quintain.dp.opacus.refused import refusing
from quintain.dp.sampling.batch_consumer import BatchConsumer
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.sampling.out_of_memory import check_pair

__all__ = ["BatchMemoryManager"]
__getattr__ = refusing(__name__)


class BatchMemoryManager:
    """A context in which batches come as physical batches, and the optimizer steps at the last of each.

    The same as ``max_physical_batch_size`` of the loader, under the name that scripts know. A batch that is
    left half way (``break``) is dropped whole: the next step is on the next batch alone. ``len()`` of the
    manager, and of what ``with`` gives, is the number of pieces that the next iteration yields, so that a
    progress bar ends with it.

    Args:
        data_loader: A private loader.
        max_physical_batch_size: Rows of a piece at most.
        optimizer: The private optimizer that goes with it.

    Raises:
        SettingError: If the two do not belong together.
    """

    def __init__(
        self, *, data_loader: SamplingLoader[Any], max_physical_batch_size: int, optimizer: BatchConsumer
    ) -> None:
        check_pair(data_loader, optimizer)
        self._loader, self._most = data_loader, max_physical_batch_size
        self._before: int | None = None

    def __len__(self) -> int:
        with self:
            return self._loader.physical_batches()

    def __enter__(self) -> "PhysicalBatches":
        self._before, self._loader.max_physical_batch_size = self._loader.max_physical_batch_size, self._most
        return PhysicalBatches(self._loader)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loader.max_physical_batch_size = self._before


class PhysicalBatches:
    """A private loader whose length is its number of physical batches; all else is the loader's own."""

    def __init__(self, loader: SamplingLoader[Any]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return self._loader.physical_batches()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_loader"], name)
