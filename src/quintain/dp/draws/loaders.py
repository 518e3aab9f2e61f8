"""Private loaders and samplers under the names of Opacus; whatever the name, each draws Poisson batches."""

from collections.abc import Callable, Iterator, Sized
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from quintain.core.errors import DataError, SettingError
from quintain.dp.draws.batches import of_loader
from quintain.dp.draws.distributed import ALONE, present
from quintain.dp.draws.pieces import Indices
from quintain.dp.draws.repeats import warn_of_repeats
from quintain.dp.draws.sampling import PoissonLoader, PoissonRows
from quintain.dp.step.noise import WORD, Stream


class UniformWithReplacementSampler(PoissonRows):
    """Poisson sampling: lists of rows, in which each row is with probability ``sample_rate``, independently.

    It is meant for the ``batch_sampler`` of a DataLoader that is given to ``make_private``. The private
    loader draws for itself, at the nearest rate that makes the expected batch a whole number. A plain
    DataLoader cannot collate an empty list.

    Args:
        num_samples: Rows to draw from.
        sample_rate: q, in (0, 1]; exact to 2^-64 and never above.
        generator: Keys the draws, which are then ``reproducible``; by default the operating system does.
        steps: Lists of one iteration; by default 1 / q, rounded down.

    Raises:
        SettingError: If the rate is out of its range, or expects less than one row.
        DataError: If there are no rows.
    """

    def __init__(self, *, num_samples: int, sample_rate: float, generator: torch.Generator | None = None, steps: int | None = None) -> None:
        _check_rate(num_samples, sample_rate)
        self.num_samples, self.sample_rate, self.generator = num_samples, sample_rate, generator
        self.steps = steps_of(sample_rate, num_samples) if steps is None else steps
        self.reproducible = generator is not None
        self._ranks = ALONE
        self._stream = stream_of(generator)
        self._draws = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(self.steps):
            self._stream.seek(self._draws)
            self._draws += 1
            yield self._ranks.part(self._chosen()).tolist()

    def _chosen(self) -> Indices:
        # a word of 64 bits is below floor(q * 2^64) with a probability of q, up to 2^-64 and never above q
        most = int(Fraction(self.sample_rate) * WORD)
        words = self._stream.words(self.num_samples)
        return np.arange(self.num_samples) if most >= WORD else np.flatnonzero(words < np.uint64(most))


class DistributedUniformWithReplacementSampler(UniformWithReplacementSampler):
    """A ``UniformWithReplacementSampler`` of which each process takes its part of every draw, maybe none.

    Args:
        total_size: Rows to draw from, over all processes.
        sample_rate: q.
        shuffle, shuffle_seed: Without effect, since a Poisson draw has no order.
        steps: Lists of one iteration.
        generator: Keys the draws; that of the first process counts.
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
        self._ranks = present()
        self._stream = self._ranks.shared(self._stream)

    def set_epoch(self, epoch: int) -> None:
        """Nothing to do: no two draws are the same."""


class DPDataLoader(PoissonLoader):
    """A private loader from a data set.

    The expected batch is ``sample_rate`` times the records, rounded to a whole number; the attribute
    ``sample_rate`` is what follows.

    Args:
        dataset: Has a length.
        sample_rate: q, in (0, 1].
        collate_fn: Makes a batch of records.
        drop_last: Without effect, since no batch is the last.
        generator: Keys the draws, which are then ``reproducible``; by default the operating system does.
        distributed: Whether the processes of the default group each take their part of every draw.
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
            raise SettingError("got a data set that streams; Poisson sampling draws records by index: expected one with a length")
        if not batch_first or rand_on_empty:
            raise SettingError(
                f"got batch_first={batch_first}, rand_on_empty={rand_on_empty}; expected batches with the records first, and empty ones "
                "empty: records that are made up would be clipped and counted"
            )
        warn_of_repeats(dataset, None)
        records = len(dataset)
        _check_rate(records, sample_rate)
        ranks = present() if distributed else ALONE
        stream = ranks.shared(stream_of(generator))
        super().__init__(
            lambda _rows: None,
            records=records,
            expected_batch_size=round(sample_rate * records),
            steps_per_epoch=steps_of(sample_rate, records),
            stream=stream,
            ranks=ranks,
        )
        self.dataset, self.reproducible, self.distributed = dataset, generator is not None, distributed
        plain: DataLoader[Any] = DataLoader(dataset, collate_fn=collate_fn, **options)
        self.source = of_loader(plain, stream.child("workers"))

    @classmethod
    def from_data_loader(
        cls, data_loader: "DataLoader[Any]", *, distributed: bool = False, generator: torch.Generator | None = None
    ) -> PoissonLoader:
        """The private twin of an ordinary loader (see ``PoissonLoader.like``)."""
        ranks = present() if distributed else ALONE
        made = PoissonLoader.like(data_loader, ranks.shared(stream_of(generator)), ranks=ranks)
        made.reproducible = generator is not None
        return made


def stream_of(generator: torch.Generator | None) -> Stream:
    """A stream keyed by a generator, or a secret one without it."""
    if generator is None:
        return Stream.secret()
    return Stream.seeded(int(torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device)), "sampling")


def steps_of(sample_rate: float, records: int) -> int:
    """1 / q rounded down, at least 1; by fractions, since ``int(1 / (1 / 93))`` is 92 in floating point."""
    return max(1, int(1 / Fraction(sample_rate).limit_denominator(records)))


def _check_rate(records: int, sample_rate: float) -> None:
    if records < 1:
        raise DataError("got an empty data set; expected at least one record")
    if not 0 < sample_rate <= 1 or round(sample_rate * records) < 1:
        raise SettingError(
            f"got a sample rate of {sample_rate} of {records} records; expected a probability in (0, 1], of one record a batch at least"
        )
