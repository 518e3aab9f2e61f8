"""Poisson sampling: each record is in each batch with the same probability, independently."""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, cast
from weakref import ref

import numpy as np
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, RandomSampler, Sampler, SequentialSampler

from quintain.core.errors import DataError, PrivacyError, SettingError
from quintain.dp.accounting.guarantee import Sampling
from quintain.dp.accounting.release import EpochPosition
from quintain.dp.draws.batches import Fetched, Source, of_loader
from quintain.dp.draws.distributed import ALONE, Ranks
from quintain.dp.draws.handed import Handed
from quintain.dp.draws.pieces import NOTHING, Indices, Piece, Shares
from quintain.dp.draws.repeats import warn_of_repeats
from quintain.dp.draws.units import Units
from quintain.dp.step.fixed import Fixed
from quintain.dp.step.noise import Stream

if TYPE_CHECKING:
    from quintain.dp.step.optimizer import DPOptimizer


class SamplingLoader(Fixed):
    """Batches of secret rows, whole or in pieces that fit into memory.

    A batch follows from the stream and its own number alone, so workers may fetch ahead; ``draws`` (its
    number) and ``size`` are those of the batch in the user's hands.

    Once an optimizer steps on the batches, an iteration begins after the last batch that was stepped on: one
    that was only looked at, or left by ``break``, comes again. An iteration inside another, such as an
    evaluation, looks at batches from there on; the outer one then goes on where it was. So steps are on the
    batches 1, 2, 3, ..., and which batches are used does not depend on the records in them.

    Args:
        fetch: Makes a batch of rows (int64 indices), also of none.
        records: n, which is public; the number of units, if there are ``units``.
        expected_batch_size: b, between 1 and n: also what the sum of gradients is divided by.
        steps_per_epoch: Batches of one iteration over the loader.
        stream: Where the draws come from.
        max_physical_batch: Rows that a piece holds at most; each batch is then yielded piece by piece, and ``optimizer.step()`` acts at the
            last one of a batch.
        units: Whom the records belong to, if units are protected instead of records.
        ranks: The processes that share each draw.

    Raises:
        SettingError: If the constants do not fit together.
        DataError: If there are no records.
    """

    FIXED: ClassVar = frozenset({"records", "expected_batch_size", "stream", "units"})
    sampling: ClassVar[Sampling]

    def __init__(
        self,
        fetch: Callable[[Indices], Any],
        *,
        records: int,
        expected_batch_size: int,
        steps_per_epoch: int,
        stream: Stream,
        max_physical_batch: int | None = None,
        units: Units | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        if records < 1:
            raise DataError("got an empty data set; expected at least one record")
        if not 1 <= expected_batch_size <= records:
            raise SettingError(
                f"got an expected batch of {expected_batch_size} out of {records} records; expected 1 to {records}: lower the batch size"
            )
        if steps_per_epoch < 1:
            raise SettingError(f"got {steps_per_epoch} steps an epoch; expected at least one (drop_last=True drops the only batch?)")
        if units is not None and units.count != records:
            raise SettingError(f"got {records} records and {units.count} units; expected records = units: they are what is drawn")
        ranks.agree({"records": records, "expected batch": expected_batch_size, "steps an epoch": steps_per_epoch})
        self.records = records
        self.expected_batch_size = expected_batch_size
        self.steps_per_epoch = steps_per_epoch
        self.stream, self.units, self.ranks = stream, units, ranks
        self.max_physical_batch = max_physical_batch
        self.dataset: Any = None
        self.reproducible, self.compared = False, ""
        # numbers of batches: the one in the user's hands, the latest that the loop is done with, the latest
        # that was stepped on
        self.draws = self.passed = self._spent = 0
        self.piece, self.batch, self.handed = NOTHING, None, Handed()
        # how often an iteration has begun, or gone on after one inside it; what the innermost of them has in hand
        self._turns, self._held = 0, cast(tuple[Piece, Any] | None, None)
        self.copies = 1
        self.ended: Callable[[], bool] = lambda: False
        self.source: Source = Fetched(fetch)
        self._within = stream.child("within")
        self._stepped: Callable[[], DPOptimizer | None] | None = None

    @classmethod
    def like(
        cls,
        loader: "DataLoader[Any]",
        stream: Stream,
        *,
        max_physical_batch: int | None = None,
        units: Units | Iterable[Hashable] | None = None,
        ranks: Ranks = ALONE,
    ) -> Self:
        """A private loader with the data, collation, workers, length and (expected) batch size of another.

        Args:
            loader: The ordinary loader. Its generator and order are not used; the rate and length of a
                ``UniformWithReplacementSampler`` are. With ``units``, a batch is expected to hold the same
                fraction of the units as the batch size is of the records. With a DistributedSampler, the
                batch size is that of one process.
            stream: Where the draws come from.
            max_physical_batch, ranks: As for the class.
            units: Whom the records belong to; or one key for each record, as ``Units`` takes them.

        Raises:
            SettingError: If it is no DataLoader, streams, or has a sampler of its own or no batch size.
        """
        dataset, batch = _checked(loader, ranks, cls.sampling)
        records = len(dataset)
        if units is not None:
            units = units if isinstance(units, Units) else Units(units)
            units.check(records)
        warn_of_repeats(dataset, units)
        if units is not None:
            # the same fraction of the units, batch * count / records, rounded to a whole number in integers
            records, batch = units.count, max(1, (2 * batch * units.count + records) // (2 * records))
        made = cls(
            lambda _rows: None,
            records=records,
            expected_batch_size=batch,
            steps_per_epoch=len(loader),
            stream=stream,
            max_physical_batch=max_physical_batch,
            units=units,
            ranks=ranks,
        )
        made.dataset, made.source = dataset, of_loader(loader, stream.child("workers"))
        return made

    @property
    def sample_rate(self) -> float:
        """q, the expected fraction of records in a batch; in Poisson sampling, each record's probability."""
        return self.expected_batch_size / self.records

    @property
    def batch_size(self) -> int:
        """The expected batch size, as of the loader it was made from: sampled batches hold more or fewer, and the number is public."""
        return self.expected_batch_size

    @property
    def spent(self) -> int:
        """Number of the latest batch that was stepped on, or given up (see ``use_up``)."""
        return self._spent

    @property
    def size(self) -> int:
        """Rows of the whole batch in the user's hands, of this process; private."""
        return self.piece.size

    @property
    def owners(self) -> Indices | None:
        """Unit of each row in the user's hands (see ``Piece``)."""
        return self.piece.owners

    def place(self, batch: int) -> EpochPosition | None:  # noqa: ARG002
        """Where a batch is in passes that hold each unit once; None if batches are drawn independently."""
        return None

    @property
    def max_physical_batch(self) -> int | None:
        """Rows that a piece holds at most; a change acts from the next iteration on."""
        return self._most

    @max_physical_batch.setter
    def max_physical_batch(self, most: int | None) -> None:
        if most is not None and most < 1:
            raise SettingError(f"got a physical batch of at most {most}; expected at least 1")
        self._most = most

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse copies, shallow ones too: two steps on one draw cost more than is counted for two draws."""
        raise PrivacyError(
            "got a request to copy or pickle a private loader; expected each run to draw its own batches: make_private anew, with an "
            "ordinary DataLoader"
        )

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[Any]:
        around, self.draws = self._held, self._start
        try:
            yield from self._iterated()
        finally:
            self._held = around
            if around is not None and around[0].draw > self.spent:
                self._return_to(*around)

    def _iterated(self) -> Iterator[Any]:
        left, mine = self.steps_per_epoch, self._turn()
        while left:
            # the loop may go back, or be restored to another batch: pieces fetched ahead are then of the
            # wrong batch, and fetched anew
            for piece, batch in self._ahead(left):
                if self.draws != piece.draw - piece.first or not (piece.first or piece.follows(self.piece)):
                    break
                left -= piece.first
                self.piece, self.draws, self.batch = piece, piece.draw, batch
                if piece.first and self.ended():
                    return
                self._held = piece, batch
                self.handed.add(batch, piece.draw)
                yield batch
                if mine != self._turns and self._stepped is not None:
                    mine = self._turn()
                    self._return_to(piece, batch)
                    if piece.last or self.draws != piece.draw:
                        self._pass_by(piece)
                        break
                if self.draws < piece.draw:
                    left += 1
                    break
                self._pass_by(piece)

    def physical_batches(self) -> int:
        """How many pieces the next iteration yields; batches are drawn to count them, and then once more."""
        return sum(1 for turn in range(self._start, self._start + self.steps_per_epoch) for _ in self._cut(turn))

    @property
    def _start(self) -> int:
        """Number of the batch after which the next iteration begins."""
        return self.draws if self._stepped is None else self.spent

    def serve(self, optimizer: "DPOptimizer") -> None:
        """Let one optimizer step on the batches.

        Raises:
            PrivacyError: If another still does: two steps on one draw cost more than two on draws of their own.
        """
        other = self._optimizer
        if other is not None and other.capture.is_attached:
            raise PrivacyError(
                "got a loader whose batches another private optimizer steps on; expected one for each: two steps on the same draw cost "
                "more than is counted for two draws"
            )
        self._stepped = ref(optimizer)

    def use_up(self, draws: int) -> None:
        """Note that batches up to this one were stepped on, or never will be: iterations begin after it."""
        if draws < self._spent:
            raise PrivacyError(f"got a place of {draws} batches after {self._spent}; expected none that is earlier: a batch is used once")
        self.draws = self.passed = self._spent = draws

    def again(self) -> None:
        """Go back to the beginning of the batch in hand: its rows come again, cut into pieces anew."""
        self.draws = self.piece.draw - 1

    @property
    def _optimizer(self) -> "DPOptimizer | None":
        """The optimizer that steps on the batches, if any."""
        return None if self._stepped is None else self._stepped()

    def _turn(self) -> int:
        """A number for an iteration that begins or goes on: it is another where a second one has run in between."""
        self._turns += 1
        return self._turns

    def _return_to(self, piece: Piece, batch: Any) -> None:
        """Go back to what an iteration had in hand before another ran inside it, unless that one has stepped further."""
        if self.spent <= piece.draw:
            self.piece, self.draws, self.batch = piece, piece.draw, batch
        else:
            self.draws = self.spent

    def _pass_by(self, piece: Piece) -> None:
        """Note a batch that the loop is done with, if training has left it without a step."""
        optimizer = self._optimizer
        if optimizer is not None and piece.last and piece.draw > self.spent and optimizer.capture.root.training:
            self.passed = piece.draw

    @abstractmethod
    def _chosen(self, turn: int) -> Indices:
        """The records, or units, of batch ``turn`` (from 0), in order; the stream is at that batch."""

    def _ahead(self, batches: int) -> Iterator[tuple[Piece, Any]]:
        """The next batches in pieces; drawn when the source, whose workers may be ahead, asks for them."""
        start, waiting = self.draws, deque[Piece]()

        def rows() -> Iterator[Indices]:
            for turn in range(start, start + batches):
                for piece in self._cut(turn):
                    waiting.append(piece)
                    yield piece.rows

        for batch in self.source.run(rows(), start):
            yield waiting.popleft(), batch

    def _cut(self, turn: int) -> Iterator[Piece]:
        """The pieces of one batch; each holds whole units."""
        rows, counts, shares = self._drawn(turn)
        ends = np.arange(1, len(rows) + 1) if counts is None else np.cumsum(counts)
        size, most = len(rows), self.max_physical_batch
        if most is None or size <= most:
            yield Piece(turn + 1, rows, size, size, counts, shares)
            return
        # as many whole units as fit: ``start`` and ``unit`` are the first row and the first unit of the piece
        start = unit = 0
        while start < size:
            stop = int(np.searchsorted(ends, start + most, side="right"))
            if stop == unit:
                raise PrivacyError(
                    f"a unit of {ends[unit] - start} rows does not fit into a physical batch of {most}, and must not be cut: its records "
                    "are clipped together; expected a larger max_physical_batch, or Units(..., at_most=)"
                )
            end, part = int(ends[stop - 1]), slice(unit, stop)
            groups = (None, None) if counts is None or shares is None else (counts[part], shares[part])
            yield Piece(turn + 1, rows[start:end], end, size, *groups)
            start, unit = end, stop

    def _drawn(self, turn: int) -> tuple[Indices, Indices | None, Shares | None]:
        """This process' rows of one batch, how many each unit has, and the weight of each unit's rows."""
        self.stream.seek(turn)
        chosen = self._chosen(turn)
        if self.units is None:
            rows = self.ranks.part(chosen)
            counts = np.ones(len(rows), dtype=np.int64)
            shares = np.ones(len(rows))
            if self.copies == 1:
                return rows, None, None
        else:
            self._within.seek(turn)
            rows, counts, shares = self.units.rows(chosen, self._within, self.ranks)
        return np.repeat(rows, self.copies), counts * self.copies, shares / self.copies


class PoissonLoader(SamplingLoader):
    r"""Batches in which each of ``records`` takes part with probability ``expected_batch_size / records``, independently.

    .. math:: q = b / n, \qquad |B_t| \sim \mathrm{Bin}(n, q)

    The size of a batch is random and private; the constants are public, integers kept exact. An empty batch is a batch: it is
    yielded with a first dimension of 0, and its step, pure noise, counts like any other. With an expected batch of all records, each
    batch holds them all.
    """

    sampling = "poisson"

    def _chosen(self, turn: int) -> Indices:  # noqa: ARG002
        return self.stream.chosen(self.records, self.expected_batch_size)


class PoissonRows(Sampler[list[int]]):
    """A batch sampler: each of ``num_samples`` rows with probability ``sample_rate``, independently."""

    num_samples: int
    sample_rate: float


def _expected(sampler: PoissonRows, records: int, sampling: Sampling) -> int:
    """The expected batch of a sampler, rounded to a whole number."""
    if sampler.num_samples != records or sampling != "poisson":
        raise SettingError(
            f"got a {type(sampler).__name__} of {sampler.num_samples} rows for {records} records and "
            f"{sampling} sampling; expected num_samples=len(dataset), and poisson_sampling=True"
        )
    return max(1, round(sampler.sample_rate * records))


def _checked(loader: "DataLoader[Any]", ranks: Ranks, sampling: Sampling) -> tuple[Any, int]:
    """The data set of a loader that Poisson sampling can replace, and its expected batch, over all processes."""
    if not isinstance(loader, DataLoader):
        raise SettingError(f"got a {type(loader).__name__}; expected an ordinary DataLoader, to make the private one from")
    if isinstance(loader.dataset, IterableDataset) or not isinstance(loader.dataset, Sized):
        raise SettingError("got a data set that streams; Poisson sampling draws records by index: expected one with a length")
    if isinstance(loader.batch_sampler, PoissonRows):
        return loader.dataset, _expected(loader.batch_sampler, len(loader.dataset), sampling)
    if loader.batch_size is None:
        raise SettingError("got a loader without a batch size; expected DataLoader(dataset, batch_size=...), its expected batch")
    sampler = loader.sampler
    shared = isinstance(sampler, DistributedSampler)
    if isinstance(sampler, DistributedSampler) and sampler.num_replicas != ranks.size:
        raise SettingError(
            f"got a DistributedSampler for {sampler.num_replicas} processes, and training by {ranks.size}; expected as many: wrap the "
            "module in DifferentiallyPrivateDistributedDataParallel, or leave the sampler out"
        )
    if not isinstance(sampler, (RandomSampler, SequentialSampler, DistributedSampler)):
        raise SettingError(
            f"got a loader with a {type(sampler).__name__}, which Poisson sampling replaces; expected none: "
            "for a part of the data, use torch.utils.data.Subset(dataset, rows)"
        )
    if not len(loader.dataset):
        raise DataError("got an empty data set; expected at least one record")
    return loader.dataset, loader.batch_size * (ranks.size if shared else 1)
