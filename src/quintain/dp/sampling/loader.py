"""A loader of privately sampled batches; how a batch is sampled is left to its subclasses."""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import cache, partial
from typing import Any, ClassVar, Generic, NoReturn, Self, TypeVar, cast
from weakref import ref

import numpy as np
from torch.utils.data import DataLoader

from quintain.core.errors import DataError, PrivacyError, SettingError
from quintain.core.limits import require_at_least
from quintain.dp.accounting.guarantee import LoaderSampling
from quintain.dp.accounting.release import EpochPosition
from quintain.dp.distributed import SINGLE_PROCESS, World
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.sampling.batch_consumer import BatchConsumer
from quintain.dp.sampling.batch_source import BatchSource, FunctionSource, batch_source_for, refuse_to_fetch
from quintain.dp.sampling.collation_check import collation_doubt
from quintain.dp.sampling.ordinary_loader import dataset_and_batch_size
from quintain.dp.sampling.physical_batch import NO_BATCH, Indices, PhysicalBatch, Weights
from quintain.dp.sampling.privacy_units import PrivacyUnits
from quintain.dp.sampling.repeated_records import warn_of_repeats
from quintain.dp.sampling.yielded_tensors import YieldedTensors
from quintain.dp.write_once import WriteOnce

T_co = TypeVar("T_co", covariant=True)


