"""A stand-in for the loader of a private optimizer that is used without one."""

from collections.abc import Callable
from dataclasses import replace

from quintain.core.errors import SettingError
from quintain.dp.accounting.guarantee import Sampling
from quintain.dp.distributed import SINGLE_PROCESS
from quintain.dp.sampling.physical_batch import NO_BATCH, PhysicalBatch


class UnknownSampling:
    """Takes the place of the loader where a private optimizer is used without one.

    How batches were sampled is then unknown, so no amplification by sampling can be claimed: each step is
    recorded as a full-batch step, the most it can cost.

    Args:
        count_examples: Returns the number of examples in the sum.
        expected_batch_size: b.
        reproducible: Whether the noise follows from a seed.

    Raises:
        SettingError: If there is no b.
    """

    sampling: Sampling = "full batch"
    physical_batch, world = NO_BATCH, SINGLE_PROCESS
    steps_per_epoch, compared = 1, ""
    units = batch = yielded_tensors = None

    def __init__(
        self, count_examples: Callable[[], int], expected_batch_size: int | None, *, reproducible: bool
    ) -> None:
        if expected_batch_size is None or expected_batch_size < 1:
            raise SettingError(
                f"got expected_batch_size = {expected_batch_size}; expected the mean size of a batch, at "
                "least 1"
            )
        self.expected_batch_size = self.num_units = expected_batch_size
        self.batches_drawn = self.last_stepped_batch = self.last_passed_batch = 0
        self.reproducible = reproducible
        self._count_examples = count_examples

    @property
    def logical_batch_size(self) -> int:
        """The number of examples in the sum, since the batch is unknown."""
        return self._count_examples()

    def collation_doubt(self) -> None:
        """Nothing is known of how records are put together."""

    def current_batch(self) -> PhysicalBatch:
        """A physical batch of the next number, whose rows are unknown."""
        self.batches_drawn = self.last_stepped_batch + 1
        return replace(NO_BATCH, batch_number=self.batches_drawn)

    def epoch_position(self, batch: int) -> None:
        """No epochs are known."""

    def mark_consumed(self, batches: int) -> None:
        """Count a step."""
        self.batches_drawn = self.last_stepped_batch = batches

    def bind_optimizer(self, optimizer: object) -> None:
        """Do nothing: the optimizer is bound from the beginning."""
