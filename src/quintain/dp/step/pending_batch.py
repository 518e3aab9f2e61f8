"""The batch that a private step is about to be made on: a step needs each of its rows exactly once."""

from dataclasses import dataclass, field

from quintain.core.errors import PrivacyError
from quintain.dp.sampling.physical_batch import NO_BATCH, PhysicalBatch
from quintain.dp.sampling.stepped_loader import SteppedLoader
from quintain.dp.step.phase import ACCUMULATING, EMPTY, REFUSALS, SUSPENDED, TRANSITIONS, Event, StepPhase


@dataclass(slots=True, eq=False)
class PendingBatch:
    """The phase of the step, and what is summed of its logical batch.

    The clipped gradients may come from several forward and backward passes over the physical batches.
    ``check_complete`` makes sure that each row of the batch was clipped and summed exactly once.

    Args:
        phase: Where the step stands; ``move`` alone changes it.
        examples_summed: Rows whose clipped gradients are in the sum.
        last_physical_batch: The physical batch of the latest pass.
        batch_numbers: The logical batches that the passes belong to; a valid step has exactly one.
        doubled_centered_count: For an adaptive bound (see ``AdaptiveClipping``), summed over the passes.
        skip_signals: For each of the next calls of ``step()`` whether it only sums, as the user has said.
    """

    phase: StepPhase = EMPTY
    examples_summed: int = 0
    last_physical_batch: PhysicalBatch = NO_BATCH
    batch_numbers: set[int] = field(default_factory=set)
    doubled_centered_count: int = 0
    skip_signals: list[bool] = field(default_factory=list)

    def require(self, event: Event) -> None:
        """Raise if the table does not allow an event in this phase."""
        if self.phase not in TRANSITIONS[event]:
            raise PrivacyError(REFUSALS[event])

    def move(self, event: Event) -> None:
        """Make a transition of the table; what was counted is forgotten where no gradient waits any more.

        Raises:
            PrivacyError: If the table does not allow the event in this phase; nothing has changed.
        """
        after = TRANSITIONS[event].get(self.phase)
        if after is None:
            raise PrivacyError(REFUSALS[event])
        self.phase = after
        if after is not ACCUMULATING and after is not SUSPENDED:
            self.examples_summed = self.doubled_centered_count = 0
            self.batch_numbers = set()

    @property
    def holds_gradients(self) -> bool:
        """Whether clipped gradients wait for the rest of their batch, or for noise."""
        return self.phase is ACCUMULATING or self.phase is SUSPENDED

    def begin_pass(self, examples: int) -> None:
        """Count the examples of a pass that is about to be summed."""
        self.move("accumulate")
        self.examples_summed += examples

    def record_pass(self, piece: PhysicalBatch, doubled_centered_count: int) -> None:
        """Record which batch a pass belongs to, now that it was summed."""
        self.batch_numbers.add(piece.batch_number)
        self.last_physical_batch = piece
        self.doubled_centered_count += doubled_centered_count

    def is_incomplete(self, piece: PhysicalBatch, *, pop_signal: bool = True) -> bool:
        """Whether ``step()`` on this piece only sums: as was signalled, else unless it ends its batch."""
        if self.skip_signals:
            return self.skip_signals.pop(0) if pop_signal else self.skip_signals[0]
        return not piece.is_last

    def is_abandoned_for(self, piece: PhysicalBatch) -> bool:
        """Whether the sum holds only the first part of a batch that the loop has left, as by ``break``.

        The caller then drops the sum: half a batch is never stepped on.
        """
        return (
            self.phase is SUSPENDED
            and self.last_physical_batch.logical_batch_size != self.examples_summed
            and piece is not self.last_physical_batch
            and not piece.is_continuation_of(self.last_physical_batch)
        )

    def check_complete(self, loader: SteppedLoader) -> None:
        """Raise unless the sum holds exactly the rows of the loader's latest batch, which had no step yet."""
        self.require("add_noise")
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
