"""Poisson sampling of rows, under Opacus' names."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import torch

from quintain.core.errors import DataError, SettingError
from quintain.dp.distributed import SINGLE_PROCESS, current_world
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.randomness.stream import WORD_RANGE, RandomStream
from quintain.dp.sampling.ordinary_loader import PoissonRows
from quintain.dp.sampling.physical_batch import Indices

__all__ = ["DistributedUniformWithReplacementSampler", "UniformWithReplacementSampler"]
__getattr__ = missing_name_getattr(__name__)


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
        check_rate(num_samples, sample_rate)
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


def check_rate(records: int, sample_rate: float) -> None:
    """Raise unless a rate is in range and expects one record a batch at least."""
    if records < 1:
        raise DataError("got an empty data set; expected at least one record")
    if not 0 < sample_rate <= 1 or round(sample_rate * records) < 1:
        raise SettingError(
            f"got a sample rate of {sample_rate} of {records} records; expected a probability in (0, 1], of "
            "one record a batch at least"
        )
