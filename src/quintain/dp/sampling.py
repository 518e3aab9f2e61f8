"""Poisson sampling: each step holds each record with the same probability, by itself."""

from collections.abc import Callable, Iterator, Sized
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, TensorDataset

from quintain.core.errors import DataError, SettingError
from quintain.dp.noise import Stream


class PoissonLoader:
    r"""Batches in which each of ``records`` takes part with probability ``expected_batch_size / records``, independently.

    .. math:: q = b / n, \qquad |B_t| \sim \mathrm{Bin}(n, q)

    The size of a batch is random and private; the constants below are public, integers kept exact. An empty batch is a batch: it is
    yielded with a first dimension of 0, and its step, pure noise, counts like any other.

    Args:
        fetch: Rows (int64 indices) to a batch; must accept none.
        records: n, taken as public.
        expected_batch_size: b, between 1 and n: also what the sum of gradients is divided by.
        steps_per_epoch: Batches of one iteration over the loader.
        stream: Where the draws come from.

    Raises:
        SettingError: If the constants do not fit together.
        DataError: If there are no records.
    """

    def __init__(
        self,
        fetch: Callable[[npt.NDArray[np.int64]], Any],
        *,
        records: int,
        expected_batch_size: int,
        steps_per_epoch: int,
        stream: Stream,
    ) -> None:
        if records < 1:
            raise DataError("got an empty data set; expected at least one record")
        if not 1 <= expected_batch_size <= records:
            raise SettingError(
                f"got an expected batch of {expected_batch_size} out of {records} records; expected 1 to {records}: lower the batch size"
            )
        if steps_per_epoch < 1:
            raise SettingError(f"got {steps_per_epoch} steps an epoch; expected at least one (drop_last=True drops the only batch?)")
        self.records = records
        self.expected_batch_size = expected_batch_size
        self.steps_per_epoch = steps_per_epoch
        self.draws = 0
        self.size = 0
        self.stream = stream
        self._fetch = fetch

    @classmethod
    def like(cls, loader: "DataLoader[Any]", stream: Stream) -> "PoissonLoader":
        """The private twin of an ordinary loader: its data, collation, batch size (now the expected one) and length; no workers.

        Raises:
            SettingError: If it is no DataLoader, streams, or has a sampler of its own or no batch size.
        """
        if not isinstance(loader, DataLoader):
            raise SettingError(f"got a {type(loader).__name__}; expected an ordinary DataLoader, to make the private one from")
        if isinstance(loader.dataset, IterableDataset) or not isinstance(loader.dataset, Sized):
            raise SettingError("got a data set that streams; Poisson sampling draws records by index: expected one with a length")
        if loader.batch_size is None:
            raise SettingError("got a loader without a batch size; expected DataLoader(dataset, batch_size=...), its expected batch")
        if not isinstance(loader.sampler, (RandomSampler, SequentialSampler)):
            raise SettingError(
                f"got a loader with a {type(loader.sampler).__name__}, which Poisson sampling replaces; expected none: "
                "for a part of the data, use torch.utils.data.Subset(dataset, rows)"
            )
        if not len(loader.dataset):
            raise DataError("got an empty data set; expected at least one record")
        return cls(
            _fetcher(loader),
            records=len(loader.dataset),
            expected_batch_size=loader.batch_size,
            steps_per_epoch=len(loader),
            stream=stream,
        )

    @property
    def sample_rate(self) -> float:
        """q, the probability that a record is in a batch."""
        return self.expected_batch_size / self.records

    def __len__(self) -> int:
        return self.steps_per_epoch

    def draw(self) -> npt.NDArray[np.int64]:
        """The rows of the next batch."""
        self.stream.seek(self.draws)
        rows = self.stream.chosen(self.records, self.expected_batch_size)
        self.draws, self.size = self.draws + 1, len(rows)
        return rows

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.steps_per_epoch):
            yield self._fetch(self.draw())


def _fetcher(loader: "DataLoader[Any]") -> Callable[[npt.NDArray[np.int64]], Any]:
    """How a loader makes a batch of given rows; of none, an empty batch in the form of its first record's."""
    dataset, collate = loader.dataset, loader.collate_fn

    def fetch(rows: npt.NDArray[np.int64]) -> Any:
        if type(dataset) is TensorDataset and collate is torch.utils.data.default_collate:
            return [tensor[torch.from_numpy(rows)] for tensor in dataset.tensors]
        if not len(rows):
            return _emptied(collate([dataset[0]]))
        return collate([dataset[int(row)] for row in rows])

    return fetch


def _emptied(batch: Any) -> Any:
    """A batch of the same form with no rows."""
    if isinstance(batch, Tensor):
        return batch[:0]
    if isinstance(batch, dict):
        return {key: _emptied(value) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(_emptied, batch))
    if isinstance(batch, (list, tuple)):
        if batch and not isinstance(batch[0], (Tensor, dict, list, tuple)):
            return cast(Any, type(batch))()
        return type(batch)(map(_emptied, batch))
    raise DataError(f"got a batch of {type(batch).__name__}, whose empty form is not known; expected tensors, or dicts and lists of them")
