"""Sources of batches: a function of the rows, or the workers and the collation of a user's DataLoader."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, NoReturn, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset, default_collate

from quintain.core.errors import DataError, SettingError
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.sampling.physical_batch import Indices

T_co = TypeVar("T_co", covariant=True)
Item = TypeVar("Item")


class BatchSource(Protocol[T_co]):
    """A source of batches: it makes a batch for each array of rows."""

    def iter_batches(self, rows: Iterator[Indices], first_batch: int) -> Iterator[T_co]:
        """Yield one batch for each array of rows, in order; rows may be prefetched.

        Args:
            rows: Rows of each batch; an empty array gives a batch whose first dimension is 0.
            first_batch: Number of the first of these batches, counted from the first batch of all iterations.
        """


def with_batches(
    loader: "DataLoader[Item]", batches: Iterable[list[int]], generator: torch.Generator
) -> "DataLoader[Item]":
    """A DataLoader with the settings of ``loader`` over other batches; ``generator`` seeds its workers."""
    return DataLoader(
        loader.dataset,
        batch_sampler=batches,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )


class FunctionSource(Generic[T_co]):
    """A batch source that calls a function.

    Args:
        fetch: Makes a batch of an array of rows, which may be empty.
    """

    def __init__(self, fetch: Callable[[Indices], T_co]) -> None:
        self._fetch = fetch

    def iter_batches(self, rows: Iterator[Indices], first_batch: int) -> Iterator[T_co]:  # noqa: ARG002
        return map(self._fetch, rows)


def refuse_to_fetch(rows: Indices) -> NoReturn:
    """Stands for ``fetch`` in a loader that is given another batch source before its first batch."""
    raise AssertionError(f"got {len(rows)} rows before the loader has a batch source")


class DataLoaderSource(Generic[T_co]):
    """A batch source that uses a DataLoader's data set, collation, workers and pinned memory.

    Args:
        loader: The user's loader; its generator and order are not used.
        stream: Gives the workers' seeds, anew for each iteration.
    """

    def __init__(self, loader: "DataLoader[T_co]", stream: RandomStream) -> None:
        self._stream, self._generator, self._rows_sampler = stream, torch.Generator(), _GivenRowsSampler()
        self._inner = with_batches(loader, self._rows_sampler, self._generator)

    def iter_batches(self, rows: Iterator[Indices], first_batch: int) -> Iterator[T_co]:
        """Yield the batches; for an empty one the first record is collated, and cut to no row.

        Raises:
            SettingError: If an iteration is continued after another has begun.
        """
        # the workers fetch ahead: which of the batches that they work on are empty, in order
        is_empty: deque[bool] = deque()

        def indices() -> Iterator[list[int]]:
            for some in rows:
                is_empty.append(not len(some))
                yield some.tolist() or [0]

        self._stream.seek(first_batch)
        self._generator.manual_seed(int(self._stream.words(1)[0] >> np.uint64(1)))
        self._rows_sampler.batches = mine = indices()
        batches = iter(self._inner)
        while True:
            if self._rows_sampler.batches is not mine:
                raise SettingError(
                    "got a second iteration over a private loader inside the first, and its workers serve "
                    "one at a time; expected the second to begin after the step on a whole batch, or, to "
                    "evaluate, a plain loader of its own: DataLoader(dataset, batch_size=...)"
                )
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield empty_batch_like(batch) if is_empty.popleft() else batch


class _GivenRowsSampler(Sampler[list[int]]):
    """A batch sampler whose batches are set before each iteration."""

    batches: Iterator[list[int]] = iter(())

    def __iter__(self) -> Iterator[list[int]]:
        return self.batches


def batch_source_for(loader: "DataLoader[Item]", stream: RandomStream) -> BatchSource[Item]:
    """The batch source for a DataLoader; of a TensorDataset, whole batches are indexed, which is faster.

    Batches have the type of the data set's records, as torch's types say of a DataLoader.
    """
    dataset = loader.dataset
    if type(dataset) is not TensorDataset or loader.collate_fn is not default_collate or loader.num_workers:
        return DataLoaderSource(loader, stream)
    pinned = loader.pin_memory and torch.cuda.is_available()

    def fetch(rows: Indices) -> list[Tensor]:
        batch = [tensor[torch.from_numpy(rows)] for tensor in dataset.tensors]
        return [tensor.pin_memory() for tensor in batch] if pinned else batch

    return cast(BatchSource[Item], FunctionSource(fetch))


def empty_batch_like(batch: Any) -> Any:
    """A batch of the same structure without rows.

    Raises:
        DataError: If it, or a part of it, is neither a tensor, an array, a dict, a list nor a tuple.
    """
    if isinstance(batch, (Tensor, np.ndarray)):
        return batch[:0]
    if isinstance(batch, Mapping):
        return cast(Any, type(batch))({key: empty_batch_like(value) for key, value in batch.items()})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(empty_batch_like, batch))
    if isinstance(batch, (list, tuple)):
        nested = batch and isinstance(batch[0], (Tensor, np.ndarray, Mapping, list, tuple))
        return cast(Any, type(batch))(map(empty_batch_like, batch) if nested else ())
    raise DataError(
        f"got a batch of {type(batch).__name__}, whose empty form is not known; expected tensors, or dicts "
        "and lists of them"
    )