class SamplingLoader(WriteOnce, Generic[T_co]):
    """Privately sampled batches, whole or in physical batches that fit into memory.

    A batch depends on the random stream and its own number alone, so workers can prepare batches ahead of
    time. ``batches_drawn`` (its number) and ``logical_batch_size`` describe the batch that the user holds
    now, not one that workers are preparing.

    Once an optimizer steps on the batches, an iteration begins after the last batch that was stepped on: one
    that was only looked at, or left by ``break``, comes again. An iteration inside another, such as an
    evaluation, looks at batches from there on; the outer one then goes on where it was. So steps are on the
    batches 1, 2, 3, ..., and which batches are used does not depend on the records in them.

    Its parameter is the type of a batch: what ``fetch`` returns, or that of the records of a DataLoader, by
    which torch types it.

    Args:
        fetch: Makes a batch of rows (int64 indices), also of none.
        num_units: n, which is public; the number of units, if there are ``units``.
        expected_batch_size: b, between 1 and n: also what the sum of gradients is divided by.
        steps_per_epoch: Batches of one iteration over the loader.
        stream: The source of random numbers.
        max_physical_batch_size: Maximum rows of a physical batch; each batch is then yielded in parts, and
            ``optimizer.step()`` acts at the last one.
        units: Privacy units, if units are protected instead of records.
        world: The processes that share each batch.

    Raises:
        SettingError: If the constants do not fit together.
        DataError: If there are no records.
    """

    WRITE_ONCE: ClassVar = frozenset({"num_units", "expected_batch_size", "stream", "units"})
    sampling: ClassVar[LoaderSampling]

    def __init__(
        self,
        fetch: Callable[[Indices], T_co],
        *,
        num_units: int,
        expected_batch_size: int,
        steps_per_epoch: int,
        stream: RandomStream,
        max_physical_batch_size: int | None = None,
        units: PrivacyUnits | None = None,
        world: World = SINGLE_PROCESS,
    ) -> None:
        if num_units < 1:
            raise DataError("got an empty data set; expected at least one record")
        if not 1 <= expected_batch_size <= num_units:
            raise SettingError(
                f"got an expected batch of {expected_batch_size} out of {num_units} records; expected 1 to "
                f"{num_units}: lower the batch size"
            )
        if steps_per_epoch < 1:
            raise SettingError(
                f"got {steps_per_epoch} steps an epoch; expected at least one (drop_last=True drops the only "
                "batch?)"
            )
        if units is not None and units.num_units != num_units:
            raise SettingError(
                f"got {num_units} records and {units.num_units} units; expected records = units: they are "
                "what is drawn"
            )
        world.check_same_on_all(
            {"records": num_units, "expected batch": expected_batch_size, "steps an epoch": steps_per_epoch}
        )
        self.num_units = num_units
        self.expected_batch_size = expected_batch_size
        self.steps_per_epoch = steps_per_epoch
        self.stream, self.units, self.world = stream, units, world
        self.max_physical_batch_size = max_physical_batch_size
        self.dataset: Any = None
        self.reproducible, self.compared = stream.reproducible, ""
        # numbers of batches: the one that the user holds, the last that the loop has finished, the last that
        # was stepped on
        self.batches_drawn = self.last_passed_batch = self._last_stepped_batch = 0
        self.physical_batch, self.yielded_tensors = NO_BATCH, YieldedTensors()
        self.batch: T_co | None = None
        # how often an iteration has begun, or continued after one inside it; what the innermost one has
        # yielded
        self._iterations_begun, self._yielded_last = 0, cast(tuple[PhysicalBatch, T_co] | None, None)
        self.augmentations_per_record = 1
        self.should_stop: Callable[[], bool] = lambda: False
        self.collation_doubt: Callable[[], str | None] = lambda: None
        self.batch_source: BatchSource[T_co] = FunctionSource(fetch)
        self._within_unit_stream = stream.derive("within")
        self._optimizer_ref: Callable[[], BatchConsumer | None] | None = None

    @classmethod
    def from_loader(
        cls,
        loader: "DataLoader[T_co]",
        stream: RandomStream,
        *,
        max_physical_batch_size: int | None = None,
        units: PrivacyUnits | Iterable[Hashable] | None = None,
        world: World = SINGLE_PROCESS,
    ) -> Self:
        """A private loader with the data, collation, workers, length and (expected) batch size of another.

        Args:
            loader: The ordinary loader. Its generator and order are not used; the rate and length of a
                ``UniformWithReplacementSampler`` are. With ``units``, a batch is expected to hold the same
                fraction of the units as the batch size is of the records. With a DistributedSampler, the
                batch size is that of one process.
            stream: Where the draws come from.
            max_physical_batch_size, world: As for the class.
            units: Whom the records belong to; or one key for each record, as ``PrivacyUnits`` takes them.

        Raises:
            SettingError: If it is no DataLoader, streams, or has a sampler of its own or no batch size.
        """
        dataset, batch = dataset_and_batch_size(loader, world, cls.sampling)
        records = len(dataset)
        if units is not None:
            units = units if isinstance(units, PrivacyUnits) else PrivacyUnits(units)
            units.check_length(records)
        warn_of_repeats(dataset, units)
        if units is not None:
            # the same fraction of the units, batch * count / records, rounded in integers
            records, batch = units.num_units, max(1, (2 * batch * units.num_units + records) // (2 * records))
        private = cls(
            refuse_to_fetch,
            num_units=records,
            expected_batch_size=batch,
            steps_per_epoch=len(loader),
            stream=stream,
            max_physical_batch_size=max_physical_batch_size,
            units=units,
            world=world,
        )
        private.dataset, private.batch_source = dataset, batch_source_for(loader, stream.derive("workers"))
        private.collation_doubt = cache(partial(collation_doubt, loader))
        return private

    @property
    def sample_rate(self) -> float:
        """The expected fraction of records in a batch, q; in Poisson sampling each record's probability."""
        return self.expected_batch_size / self.num_units

    @property
    def batch_size(self) -> int:
        """The expected batch size, which is public; sampled batches hold more or fewer rows."""
        return self.expected_batch_size

    @property
    def last_stepped_batch(self) -> int:
        """The number of the last batch that was stepped on, or given up (see ``mark_consumed``)."""
        return self._last_stepped_batch

    @property
    def logical_batch_size(self) -> int:
        """The number of rows of the whole current batch, of this process; private."""
        return self.physical_batch.logical_batch_size

    @property
    def unit_ids(self) -> Indices | None:
        """The unit of each row of the current physical batch."""
        return self.physical_batch.unit_ids

    def current_batch(self) -> PhysicalBatch:
        """The physical batch that the user holds."""
        return self.physical_batch

    def epoch_position(self, batch: int) -> EpochPosition | None:  # noqa: ARG002
        """Where a batch stands in its epoch; None if batches are sampled independently."""
        return None

    @property
    def max_physical_batch_size(self) -> int | None:
        """The maximum number of rows of a physical batch; a change acts from the next iteration on."""
        return self._max_physical_batch

    @max_physical_batch_size.setter
    def max_physical_batch_size(self, most: int | None) -> None:
        if most is not None:
            require_at_least(1, max_physical_batch_size=most)
        self._max_physical_batch = most

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse copies, shallow ones too: two steps on one batch cost more than two batches count for."""
        raise PrivacyError(
            "got a request to copy or pickle a private loader; expected each run to draw its own batches: "
            "make_private anew, with an ordinary DataLoader"
        )

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[T_co]:
        outer, self.batches_drawn = self._yielded_last, self._start
        try:
            yield from self._iterate()
        finally:
            self._yielded_last = outer
            if outer is not None and outer[0].batch_number > self.last_stepped_batch:
                self._return_to(*outer)

    def _iterate(self) -> Iterator[T_co]:
        left, mine = self.steps_per_epoch, self._begin_iteration()
        while left:
            # the loop may go back, or be restored to another batch: physical batches that were fetched ahead
            # are then of the wrong batch, and are fetched again
            for piece, batch in self._prefetch(left):
                if self.batches_drawn != piece.batch_number - piece.is_first or not (
                    piece.is_first or piece.is_continuation_of(self.physical_batch)
                ):
                    break
                left -= piece.is_first
                self.physical_batch, self.batches_drawn, self.batch = piece, piece.batch_number, batch
                if piece.is_first and self.should_stop():
                    return
                self._yielded_last = piece, batch
                self.yielded_tensors.add(batch, piece.batch_number)
                yield batch
                if mine != self._iterations_begun and self._optimizer_ref is not None:
                    mine = self._begin_iteration()
                    self._return_to(piece, batch)
                    if piece.is_last or self.batches_drawn != piece.batch_number:
                        self._note_if_skipped(piece)
                        break
                if self.batches_drawn < piece.batch_number:
                    left += 1
                    break
                self._note_if_skipped(piece)

    def num_physical_batches(self) -> int:
        """The number of physical batches of the next iteration; its batches are sampled to count them."""
        return sum(
            1 for turn in range(self._start, self._start + self.steps_per_epoch) for _ in self._split(turn)
        )

    @property
    def _start(self) -> int:
        """The number of the batch after which the next iteration begins."""
        return self.batches_drawn if self._optimizer_ref is None else self.last_stepped_batch

    def bind_optimizer(self, optimizer: BatchConsumer) -> None:
        """Let one optimizer step on the batches.

        Raises:
            PrivacyError: If another still does: two steps on one draw cost more than two on draws of their
                own.
        """
        other = self._optimizer
        if other is not None and other.capture.is_attached:
            raise PrivacyError(
                "got a loader whose batches another private optimizer steps on; expected one for each: two "
                "steps on the same draw cost more than is counted for two draws"
            )
        self._optimizer_ref = ref(optimizer)

    def mark_consumed(self, batches: int) -> None:
        """Mark batches up to this one as consumed: iterations begin after it.

        Raises:
            PrivacyError: If a later batch was stepped on already.
        """
        if batches < self._last_stepped_batch:
            raise PrivacyError(
                f"got a request to go on after batch {batches}, and batch {self._last_stepped_batch} was "
                "stepped on already; expected no earlier one: a batch is used once"
            )
        self.batches_drawn = self.last_passed_batch = self._last_stepped_batch = batches

    def rewind_batch(self) -> None:
        """Go back to the beginning of the current batch: its rows come again, split anew."""
        self.batches_drawn = self.physical_batch.batch_number - 1

    @property
    def _optimizer(self) -> BatchConsumer | None:
        """The optimizer that steps on the batches, if any."""
        return None if self._optimizer_ref is None else self._optimizer_ref()

    def _begin_iteration(self) -> int:
        """A new number for an iteration that begins or continues, so that it notices others in between."""
        self._iterations_begun += 1
        return self._iterations_begun

    def _return_to(self, physical_batch: PhysicalBatch, batch: T_co) -> None:  # type: ignore[misc]
        """Restore the batch of an outer iteration after an inner one, unless that has stepped further."""
        if self.last_stepped_batch <= physical_batch.batch_number:
            self.physical_batch, self.batches_drawn, self.batch = (
                physical_batch,
                physical_batch.batch_number,
                batch,
            )
        else:
            self.batches_drawn = self.last_stepped_batch

    def _note_if_skipped(self, physical_batch: PhysicalBatch) -> None:
        """Note a batch that the loop has finished, if training has skipped its step."""
        optimizer = self._optimizer
        if (
            optimizer is not None
            and physical_batch.is_last
            and physical_batch.batch_number > self.last_stepped_batch
            and optimizer.capture.root.training
        ):
            self.last_passed_batch = physical_batch.batch_number

    @abstractmethod
    def _sample_units(self, batch_index: int) -> Indices:
        """Sample the units (or records) of a batch, in order; the stream is at that batch."""

    def _prefetch(self, batches: int) -> Iterator[tuple[PhysicalBatch, T_co]]:
        """Yield the next physical batches; sampled when the source, whose workers prefetch, asks for them."""
        start, waiting = self.batches_drawn, deque[PhysicalBatch]()

        def rows() -> Iterator[Indices]:
            for turn in range(start, start + batches):
                for piece in self._split(turn):
                    waiting.append(piece)
                    yield piece.rows

        for batch in self.batch_source.iter_batches(rows(), start):
            yield waiting.popleft(), batch

    def _split(self, batch_index: int) -> Iterator[PhysicalBatch]:
        """Split one batch into physical batches of whole units."""
        rows, counts, unit_weights = self._sample_rows(batch_index)
        whole = PhysicalBatch(
            batch_number=batch_index + 1,
            rows=rows,
            end=len(rows),
            logical_batch_size=len(rows),
            rows_per_unit=counts,
            unit_weights=unit_weights,
        )
        yield from whole.split(self.max_physical_batch_size)

    def _sample_rows(self, batch_index: int) -> tuple[Indices, Indices | None, Weights | None]:
        """Sample this process' rows of a batch, the number of rows of each unit, and their weights."""
        self.stream.seek(batch_index)
        chosen = self._sample_units(batch_index)
        if len(chosen) > 1 and int(np.diff(chosen).min()) <= 0:
            raise PrivacyError(
                f"got a {type(self).__name__} that sampled a record, or unit, twice in a batch or out of "
                "order; expected strictly increasing numbers: epsilon counts each once per batch"
            )
        if self.units is None:
            rows = self.world.shard(chosen)
            counts = np.ones(len(rows), dtype=np.int64)
            unit_weights = np.ones(len(rows))
            if self.augmentations_per_record == 1:
                return rows, None, None
        else:
            self._within_unit_stream.seek(batch_index)
            rows, counts, unit_weights = self.units.sample_rows(chosen, self._within_unit_stream, self.world)
        return (
            np.repeat(rows, self.augmentations_per_record),
            counts * self.augmentations_per_record,
            unit_weights / self.augmentations_per_record,
        )
