"""Batches that hold each record once in a pass: not Poisson's, warned of, and accounted as what they are."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from quintain.core.errors import SettingError
from quintain.dp.accounting.release import EpochPosition
from quintain.dp.draws.distributed import Ranks
from quintain.dp.draws.pieces import Indices
from quintain.dp.draws.sampling import PoissonLoader, SamplingLoader
from quintain.dp.draws.units import Units
from quintain.dp.step.noise import Stream


class _Passes(SamplingLoader):
    """Loaders in whose passes each record, or unit, is in exactly one of ``steps_per_epoch`` batches."""

    FIXED = SamplingLoader.FIXED | {"steps_per_epoch"}
    warning: str

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        warnings.warn(f"{self.warning}; prefer PoissonLoader", UserWarning, stacklevel=3)
        self._pass: tuple[int, Indices] | None = None
        self._order = self.stream.child("order", self.sampling, self.records, self.steps_per_epoch).words(2).tobytes().hex()

    def place(self, batch: int) -> EpochPosition:
        return EpochPosition(self._order, (batch - 1) // self.steps_per_epoch, batch)

    def _chosen(self, turn: int) -> Indices:
        number, step = divmod(turn, self.steps_per_epoch)
        if self._pass is None or self._pass[0] != number:
            self.stream.seek(number)
            self._pass = number, self._steps()
        return np.flatnonzero(self._pass[1] == step)

    @abstractmethod
    def _steps(self) -> Indices:
        """The step of each record in the pass that the stream is at, from 0."""


class ShuffledLoader(_Passes):
    r"""Batches of a shuffled data set, as equal in size as can be; shuffled anew for each pass.

    Guarantee: each pass costs at most one step on all records, and is accounted as one. The true epsilon can
    be many times that of Poisson batches of the same size (2403.17673).

    Source: Chua et al., 2024, arXiv:2403.17673; Annamalai et al., 2024, arXiv:2411.10614.
    """

    sampling = "shuffle"
    warning = "batches of shuffled data cost many times the epsilon of Poisson sampling, and are accounted without amplification"

    def _steps(self) -> Indices:
        steps = np.empty(self.records, dtype=np.int64)
        steps[np.argsort(self.stream.words(self.records), kind="stable")] = np.arange(self.records) * self.steps_per_epoch // self.records
        return steps


class BallsInBinsLoader(_Passes):
    """Each record in one batch of each pass, chosen uniformly and independently: batches vary in size.

    Source: Chua et al., 2024, arXiv:2412.16802.
    """

    sampling = "balls-in-bins"
    warning = "balls-in-bins sampling has an accounting of its own"

    def _steps(self) -> Indices:
        return (self.stream.words(self.records) % np.uint64(self.steps_per_epoch)).astype(np.int64)


def private_loader(
    given: "DataLoader[Any] | SamplingLoader",
    stream: Callable[[], Stream],
    *,
    poisson: bool,
    max_physical_batch: int | None,
    units: Units | Iterable[Hashable] | None,
    ranks: Ranks,
) -> SamplingLoader:
    """The private twin of an ordinary loader, or a private one as it is.

    Raises:
        SettingError: If a private one draws otherwise than is asked for, or an ordinary one has no twin.
    """
    if not isinstance(given, SamplingLoader):
        kind = PoissonLoader if poisson else ShuffledLoader
        return kind.like(given, ranks.shared(stream()), max_physical_batch=max_physical_batch, units=units, ranks=ranks)
    if units is not None or poisson != (given.sampling == "poisson") or (given.ranks.rank, given.ranks.size) != (ranks.rank, ranks.size):
        raise SettingError(
            f"got a {type(given).__name__}, which has its way to draw ({given.sampling}), and units, poisson_sampling or processes that do "
            "not fit it; expected them given when it was made, or an ordinary DataLoader"
        )
    if max_physical_batch is not None:
        given.max_physical_batch = max_physical_batch
    return given
