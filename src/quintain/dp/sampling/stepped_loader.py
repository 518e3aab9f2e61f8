"""What a private step needs to know of the loader whose batches it steps on."""

from typing import Any, Protocol

from quintain.dp.accounting.guarantee import Sampling
from quintain.dp.accounting.release import EpochPosition
from quintain.dp.distributed import World
from quintain.dp.sampling.batch_consumer import BatchConsumer
from quintain.dp.sampling.physical_batch import PhysicalBatch
from quintain.dp.sampling.privacy_units import PrivacyUnits
from quintain.dp.sampling.yielded_tensors import YieldedTensors


class SteppedLoader(Protocol):
    """A source of batches, each of which has one private step.

    Batches are numbered from 1: ``batches_drawn`` is the number of the one in the user's hands,
    ``last_stepped_batch`` that of the latest which was stepped on, and ``last_passed_batch`` that of the
    latest which the loop left without a step.
    """

    reproducible: bool
    compared: str
    batches_drawn: int
    batch: Any

    @property
    def sampling(self) -> Sampling:
        """How batches are sampled."""

    @property
    def world(self) -> World:
        """The processes that share each batch."""

    @property
    def num_units(self) -> int:
        """The number of records, or of privacy units where there are some."""

    @property
    def units(self) -> PrivacyUnits | None:
        """Whom the records belong to; None if each is its own."""

    @property
    def expected_batch_size(self) -> int:
        """The expected batch size b, which is public."""

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches in an epoch."""

    @property
    def physical_batch(self) -> PhysicalBatch:
        """The part of the current batch that the user holds."""

    @property
    def logical_batch_size(self) -> int:
        """The number of rows of the whole current batch, of this process; private."""

    @property
    def yielded_tensors(self) -> YieldedTensors | None:
        """The tensors of the latest batches; None if they are not known."""

    @property
    def last_stepped_batch(self) -> int:
        """The number of the latest batch that was stepped on."""

    @property
    def last_passed_batch(self) -> int:
        """The number of the latest batch that the loop left without a step."""

    def collation_doubt(self) -> str | None:
        """What speaks against how records are put together into batches; None if nothing does."""

    def current_batch(self) -> PhysicalBatch:
        """The physical batch that the next forward pass is over."""

    def epoch_position(self, batch: int) -> EpochPosition | None:
        """Where a batch stands in its epoch; None if batches are sampled independently."""

    def mark_consumed(self, batches: int) -> None:
        """Count all batches up to this one as stepped on."""

    def bind_optimizer(self, optimizer: BatchConsumer) -> None:
        """Step on the batches of this loader from now on."""
