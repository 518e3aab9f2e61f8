"""The private loader from a data set, and another generator for an ordinary loader."""

from collections.abc import Callable, Sized
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from quintain.core.errors import SettingError
from quintain.dp.distributed import SINGLE_PROCESS, current_world
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.opacus.utils.uniform_sampler import check_rate, steps_per_epoch_at, stream_from_generator
from quintain.dp.sampling.batch_source import batch_source_for, refuse_to_fetch, with_batches
from quintain.dp.sampling.poisson_loader import PoissonLoader
from quintain.dp.sampling.repeated_records import warn_of_repeats

__all__ = ["DPDataLoader", "switch_generator"]
__getattr__ = missing_name_getattr(__name__)


class DPDataLoader(PoissonLoader[Any]):
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
        check_rate(records, sample_rate)
        world = current_world() if distributed else SINGLE_PROCESS
        stream = world.broadcast_stream(stream_from_generator(generator))
        super().__init__(
            refuse_to_fetch,
            num_units=records,
            expected_batch_size=round(sample_rate * records),
            steps_per_epoch=steps_per_epoch_at(sample_rate, records),
            stream=stream,
            world=world,
        )
        self.dataset, self.distributed = dataset, distributed
        plain: DataLoader[Any] = DataLoader(dataset, collate_fn=collate_fn, **options)
        self.batch_source = batch_source_for(plain, stream.derive("workers"))

    @classmethod
    def from_data_loader(
        cls,
        data_loader: "DataLoader[Any]",
        *,
        distributed: bool = False,
        generator: torch.Generator | None = None,
    ) -> PoissonLoader[Any]:
        """The sampling loader for an ordinary DataLoader (see ``PoissonLoader.from_loader``)."""
        world = current_world() if distributed else SINGLE_PROCESS
        return PoissonLoader.from_loader(
            data_loader, world.broadcast_stream(stream_from_generator(generator)), world=world
        )


def switch_generator(*, data_loader: "DataLoader[Any]", generator: torch.Generator) -> "DataLoader[Any]":
    """An ordinary loader with another generator, to begin a script with.

    Raises:
        SettingError: If the loader is private already, or its sampler has no generator.
    """
    if not isinstance(data_loader, DataLoader):
        raise SettingError(
            f"got a {type(data_loader).__name__}, whose draws are keyed when it is made; expected an "
            "ordinary DataLoader, or DPDataLoader(..., generator=generator)"
        )
    batches: Any = data_loader.batch_sampler
    holder = batches.sampler if isinstance(batches, BatchSampler) else batches
    if not hasattr(holder, "generator"):
        raise SettingError(
            f"got a loader with a {type(holder).__name__}, which has no generator; expected shuffle=True"
        )
    holder.generator = generator
    return with_batches(data_loader, batches, generator)
