"""What stands in for a loader where a private optimizer is used on its own."""

from typing import TYPE_CHECKING

from quintain.core.errors import SettingError
from quintain.dp.accounting.guarantee import Sampling
from quintain.dp.distributed import SINGLE_PROCESS
from quintain.dp.sampling.physical_batch import NO_BATCH

if TYPE_CHECKING:
    from quintain.dp.step.optimizer import DPOptimizer


class UnknownSampling:
    """Batches of which nothing is known but what they should hold: each step then counts as one on all records.

    Args:
        optimizer: Whose steps they are.
        expected_batch_size: b.
        reproducible: Whether the noise follows from a seed.

    Raises:
        SettingError: If there is no b.
    """

    sampling: Sampling = "full batch"
    physical_batch, world = NO_BATCH, SINGLE_PROCESS
    steps_per_epoch, compared = 1, ""
    units = batch = yielded_tensors = None

    def __init__(self, optimizer: "DPOptimizer", expected_batch_size: int | None, *, reproducible: bool) -> None:
        if expected_batch_size is None or expected_batch_size < 1:
            raise SettingError(f"got expected_batch_size = {expected_batch_size}; expected the mean size of a batch, at least 1")
        self.expected_batch_size = self.num_units = expected_batch_size
        self.batches_drawn = self.last_stepped_batch = self.last_passed_batch = 0
        self.reproducible = reproducible
        self._optimizer = optimizer

    @property
    def logical_batch_size(self) -> int:
        """Whatever was seen."""
        return self._optimizer.step_state.examples_summed or 0

    def epoch_position(self, batch: int) -> None:
        """Nothing is known of passes."""

    def mark_consumed(self, batches: int) -> None:
        """Take note of a step."""
        self.batches_drawn = self.last_stepped_batch = batches

    def bind_optimizer(self, optimizer: "DPOptimizer") -> None:
        """It has its optimizer from the beginning."""
