"""Batches of given rows: from a function, or by the workers and the collation of a user's DataLoader."""

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
            rows: May hold empty arrays, whose batches have a first dimension of 0.
            first_batch: Index of the first batch among them.
        """


def with_batches(
    loader: "DataLoader[Item]", batches: Iterable[list[int]], generator: torch.Generator
) -> "DataLoader[Item]":
    """A DataLoader like ``loader`` over other batches of rows; ``generator`` seeds its workers."""
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
        fetch: Rows to a batch; must accept none.
    """

    def __init__(self, fetch: Callable[[Indices], T_co]) -> None:
        self._fetch = fetch

    def iter_batches(self, rows: Iterator[Indices], first_batch: int) -> Iterator[T_co]:  # noqa: ARG002
        return map(self._fetch, rows)


def batch_source_follows(rows: Indices) -> NoReturn:
    """In place of a function that makes batches, until the loader is given its batch source."""
    raise AssertionError(f"got {len(rows)} rows before the loader has a batch source")


class DataLoaderSource(Generic[T_co]):
    """A batch source that uses a DataLoader's data set, collation, workers and pinned memory.

    Args:
        loader: What to take over; its generator is not used.
        stream: Where the workers' own seeds come from, one for each iteration.
    """

    def __init__(self, loader: "DataLoader[T_co]", stream: RandomStream) -> None:
        self._stream, self._generator, self._rows_sampler = stream, torch.Generator(), _GivenRowsSampler()
        self._inner = with_batches(loader, self._rows_sampler, self._generator)

    def iter_batches(self, rows: Iterator[Indices], first_batch: int) -> Iterator[T_co]:
        """Yield the batches; an empty one is that of the first record, cut to none.

        Raises:
            SettingError: If an iteration goes on after another has begun.
        """
        empty: deque[bool] = deque()

        def indices() -> Iterator[list[int]]:
            for some in rows:
                empty.append(not len(some))
                yield some.tolist() or [0]

        self._stream.seek(first_batch)
        self._generator.manual_seed(int(self._stream.words(1)[0] >> np.uint64(1)))
        self._rows_sampler.batches = mine = indices()
        batches = iter(self._inner)
        while True:
            if self._rows_sampler.batches is not mine:
                raise SettingError(
                    "got two iterations over one private loader at a time, of which its workers can serve "
                    "one; expected the second after the step on a whole batch, or, to evaluate, over a plain "
                    "loader of its own: DataLoader(dataset, batch_size=...)"
                )
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield empty_batch_like(batch) if empty.popleft() else batch


class _GivenRowsSampler(Sampler[list[int]]):
    """A batch sampler that returns the batches of rows that it is given."""

    batches: Iterator[list[int]] = iter(())

    def __iter__(self) -> Iterator[list[int]]:
        return self.batches


def batch_source_for(loader: "DataLoader[Item]", stream: RandomStream) -> BatchSource[Item]:
    """The batch source for a DataLoader; plain tensors are indexed at once, which is fastest.

    Its batches are typed like the records of the data set, as torch types a DataLoader: collation keeps their
    form.
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
        DataError: If the form is not known.
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
