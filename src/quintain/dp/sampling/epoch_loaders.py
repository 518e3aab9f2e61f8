"""Loaders whose epochs hold each unit at most once: shuffled batches and balls-in-bins."""

import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import DataLoader

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.accounting.guarantee import LoaderSampling
from quintain.dp.accounting.release import EpochPosition
from quintain.dp.distributed import World
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.sampling.loader import SamplingLoader, T_co
from quintain.dp.sampling.physical_batch import Indices
from quintain.dp.sampling.poisson_loader import PoissonLoader
from quintain.dp.sampling.privacy_units import PrivacyUnits

Item = TypeVar("Item")


class _EpochLoader(SamplingLoader[T_co]):
    """A loader in whose epochs each record, or unit, is in exactly one of ``steps_per_epoch`` batches."""

    WRITE_ONCE = SamplingLoader.WRITE_ONCE | {"steps_per_epoch"}
    warning: str

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        warnings.warn(f"{self.warning}; prefer PoissonLoader", UserWarning, stacklevel=3)
        self._epoch: tuple[int, Indices] | None = None
        self._order = (
            self.stream.derive("order", self.sampling, self.num_units, self.steps_per_epoch)
            .words(2)
            .tobytes()
            .hex()
        )

    def epoch_position(self, batch: int) -> EpochPosition:
        return EpochPosition(self._order, (batch - 1) // self.steps_per_epoch, batch)

    def _sample_units(self, batch_index: int) -> Indices:
        epoch, step = divmod(batch_index, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self.stream.seek(epoch)
            self._epoch = epoch, self._assign_steps()
        return np.flatnonzero(self._epoch[1] == step)

    @abstractmethod
    def _assign_steps(self) -> Indices:
        """Assign a step, from 0, to each record in the epoch that the stream is at."""


class ShuffledLoader(_EpochLoader[T_co]):
    r"""Batches of a shuffled data set, as equal in size as possible; shuffled anew for each epoch.

    Guarantee: each epoch costs at most one step on all records, and is accounted as one. The true epsilon can
    be many times that of Poisson batches of the same size (2403.17673).

    Source: Chua et al., 2024, arXiv:2403.17673; Annamalai et al., 2024, arXiv:2411.10614.
    """

    sampling = "shuffle"
    warning = (
        "batches of shuffled data cost many times the epsilon of Poisson sampling, and are accounted without "
        "amplification"
    )

    def _assign_steps(self) -> Indices:
        steps = np.empty(self.num_units, dtype=np.int64)
        # ranks of random words are a random permutation; i * steps // n spreads it evenly
        steps[np.argsort(self.stream.words(self.num_units), kind="stable")] = (
            np.arange(self.num_units) * self.steps_per_epoch // self.num_units
        )
        return steps


class BallsInBinsLoader(_EpochLoader[T_co]):
    """Each record in one batch of each epoch, sampled uniformly and independently: batches vary in size.

    Source: Chua et al., 2024, arXiv:2412.16802.
    """

    sampling = "balls-in-bins"
    warning = "balls-in-bins sampling has an accounting of its own"

    def _assign_steps(self) -> Indices:
        # the modulo's bias is below steps / 2^64
        return (self.stream.words(self.num_units) % np.uint64(self.steps_per_epoch)).astype(np.int64)


def as_sampling_loader(
    loader: DataLoader[Item] | SamplingLoader[Item],
    stream: Callable[[], RandomStream],
    *,
    sampling: LoaderSampling,
    max_physical_batch_size: int | None,
    units: PrivacyUnits | None,
    world: World,
) -> SamplingLoader[Item]:
    """The sampling loader for an ordinary DataLoader; a sampling loader is returned as it is.

    Raises:
        PrivacyError: If a sampling one draws for other processes.
        SettingError: If a sampling one draws otherwise than is asked for, or an ordinary one has no twin.
    """
    if not isinstance(loader, SamplingLoader):
        kinds: dict[LoaderSampling, type[SamplingLoader[Item]]] = {
            "poisson": PoissonLoader,
            "shuffle": ShuffledLoader,
            "balls-in-bins": BallsInBinsLoader,
        }
        return kinds[sampling].from_loader(
            loader,
            world.broadcast_stream(stream()),
            max_physical_batch_size=max_physical_batch_size,
            units=units,
            world=world,
        )
    if (loader.world.rank, loader.world.size) != (world.rank, world.size):
        raise PrivacyError(
            f"got {world.size} processes and a loader that draws for {loader.world.size}: each would spend "
            "its own epsilon on the same records; expected an ordinary DataLoader, or a loader made with "
            "world=quintain.dp.distributed.current_world()"
        )
    if units is not None or sampling != loader.sampling:
        raise SettingError(
            f"got a {type(loader).__name__}, which has its way to draw ({loader.sampling}), and units or "
            f"sampling ({sampling}) that do not fit it; expected them given when it was made, or an ordinary "
            "DataLoader"
        )
    if max_physical_batch_size is not None:
        loader.max_physical_batch_size = max_physical_batch_size
    return loader
