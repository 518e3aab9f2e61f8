"""What was gathered of the batch in hand: it makes up a step if each of the batch's rows was seen once."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quintain.core.errors import PrivacyError
from quintain.dp.draws.pieces import NOTHING, Piece

if TYPE_CHECKING:
    from quintain.dp.draws.sampling import SamplingLoader
    from quintain.dp.step.unsampled import Unsampled


@dataclass(slots=True, eq=False)
class Gathered:
    """The passes since the last step, as far as they were clipped.

    Args:
        examples: Rows of the passes; None if there was none.
        kept: Of these, those up to the latest step that was left out.
        held: The piece of the latest pass.
        draws: Numbers of the batches that the passes are of.
        votes: What they say about an adaptive bound.
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
        """Whether what was gathered is the beginning of a batch that the loop has left for this piece, be it of the same batch."""
        stepped = self.examples is not None and self.examples == self.kept
        return stepped and self.held.size != self.kept and piece is not self.held and not piece.follows(self.held)

    def check_none(self) -> None:
        """Raise if clipped gradients wait for their noise."""
        if self.examples is not None:
            raise PrivacyError(
                "noise or bound set while clipped gradients wait for their noise; expected it between steps: what is clipped and what is "
                "drawn must fit together"
            )

    def check(self, loader: "SamplingLoader | Unsampled") -> None:
        """Raise unless these are the rows of the loader's batch, once each, and it was not used yet."""
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
                f"step() on a batch after {skipped} that were drawn and not stepped on; expected a step on every batch that the loader "
                "yields, a small or an empty one too: which batches are left out can tell of a record in them (a wrapper that fetches "
                "batches ahead draws them too early: take it off, and let the DataLoader's workers do so). A new iteration over the "
                "loader begins with those; batches may be looked at before it"
            )
        if self.examples != loader.size:
            raise PrivacyError(
                f"the passes since the last step held {self.examples} examples, the batch {loader.size}; expected each record once: "
                "one forward and backward pass over each piece of the private loader's batch, which is the first dimension in every layer"
            )
