"""Loaders and samplers with the names of Opacus, all of which sample Poisson batches."""

from collections.abc import Callable, Iterator, Sized
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from quintain.core.errors import DataError, SettingError
from quintain.dp.distributed import SINGLE_PROCESS, current_world
from quintain.dp.randomness.stream import WORD_RANGE, RandomStream
from quintain.dp.sampling.batch_source import batch_source_for
from quintain.dp.sampling.loader import PoissonLoader, PoissonRows
from quintain.dp.sampling.physical_batch import Indices
from quintain.dp.sampling.repeated_records import warn_of_repeats


class UniformWithReplacementSampler(PoissonRows):
    """Poisson sampling: lists of rows, in which each row is with probability ``sample_rate``, independently.

    It is meant for the ``batch_sampler`` of a DataLoader that is given to ``make_private``. The private
    loader samples for itself, at the nearest rate that makes the expected batch an integer. A plain
    DataLoader cannot collate an empty list.

    Args:
        num_samples: Rows to sample from.
        sample_rate: q, in (0, 1]; exact to 2^-64 and never above.
        generator: The key of the sampling, which is then ``reproducible``; by default the operating system
            gives one.
        steps: Lists of one iteration; by default 1 / q, rounded down.

    Raises:
        SettingError: If the rate is out of its range, or expects less than one row.
        DataError: If there are no rows.
    """

    def __init__(
        self,
        *,
        num_samples: int,
        sample_rate: float,
        generator: torch.Generator | None = None,
        steps: int | None = None,
    ) -> None:
        _check_rate(num_samples, sample_rate)
        self.num_samples, self.sample_rate, self.generator = num_samples, sample_rate, generator
        self.steps = steps_per_epoch_at(sample_rate, num_samples) if steps is None else steps
        self.reproducible = generator is not None
        self._world = SINGLE_PROCESS
        self._stream = stream_from_generator(generator)
        self._batches_drawn = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(self.steps):
            self._stream.seek(self._batches_drawn)
            self._batches_drawn += 1
            yield self._world.shard(self._sample_rows()).tolist()

    def _sample_rows(self) -> Indices:
        # a word of 64 bits is below floor(q * 2^64) with a probability of q, up to 2^-64 and never above q
        most = int(Fraction(self.sample_rate) * WORD_RANGE)
        words = self._stream.words(self.num_samples)
        return np.arange(self.num_samples) if most >= WORD_RANGE else np.flatnonzero(words < np.uint64(most))


class DistributedUniformWithReplacementSampler(UniformWithReplacementSampler):
    """A ``UniformWithReplacementSampler`` of which each process takes its shard of every batch, maybe none.

    Args:
        total_size: Rows to sample from, over all processes.
        sample_rate: q.
        shuffle, shuffle_seed: Without effect, since a Poisson sample has no order.
        steps: Lists of one iteration.
        generator: The key of the sampling; that of the first process counts.
    """

    def __init__(
        self,
        *,
        total_size: int,
        sample_rate: float,
        shuffle: bool = True,  # noqa: ARG002
        shuffle_seed: int = 0,  # noqa: ARG002
        steps: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(num_samples=total_size, sample_rate=sample_rate, generator=generator, steps=steps)
        self._world = current_world()
        self._stream = self._world.broadcast_stream(self._stream)

    def set_epoch(self, epoch: int) -> None:
        """Nothing to do: no two samples are the same."""


class DPDataLoader(PoissonLoader):
    """A private loader from a data set.

    The expected batch is ``sample_rate`` times the records, rounded to an integer; the attribute
    ``sample_rate`` is what follows.

    Args:
        dataset: Has a length.
        sample_rate: q, in (0, 1].
        collate_fn: Makes a batch of records.
        drop_last: Without effect, since no batch is the last.
        generator: The key of the sampling, which is then ``reproducible``; by default the operating system
            gives one.
        distributed: Whether the processes of the default group each take their shard of every batch.
        batch_first: Must be True: the first dimension of a batch is that of its records.
        rand_on_empty: Must be False: an empty batch is empty.
        options: Passed to the DataLoader inside, such as ``num_workers`` and ``pin_memory``.

    Raises:
        SettingError: If a setting is out of its range.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        sample_rate: float,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,  # noqa: ARG002
        generator: torch.Generator | None = None,
        distributed: bool = False,
        batch_first: bool = True,
        rand_on_empty: bool = False,
        **options: Any,
    ) -> None:
        if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
            raise SettingError(
                "got a data set that streams; Poisson sampling draws records by index: expected one with a "
                "length"
            )
        if not batch_first or rand_on_empty:
            raise SettingError(
                f"got batch_first={batch_first}, rand_on_empty={rand_on_empty}; expected batches with the "
                "records first, and empty ones empty: records that are made up would be clipped and counted"
            )
        warn_of_repeats(dataset, None)
        records = len(dataset)
        _check_rate(records, sample_rate)
        world = current_world() if distributed else SINGLE_PROCESS
        stream = world.broadcast_stream(stream_from_generator(generator))
        super().__init__(
            lambda _rows: None,
            num_units=records,
            expected_batch_size=round(sample_rate * records),
            steps_per_epoch=steps_per_epoch_at(sample_rate, records),
            stream=stream,
            world=world,
        )
        self.dataset, self.reproducible, self.distributed = dataset, generator is not None, distributed
        plain: DataLoader[Any] = DataLoader(dataset, collate_fn=collate_fn, **options)
        self.batch_source = batch_source_for(plain, stream.derive("workers"))

    @classmethod
    def from_data_loader(
        cls,
        data_loader: "DataLoader[Any]",
        *,
        distributed: bool = False,
        generator: torch.Generator | None = None,
    ) -> PoissonLoader:
        """The sampling loader for an ordinary DataLoader (see ``PoissonLoader.from_loader``)."""
        world = current_world() if distributed else SINGLE_PROCESS
        made = PoissonLoader.from_loader(
            data_loader, world.broadcast_stream(stream_from_generator(generator)), world=world
        )
        made.reproducible = generator is not None
        return made


def stream_from_generator(generator: torch.Generator | None) -> RandomStream:
    """A random stream keyed by a generator; a secret one without it."""
    if generator is None:
        return RandomStream.from_os_entropy()
    return RandomStream.from_seed(
        int(torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device)), "sampling"
    )


def steps_per_epoch_at(sample_rate: float, num_records: int) -> int:
    """1 / q rounded down, at least 1; by fractions, since ``int(1 / (1 / 93))`` is 92 in floating point."""
    return max(1, int(1 / Fraction(sample_rate).limit_denominator(num_records)))


def _check_rate(records: int, sample_rate: float) -> None:
    if records < 1:
        raise DataError("got an empty data set; expected at least one record")
    if not 0 < sample_rate <= 1 or round(sample_rate * records) < 1:
        raise SettingError(
            f"got a sample rate of {sample_rate} of {records} records; expected a probability in (0, 1], of "
            "one record a batch at least"
        )
