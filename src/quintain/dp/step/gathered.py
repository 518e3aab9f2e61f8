"""The passes over the batch in hand since the last step: a step needs each row of the batch exactly once."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quintain.core.errors import PrivacyError
from quintain.dp.draws.pieces import NOTHING, Piece

if TYPE_CHECKING:
    from quintain.dp.draws.sampling import SamplingLoader
    from quintain.dp.step.unsampled import Unsampled


@dataclass(slots=True, eq=False)
class Gathered:
    """What the clipped passes since the last step add up to.

    Args:
        examples: Rows in these passes; None before the first.
        kept: ``examples`` at the latest ``step()`` that only added up, since the batch was not complete.
        held: The piece of the latest pass.
        draws: Numbers of the batches that the passes belong to.
        votes: Their votes on an adaptive bound, added up (see ``Adaptive.votes``).
    """

    examples: int | None = None
    kept: int | None = None
    held: Piece = NOTHING
    draws: set[int] = field(default_factory=set)
    votes: int = 0

    def begin(self, examples: int) -> None:
        """Take note of a pass that is about to be added."""
        self.examples = (self.examples or 0) + examples

    def add(self, piece: Piece, votes: int) -> None:
        """Take note of where the pass belongs, now that it was added."""
        self.draws.add(piece.draw)
        self.held = piece
        self.votes += votes

    def forget(self) -> None:
        """Begin anew."""
        self.examples = self.kept = None
        self.draws, self.votes = set(), 0

    def left(self, piece: Piece) -> bool:
        """Whether the loop has left the batch in hand half way, and begins another, or the same anew, here.

        The loop had stepped on all that was gathered, which is not the whole batch; the new piece is not its
        continuation.
        """
        stepped = self.examples is not None and self.examples == self.kept
        return stepped and self.held.size != self.kept and piece is not self.held and not piece.follows(self.held)

    def check_none(self) -> None:
        """Raise if clipped gradients wait for their noise."""
        if self.examples is not None:
            raise PrivacyError(
                "noise or bound set while clipped gradients wait for their noise; expected it set between "
                "steps: the gradients must be clipped to the bound that the noise is scaled by"
            )

    def check(self, loader: "SamplingLoader | Unsampled") -> None:
        """Raise unless the passes have as many rows as the loader's latest batch, and it had no step yet."""
        if self.examples is None:
            raise PrivacyError(
                "step() without captured gradients; expected a forward pass of the private module in training mode and loss.backward() "
                "since the last step()"
            )
        if self.draws != {loader.draws} or loader.draws <= loader.spent:
            raise PrivacyError(
                "step() on another batch than the private loader's latest, on one already used, or on several; expected one step for each "
                "batch it yields: to accumulate, cut one batch into pieces, and ask the loader for a larger one"
            )
        skipped = loader.draws - loader.spent - 1
        if skipped:
            raise PrivacyError(
                f"step() on a batch after {skipped} that were drawn and not stepped on; expected a step on "
                "every batch that the loader yields, a small or an empty one too: which batches are left out "
                "can tell of a record in them (a wrapper that fetches batches ahead draws them too early: "
                "take it off, and let the DataLoader's workers do so). A new iteration over the loader "
                "begins with those; batches may be looked at before it"
            )
        if self.examples != loader.size:
            raise PrivacyError(
                f"the passes since the last step held {self.examples} examples, the batch {loader.size}; expected each record once: "
                "one forward and backward pass over each piece of the private loader's batch, which is the first dimension in every layer"
            )
