"""Checks that the rows of a step are those of its batch, as far as the module's input shows it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quintain.core.errors import PrivacyError
from quintain.dp.capture.captured_pass import CapturedPass
from quintain.dp.capture.hooks import Capture
from quintain.dp.guards.row_numbers import MIN_ROWS, bytes_of_first_rows, has_rows, row_numbers
from quintain.dp.guards.spot_checks import SpotChecks
from quintain.dp.sampling.physical_batch import NO_BATCH, PhysicalBatch
from quintain.dp.sampling.stepped_loader import SteppedLoader
from quintain.dp.sampling.yielded_tensors import YieldedTensors, tensors_in

MAX_KNOWN_BATCHES = 4096
"""At most so many batches are remembered by their first rows."""


@dataclass(frozen=True, slots=True, eq=False)
class ObservedRows:
    """The rows of a pass' input, and those of the current batch that they may be, each as one number.

    Args:
        given: Rows of the input, (B,); None if they were not checked in full.
        batch_rows: Rows (R,) of each tensor of the batch whose rows are as long.
        is_of_earlier_batch: Whether they are wholly those of an earlier batch.
    """

    given: Tensor | None
    batch_rows: tuple[Tensor, ...]
    is_of_earlier_batch: bool


class RowCheck:
    """Compares the module's inputs to the batch that was sampled.

    At every pass, whether its inputs are the very tensors that the loader has yielded last, or parts of
    them. If they are not, whether they are those of an earlier batch, or the first one has the same first
    rows as an earlier batch: such a pass is refused when it counts. At the first batches and then at random,
    whether each row of the batch is used once.

    What the loop has changed (augmented, embedded, mixed) is no longer known by its numbers, and is not
    judged. Where a batch holds several tensors of such rows (inputs, numbers of rows), those of the module
    may be any of them: whichever they are whole is the one.

    Args:
        capture: Of the module to train.
        loader: Whose batches they are.
        look: Whether the next batch is looked at.
        unknown: Called at the first pass whose rows are not known to be those of the batch.
    """

    def __init__(
        self,
        capture: Capture,
        loader: SteppedLoader,
        look: SpotChecks,
        unknown: Callable[[], None] = lambda: None,
    ) -> None:
        self._capture, self._loader, self._look, self._unknown = capture, loader, look, unknown
        self._piece: PhysicalBatch = NO_BATCH
        self._looking = self._strange = False
        self._seen: list[ObservedRows] = []
        # first rows of batches that were in hand while other tensors were given, and the numbers of these
        # batches
        self._first: dict[bytes, int] = {}
        root = capture.root
        capture.add_handles(
            root.register_forward_pre_hook(
                lambda module, args, kwargs: self._on_forward_begin(args, kwargs) if module is root else None,
                with_kwargs=True,
            )
        )

    def record_pass(self, captured: CapturedPass) -> None:
        """Record a pass that is about to be summed.

        Raises:
            PrivacyError: If it is over an earlier batch, or the passes over a piece of a batch have as many
                rows as it has, and not each of its rows once.
        """
        seen, piece = captured.row_check_state, captured.physical_batch
        if not isinstance(seen, ObservedRows):
            return
        if seen.is_of_earlier_batch:
            raise PrivacyError(
                "a pass was over rows of an earlier batch while a later one of the private loader was in "
                "hand; expected each step on the batch that it yielded last: a record in several steps costs "
                "more than is counted for the batches that it was drawn for (a wrapper that fetches batches "
                "ahead draws them too early: take it off, and let the DataLoader's workers do so)"
            )
        if seen.given is None or len(seen.given) != captured.batch_size:
            return
        self._seen = [*self._seen, seen] if self._seen and piece is self._piece else [seen]
        parts = [one.given for one in self._seen if one.given is not None]
        if sum(map(len, parts)) != len(piece.rows):
            return
        given = torch.cat(parts).sort().values
        drawn = [one.sort().values for one in seen.batch_rows]
        for rows in () if any(torch.equal(given, rows) for rows in drawn) else drawn:
            if len(rows) >= MIN_ROWS and (rows.diff() != 0).all() and torch.isin(given, rows).all():
                missing = len(rows) - len(given.unique())
                raise PrivacyError(
                    "the passes since the last step held some rows of the batch twice or more, and "
                    f"{missing} others not at all; expected each record once: one that is in two passes, or "
                    "twice in one, adds more than the bound"
                )
        self._seen = []

    def reset(self) -> None:
        """Forget the passes of the last step."""
        self._seen = []

    def _on_forward_begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        captured = self._capture.open_pass
        if captured is None or self._loader.yielded_tensors is None or torch.compiler.is_compiling():
            return
        given = tensors_in((args, kwargs) if kwargs else args)
        old = self._is_of_earlier_batch(
            given, self._loader.yielded_tensors, captured.physical_batch.batch_number
        )
        if captured.physical_batch is not self._piece:
            self._piece, self._looking = captured.physical_batch, self._look()
        if old or self._looking:
            captured.row_check_state = self._observe_rows(given, captured.physical_batch, old=old)

    def _observe_rows(self, given: list[Tensor], piece: PhysicalBatch, *, old: bool) -> ObservedRows:
        """What the first input and the batch in hand have as rows."""
        rows = next(filter(has_rows, given), None)
        if rows is None or not self._capture.batch_first or not len(piece.rows):
            return ObservedRows(None, (), old)
        return ObservedRows(
            row_numbers(rows),
            tuple(row_numbers(x) for x in self._batch_tensors_like(rows) if len(x) == len(piece.rows)),
            old,
        )

    def _is_of_earlier_batch(self, given: list[Tensor], yielded: YieldedTensors, batch_number: int) -> bool:
        """Whether the rows of a pass are those of an earlier batch."""
        batch = self._loader.batch
        others = [x for x in given if not yielded.is_part_of(batch, x)]
        for x in others:
            # full batches hold the same rows again and again
            if yielded.is_of_earlier_batch(x, batch_number) and not any(
                x.shape == one.shape and torch.equal(x, one) for one in tensors_in(batch)
            ):
                return True
        if not others or others[0] is not given[0] or not has_rows(given[0]):
            return False
        return self._is_copy_of_earlier_batch(
            given[0],
            [x for x in self._batch_tensors_like(given[0]) if yielded.is_part_of(batch, x)],
            batch_number,
        )

    def _is_copy_of_earlier_batch(self, given: Tensor, drawn: list[Tensor], batch_number: int) -> bool:
        """Whether the first rows are those of an earlier batch; whatever else they are, unless the batch in
        hand has them, is unknown.
        """
        words, theirs = bytes_of_first_rows(given), [bytes_of_first_rows(x) for x in drawn]
        self._first.update(
            (known, batch_number) for known, x in zip(theirs, drawn, strict=True) if len(x) >= MIN_ROWS
        )
        if len(self._first) > MAX_KNOWN_BATCHES:
            self._first = dict(list(self._first.items())[MAX_KNOWN_BATCHES // 2 :])
        if words in theirs:
            return False
        old = (
            self._first.get(words, batch_number) != batch_number
            and len(row_numbers(given[:MIN_ROWS]).unique()) == MIN_ROWS
        )
        if not old and self._strange:
            return False
        numbers = row_numbers(given)
        if any(bool(torch.isin(numbers, row_numbers(x)).all()) for x in drawn):
            return False
        self._strange = True
        self._unknown()
        return old

    def _batch_tensors_like(self, x: Tensor) -> list[Tensor]:
        """The tensors of the batch in hand whose rows are as long."""
        return [
            one for one in tensors_in(self._loader.batch) if has_rows(one) and one[0].numel() == x[0].numel()
        ]
