"""Attacks the batches of one process in chunks of some seconds; saved chunks let a run be resumed."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from torch import Tensor

from quintain.core.errors import ExecutionError, StorageError
from quintain.core.progress import CHECKPOINT_SECONDS, Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.evasion.attack_chunk import attack_chunk
from quintain.evaluate.evasion.checkpoint import Chunk, ChunkKey, ChunkStore
from quintain.evaluate.evasion.job import AttackFn, AttackJob
from quintain.evaluate.pacing import Pace, smallest_batch, work_clock
from quintain.evaluate.workers import SINGLE_PROCESS, WorkerGroup
from quintain.models.devices import search_device
from quintain.models.memory import in_fitting_parts
from quintain.models.protocol import ClassifierLike
from quintain.threats.threat import Threat


@dataclass(slots=True)
class ShardResult:
    """What one process has finished.

    Args:
        chunks: The finished examples of each batch, attack and threat.
        finished_batches: Numbers of the batches that all attacks have finished.
        stop_reason: Why the process stopped early; empty if it did not.
    """

    chunks: dict[ChunkKey, Chunk] = field(default_factory=dict)
    finished_batches: set[int] = field(default_factory=set)
    stop_reason: str = ""

    def add(self, key: ChunkKey, chunk: Chunk) -> None:
        """Append a chunk to the finished examples of its batch, attack and threat."""
        known = [self.chunks[key]] if key in self.chunks else []
        self.chunks[key] = Chunk.concatenate([*known, chunk])


def run_shard(
    job: AttackJob,
    model: ClassifierLike,
    data: Dataset,
    correct: np.ndarray,
    certified: np.ndarray,
    *,
    store: ChunkStore | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    workers: WorkerGroup = SINGLE_PROCESS,
    progress: Progress = no_progress,
    label: str = "attack",
    clock: Callable[[], float] | None = None,
) -> ShardResult:
    """Attack the batches of this process; if the model fails, stop and return the chunks finished so far.

    Args:
        job: What every process must agree on.
        model: The model under attack.
        data: All examples.
        correct: Which of them are classified correctly (N,) bool; the others are not attacked.
        certified: Certified radii (N,); an example is not attacked at an eps at which it is certified.
        store: Where chunks are saved and loaded from; without it batches are not cut into chunks.
        checkpoint_seconds: About how long a chunk takes; longer if the model is much slower on batches as
            small as that needs.
        workers: The processes that share the work.
        progress: Shows a bar of examples.
        label: Label of the bar.
        clock: Seconds of work; ``work_clock`` of the model if not given.

    Raises:
        ExecutionError: If the only process has finished no chunk; one of several processes returns the
            reason, and ``gather_shards`` raises.
        StorageError: If a chunk cannot be saved.
        KeyboardInterrupt: After Ctrl-C; the message says how many chunks are saved.
    """
    result = ShardResult()
    shard = _Shard(
        job,
        model,
        data,
        correct,
        certified,
        store=store,
        seconds=checkpoint_seconds,
        clock=clock or work_clock(model),
    )
    starts = [
        start for number, start in enumerate(range(0, len(data), job.batch_size)) if workers.owns(number)
    ]
    runs = sum(len(job.threats_for(attack)) for attack in job.attacks.values())
    total = runs * sum(min(start + job.batch_size, len(data)) - start for start in starts)
    done = 0
    with progress.bar(label, total) as advance:
        try:
            for start in starts:
                rows = np.arange(start, min(start + job.batch_size, len(data)))
                number = start // job.batch_size
                for key, chunk, count in shard.attack_batch(number, rows):
                    if chunk is not None:
                        result.add(key, chunk)
                    advance(count)
                    done += count
                result.finished_batches.add(number)
        except StorageError:
            raise
        except ExecutionError as error:
            if not result.chunks and workers.world_size == 1:
                raise
            result.stop_reason = str(error)
        except KeyboardInterrupt:
            if store is None or not shard.num_chunks:
                raise
            counted = "" if runs == 1 else f", counted once for each of {runs} attacks and sizes"
            chunks = f"{shard.num_chunks} chunk{'s' * (shard.num_chunks != 1)}"
            raise KeyboardInterrupt(f"{chunks} ({done} of {total} examples{counted})") from None
    return result


def gather_shards(workers: WorkerGroup, own: ShardResult) -> ShardResult:
    """Gather the chunks of all processes; each process gets them all.

    Raises:
        ExecutionError: If the model failed before any process had finished a chunk.
    """
    merged = ShardResult()
    for block in workers.all_gather(_pack(own)):
        result = _unpack(block)
        merged.chunks |= result.chunks
        merged.finished_batches |= result.finished_batches
        merged.stop_reason = merged.stop_reason or result.stop_reason
    if merged.stop_reason and not merged.chunks:
        raise ExecutionError(merged.stop_reason)
    return merged


@dataclass(slots=True)
class _Shard:
    """The work of one process; it measures the speed of each attack.

    Args:
        job, model, data, correct, certified, store, clock: As for ``run_shard``.
        seconds: About how long a chunk takes.

    Attributes:
        num_chunks: Number of chunks that are saved.
    """

    job: AttackJob
    model: ClassifierLike
    data: Dataset
    correct: np.ndarray
    certified: np.ndarray
    store: ChunkStore | None
    seconds: float
    clock: Callable[[], float]
    num_chunks: int = field(default=0, init=False)
    _rows_with_image: set[int] = field(default_factory=set, init=False)
    _paces: dict[str, Pace] = field(default_factory=dict, init=False)

    def attack_batch(self, number: int, rows: np.ndarray) -> Iterator[tuple[ChunkKey, Chunk | None, int]]:
        """Attack one batch with every attack at every threat, from the smallest up.

        Each attack starts from the correctly classified examples; at a larger eps it attacks those that it
        has not broken at a smaller one.

        Yields:
            The key, a chunk or None, and a number of finished examples: first, without a chunk, of those that
            need no attack, then of each chunk.
        """
        device = search_device(self.model.device)
        x, y = (tensor.to(device) for tensor in self.data.batch(rows))
        invalid = np.zeros(len(rows), dtype=bool)
        for name, attack in self.job.attacks.items():
            active = self.correct[rows] & ~invalid
            for threat in self.job.threats_for(attack):
                key = ChunkKey(number, name, threat.spec)
                is_certified = (self.certified[rows] >= threat.eps) & (self.certified[rows] > 0)
                attacked = np.flatnonzero(active & ~is_certified)
                yield key, None, len(rows) - len(attacked)
                for chunk in self._chunks(key, attack, threat, x[attacked], y[attacked], rows[attacked]):
                    # the rows of a batch are consecutive
                    positions = chunk.rows - rows[0]
                    invalid[positions] |= chunk.invalid
                    active[positions] &= ~(chunk.broken | chunk.invalid)
                    yield key, self._drop_images(chunk), len(positions)

    def _chunks(
        self, key: ChunkKey, attack: AttackFn, threat: Threat, x: Tensor, y: Tensor, rows: np.ndarray
    ) -> Iterator[Chunk]:
        """Yield the chunks of one attack at one threat on some rows: those that are saved, then new ones."""
        finished = self.store.get(key) if self.store is not None else []
        for chunk in finished:
            self.num_chunks += 1
            yield chunk
        remaining = np.flatnonzero(~np.isin(rows, [row for chunk in finished for row in chunk.rows]))
        while len(remaining):
            now = remaining[: self._next_size(key.attack, x, len(remaining))]
            started = self.clock()
            run = partial(attack_chunk, self.job, self.model, attack, threat, x[now], y[now], rows[now])
            for chunk in in_fitting_parts(run, len(now), work=f"attack {key.attack}"):
                if key.attack in self._paces:
                    self._paces[key.attack].record(len(chunk.rows), self.clock() - started)
                if self.store is not None:
                    self.store.put(key, chunk)
                    self.num_chunks += 1
                yield chunk
                started = self.clock()
            remaining = remaining[len(now) :]

    def _next_size(self, attack: str, x: Tensor, num_remaining: int) -> int:
        """Return how many examples are attacked next: all of them where nothing is saved."""
        if self.store is None or not math.isfinite(self.seconds):
            return num_remaining
        if attack not in self._paces:
            # the smallest batch depends on the model alone, so it is measured once for all attacks
            known = next(iter(self._paces.values()), None)
            smallest = known.smallest if known else smallest_batch(self.model, x)
            self._paces[attack] = Pace(self.job.batch_size if smallest is None else smallest, self.seconds)
        return self._paces[attack].next_size(num_remaining)

    def _drop_images(self, chunk: Chunk) -> Chunk:
        """Return the chunk without the images that neither pictures nor diagnostics need, to save memory."""
        new = [row for row in chunk.kept.tolist() if row not in self._rows_with_image]
        needed = {
            row
            for index, row in enumerate(new)
            if len(self._rows_with_image) + index < self.job.num_pictures or row in self.job.probed
        }
        self._rows_with_image |= needed
        return chunk.keep_only(needed)


def _pack(result: ShardResult) -> bytes:
    """Encode a result for other processes: the length of a header, the header as JSON, the chunks."""
    chunks = [chunk.encode() for chunk in result.chunks.values()]
    header = json.dumps(
        {
            "chunks": [[*key, len(chunk)] for key, chunk in zip(result.chunks, chunks, strict=True)],
            "finished_batches": sorted(result.finished_batches),
            "stop_reason": result.stop_reason,
        }
    ).encode()
    return b"".join((len(header).to_bytes(8, "big"), header, *chunks))


def _unpack(data: bytes) -> ShardResult:
    """Decode what ``_pack`` has encoded."""
    start = 8 + int.from_bytes(data[:8], "big")
    header = json.loads(data[8:start])
    result = ShardResult(finished_batches=set(header["finished_batches"]), stop_reason=header["stop_reason"])
    for batch, attack, threat, length in header["chunks"]:
        result.chunks[ChunkKey(batch, attack, threat)] = Chunk.decode(data[start : start + length])
        start += length
    return result
