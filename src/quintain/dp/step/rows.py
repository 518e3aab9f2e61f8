"""Whether a step used each row of its batch once, where the module's input shows which row is which."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from quintain.core.errors import PrivacyError
from quintain.dp.draws.pieces import NOTHING, Piece
from quintain.dp.gradients.capture import Capture
from quintain.dp.gradients.passes import Pass
from quintain.dp.step.spot_checks import SpotChecks

if TYPE_CHECKING:
    from quintain.dp.draws.sampling import SamplingLoader
    from quintain.dp.step.unsampled import Unsampled

COLUMNS = 32
"""Numbers of a row that it is known by, where it has more."""

FEWEST = 8
"""Rows, all different, from which on the rows of a pass that are all among them are taken for these."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The rows that a pass was called with, and those of the batch in hand that they may be, each as one number.

    Args:
        given: (B,).
        drawn: (R,), of each tensor of the batch whose rows are as long.
    """

    given: Tensor
    drawn: tuple[Tensor, ...]


class Rows:
    """Compares, at the first batches and then at random, the first tensor that the module is called with to the batch that was drawn.

    What the loop has changed (augmented, embedded, mixed) is no longer known by its numbers, and is not judged. Where a batch holds several
    tensors of such rows (inputs, numbers of rows), those of the module may be any of them: whichever they are whole is the one.

    Args:
        capture: Of the module to train.
        loader: Whose batches they are.
        look: Whether the next batch is looked at.
    """

    def __init__(self, capture: Capture, loader: "SamplingLoader | Unsampled", look: SpotChecks) -> None:
        self._capture, self._loader, self._look = capture, loader, look
        self._piece: Piece = NOTHING
        self._looking = False
        self._seen: list[Seen] = []
        root = capture.root
        capture.keep(
            root.register_forward_pre_hook(
                lambda module, args, kwargs: self._open(args, kwargs) if module is root else None, with_kwargs=True
            )
        )

    def add(self, turn: Pass) -> None:
        """Take note of a pass that is about to count.

        Raises:
            PrivacyError: If the passes over a piece of a batch have as many rows as it has, and not each of its rows once.
        """
        seen, piece = turn.seen, turn.draw
        if not isinstance(seen, Seen) or len(seen.given) != turn.batch:
            return
        self._seen = [*self._seen, seen] if self._seen and piece is self._piece else [seen]
        if sum(len(one.given) for one in self._seen) != len(piece.rows):
            return
        given = torch.cat([one.given for one in self._seen]).sort().values
        drawn = [one.sort().values for one in seen.drawn]
        for rows in () if any(torch.equal(given, rows) for rows in drawn) else drawn:
            if len(rows) >= FEWEST and (rows.diff() != 0).all() and torch.isin(given, rows).all():
                missing = len(rows) - len(given.unique())
                raise PrivacyError(
                    f"the passes since the last step held some rows of the batch twice or more, and {missing} others not at all; expected "
                    "each record once: one that is in two passes, or twice in one, adds more than the bound"
                )
        self._seen = []

    def forget(self) -> None:
        """Begin anew."""
        self._seen = []

    def _open(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        turn = self._capture.turn
        if turn is None or not self._capture.batch_first:
            return
        if turn.draw is not self._piece:
            self._piece, self._looking = turn.draw, self._look()
        if not self._looking or not len(turn.draw.rows):
            return
        given = next(_tensors((args, kwargs)), None)
        if given is not None and len(given):
            rows, width = len(turn.draw.rows), given[0].numel()
            drawn = [x for x in _tensors(self._loader.batch) if len(x) == rows and x[0].numel() == width]
            turn.seen = Seen(_numbers(given), tuple(map(_numbers, drawn)))


@torch.no_grad()
def _numbers(x: Tensor) -> Tensor:
    """Each row as one whole number, the same for equal rows in whatever company, format that holds them and place."""
    flat = x.detach().reshape(len(x), -1)
    if flat.shape[1] > COLUMNS:
        chosen = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(flat.shape[1]))[:COLUMNS]
        flat = flat[:, chosen.to(flat.device)]
    words = flat.cpu().to(torch.float64).view(torch.int64)
    odd = torch.randint(2**62, (flat.shape[1],), generator=torch.Generator().manual_seed(0)) * 2 + 1
    mixed = (words ^ (words >> 32)) * odd
    return (mixed ^ (mixed >> 29)).sum(1)


def _tensors(held: Any) -> Iterator[Tensor]:
    if isinstance(held, Tensor):
        if held.dim() and held.layout == torch.strided and not held.is_complex() and not held.is_nested:
            yield held
    elif isinstance(held, Mapping):
        for part in held.values():
            yield from _tensors(part)
    elif isinstance(held, (list, tuple)):
        for part in held:
            yield from _tensors(part)
