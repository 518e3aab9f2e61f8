"""What an ordinary DataLoader tells the private one made from it: its data, and its expected batch size."""

from collections.abc import Sized
from typing import Any

from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
)

from quintain.core.errors import DataError, SettingError
from quintain.dp.accounting.guarantee import LoaderSampling
from quintain.dp.distributed import World


class PoissonRows(Sampler[list[int]]):
    """A batch sampler: each of ``num_samples`` rows with probability ``sample_rate``, independently."""

    num_samples: int
    sample_rate: float


def _expected_batch_size(sampler: PoissonRows, num_units: int, sampling: LoaderSampling) -> int:
    """The expected batch size of a sampler, rounded to an integer."""
    if sampler.num_samples != num_units or sampling != "poisson":
        raise SettingError(
            f"got a {type(sampler).__name__} of {sampler.num_samples} rows for {num_units} records and "
            f"{sampling} sampling; expected num_samples=len(dataset), and poisson_sampling=True"
        )
    return max(1, round(sampler.sample_rate * num_units))


def dataset_and_batch_size(
    loader: "DataLoader[Any]", world: World, sampling: LoaderSampling
) -> tuple[Any, int]:
    """The data set of a DataLoader, and its expected batch size over all processes."""
    if not isinstance(loader, DataLoader):
        raise SettingError(
            f"got a {type(loader).__name__}; expected an ordinary DataLoader, to make the private one from"
        )
    if isinstance(loader.dataset, IterableDataset) or not isinstance(loader.dataset, Sized):
        raise SettingError(
            "got a data set that streams; Poisson sampling draws records by index: expected one with a length"
        )
    if isinstance(loader.batch_sampler, PoissonRows):
        return loader.dataset, _expected_batch_size(loader.batch_sampler, len(loader.dataset), sampling)
    if loader.batch_size is None:
        raise SettingError(
            "got a loader without a batch size; expected DataLoader(dataset, batch_size=...), its expected "
            "batch"
        )
    sampler = loader.sampler
    shared = isinstance(sampler, DistributedSampler)
    if isinstance(sampler, DistributedSampler) and sampler.num_replicas != world.size:
        raise SettingError(
            f"got a DistributedSampler for {sampler.num_replicas} processes, and training by {world.size}; "
            "expected as many: wrap the module in DifferentiallyPrivateDistributedDataParallel, or leave "
            "the sampler out"
        )
    if not isinstance(sampler, (RandomSampler, SequentialSampler, DistributedSampler)):
        raise SettingError(
            f"got a loader with a {type(sampler).__name__}, which Poisson sampling replaces; expected none: "
            "for a part of the data, use torch.utils.data.Subset(dataset, rows)"
        )
    if not len(loader.dataset):
        raise DataError("got an empty data set; expected at least one record")
    return loader.dataset, loader.batch_size * (world.size if shared else 1)
