"""Bookkeeping of one private step: a step needs each row of its logical batch exactly once."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quintain.core.errors import PrivacyError
from quintain.dp.sampling.physical_batch import NO_BATCH, PhysicalBatch

if TYPE_CHECKING:
    from quintain.dp.sampling.loader import SamplingLoader
    from quintain.dp.step.unknown_sampling import UnknownSampling


@dataclass(slots=True, eq=False)
class StepState:
    """Counts the clipped gradients of a logical batch that one step sums.

    They may come from several forward and backward passes over the physical batches. ``check_complete`` makes
    sure that each row of the batch was clipped and summed exactly once.

    Args:
        examples_summed: Rows whose clipped gradients are in the sum; None if the sum is empty.
        examples_protected: ``examples_summed`` when ``step()`` was last called before the batch was complete;
            ``zero_grad()`` must not drop these.
        last_physical_batch: The physical batch of the latest pass.
        batch_numbers: The logical batches that the passes belong to; a valid step has exactly one.
        doubled_centered_count: For an adaptive bound (see ``AdaptiveClipping``), summed over the passes.
    """

    examples_summed: int | None = None
    examples_protected: int | None = None
    last_physical_batch: PhysicalBatch = NO_BATCH
    batch_numbers: set[int] = field(default_factory=set)
    doubled_centered_count: int = 0

    def count_examples(self, examples: int) -> None:
        """Count the examples of a pass that is about to be summed."""
        self.examples_summed = (self.examples_summed or 0) + examples

    def record_pass(self, piece: PhysicalBatch, votes: int) -> None:
        """Record which batch a pass belongs to, now that it was summed."""
        self.batch_numbers.add(piece.batch_number)
        self.last_physical_batch = piece
        self.doubled_centered_count += votes

    def reset(self) -> None:
        """Begin a new sum."""
        self.examples_summed = self.examples_protected = None
        self.batch_numbers, self.doubled_centered_count = set(), 0

    def is_abandoned_for(self, piece: PhysicalBatch) -> bool:
        """Whether the sum holds only the first part of a batch that the loop has left, as by ``break``.

        The caller then drops the sum: half a batch is never stepped on.
        """
        stepped = self.examples_summed is not None and self.examples_summed == self.examples_protected
        return (
            stepped
            and self.last_physical_batch.logical_batch_size != self.examples_protected
            and piece is not self.last_physical_batch
            and not piece.is_continuation_of(self.last_physical_batch)
        )

    def check_idle(self) -> None:
        """Raise if clipped gradients wait for their noise."""
        if self.examples_summed is not None:
            raise PrivacyError(
                "noise or bound set while clipped gradients wait for their noise; expected it set between "
                "steps: the gradients must be clipped to the bound that the noise is scaled by"
            )

    def check_complete(self, loader: "SamplingLoader | UnknownSampling") -> None:
        """Raise unless the sum holds exactly the rows of the loader's latest batch, which had no step yet."""
        if self.examples_summed is None:
            raise PrivacyError(
                "step() without captured gradients; expected a forward pass of the private module in "
                "training mode and loss.backward() since the last step()"
            )
        if self.batch_numbers != {loader.batches_drawn} or loader.batches_drawn <= loader.last_stepped_batch:
            raise PrivacyError(
                "step() on another batch than the private loader's latest, on one already used, or on "
                "several; expected one step for each batch it yields: to accumulate, cut one batch into "
                "pieces, and ask the loader for a larger one"
            )
        skipped = loader.batches_drawn - loader.last_stepped_batch - 1
        if skipped:
            raise PrivacyError(
                f"step() on a batch after {skipped} that were drawn and not stepped on; expected a step on "
                "every batch that the loader yields, a small or an empty one too: which batches are left out "
                "can tell of a record in them (a wrapper that fetches batches ahead draws them too early: "
                "take it off, and let the DataLoader's workers do so). A new iteration over the loader "
                "begins with those; batches may be looked at before it"
            )
        if self.examples_summed != loader.logical_batch_size:
            raise PrivacyError(
                f"the passes since the last step held {self.examples_summed} examples, the batch "
                f"{loader.logical_batch_size}; expected each record once: "
                "one forward and backward pass over each piece of the private loader's batch, which is the "
                "first dimension in every layer"
            )
