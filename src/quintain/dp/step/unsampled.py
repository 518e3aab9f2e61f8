"""What stands in for a loader where a private optimizer is used on its own."""

from typing import TYPE_CHECKING

from quintain.core.errors import SettingError
from quintain.dp.accounting.guarantee import Sampling
from quintain.dp.draws.distributed import ALONE
from quintain.dp.draws.pieces import NOTHING

if TYPE_CHECKING:
    from quintain.dp.step.optimizer import DPOptimizer


class Unsampled:
    """Batches of which nothing is known but what they should hold: each step then counts as one on all records.

    Args:
        optimizer: Whose steps they are.
        expected_batch_size: b.
        reproducible: Whether the noise follows from a seed.

    Raises:
        SettingError: If there is no b.
    """

    sampling: Sampling = "full batch"
    piece, ranks = NOTHING, ALONE
    steps_per_epoch, compared = 1, ""
    units = batch = handed = None

    def __init__(self, optimizer: "DPOptimizer", expected_batch_size: int | None, *, reproducible: bool) -> None:
        if expected_batch_size is None or expected_batch_size < 1:
            raise SettingError(f"got expected_batch_size = {expected_batch_size}; expected the mean size of a batch, at least 1")
        self.expected_batch_size = self.records = expected_batch_size
        self.draws = self.spent = self.passed = 0
        self.reproducible = reproducible
        self._optimizer = optimizer

    @property
    def size(self) -> int:
        """Whatever was seen."""
        return self._optimizer.gathered.examples or 0

    def place(self, batch: int) -> None:
        """Nothing is known of passes."""

    def use_up(self, draws: int) -> None:
        """Take note of a step."""
        self.draws = self.spent = draws

    def serve(self, optimizer: "DPOptimizer") -> None:
        """It has its optimizer from the beginning."""
