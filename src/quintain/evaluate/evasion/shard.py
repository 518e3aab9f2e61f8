"""Attack this process' batches in chunks of some seconds, and save every finished chunk.

An interrupted run can then resume.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.goal import Goal
from quintain.attacks.minimum_norm.refinement import bisect_to_boundary
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.attacks.search import Search
from quintain.core.errors import ExecutionError, StorageError
from quintain.core.progress import CHECKPOINT_SECONDS, Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.evasion.checkpoint import Chunk, ChunkKey, ChunkStore
from quintain.evaluate.pacing import Pace, smallest_batch, work_clock
from quintain.evaluate.workers import SINGLE_PROCESS, WorkerGroup
from quintain.models.devices import search_device
from quintain.models.memory import in_fitting_parts
from quintain.models.protocol import ClassifierLike
from quintain.threats.parametric import ParametricThreat
from quintain.threats.rng import example_rng
from quintain.threats.threat import Threat

AttackFn = Callable[..., AttackOutcome]


@dataclass(frozen=True, slots=True)
class AttackJob:
    """What every process of a run must agree on.

    Args:
        threats: Threats of one type, from the smallest eps up.
        attacks: Attacks by name.
        seed: Seed of all random numbers.
        batch_size: Examples at a time; where the batches end decides nothing but rounding.
        max_queries: Limit of queries for each example, attack and threat; no limit if not given.
        target_class: The class that the attacks aim at; any wrong one if not given.
        num_pictures: How many adversarial examples are kept as images.
        probed: Rows whose adversarial examples are kept for the diagnostics.
    """

    threats: tuple[Threat, ...]
    attacks: Mapping[str, AttackFn]
    seed: int
    batch_size: int
    max_queries: int | None = None
    target_class: int | None = None
    num_pictures: int = 0
    probed: frozenset[int] = frozenset()

    def validate(self) -> None:
        """Refuse, before any work, an attack that cannot do what the job needs.

        Raises:
            SettingError: If there is one.
        """
        for attack in self.attacks.values():
            if isinstance(attack, Attack):
                aims = None if self.target_class is None else torch.zeros(1, dtype=torch.long)
                attack.check_supported(self.threats[-1], aims, self.max_queries)

    def threats_for(self, attack: AttackFn) -> tuple[Threat, ...]:
        """Return the threats at which an attack is run: the largest alone for a minimum-norm attack."""
        return self.threats[-1:] if getattr(attack, "minimum_norm", False) else self.threats

    @property
    def fingerprint(self) -> dict[str, object]:
        """Settings that must be the same when a run is resumed."""
        return {
            "threats": [threat.spec for threat in self.threats],
            "attacks": {name: repr(attack) for name, attack in self.attacks.items()},
            "seed": self.seed,
            "batch_size": self.batch_size,
            "max_queries": self.max_queries,
            "target_class": self.target_class,
            "num_pictures": self.num_pictures,
        }


@dataclass(slots=True)
class ShardResult:
    """What one process has finished.

    Args:
        chunks: What is finished of each batch, attack and threat.
        finished_batches: Batches that every attack has seen.
        stop_reason: Why the process stopped early; empty where it did not.
    """

    chunks: dict[ChunkKey, Chunk] = field(default_factory=dict)
    finished_batches: set[int] = field(default_factory=set)
    stop_reason: str = ""

    def add(self, key: ChunkKey, chunk: Chunk) -> None:
        """Add a finished chunk to what there is of its key."""
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
    """Run this process' share. If the model fails, stop and return the chunks finished so far.

    Args:
        job: What every process must agree on.
        model: The model under attack.
        data: All examples.
        correct: Which of them are classified correctly (N,) bool: the others are not attacked.
        certified: Certified radii (N,): such an example is not attacked at a size that is certified.
        store: Where chunks are saved, and found again; without it batches are not split.
        checkpoint_seconds: About how long a chunk lasts, where the model is not much slower in such small
            batches.
        workers: The processes that share the work.
        progress: Shows a bar of examples.
        label: Label of the bar.
        clock: Seconds of work; ``work_clock`` of the model if not given.

    Raises:
        ExecutionError: If the model failed before any chunk was finished.
        KeyboardInterrupt: With what is kept, in words.
    """
    found = ShardResult()
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
                        found.add(key, chunk)
                    advance(count)
                    done += count
                found.finished_batches.add(number)
        except StorageError:
            raise
        except ExecutionError as error:
            if not found.chunks and workers.world_size == 1:
                raise
            found.stop_reason = str(error)
        except KeyboardInterrupt:
            if store is None or not shard.num_chunks:
                raise
            counted = "" if runs == 1 else f", counted once for each of {runs} attacks and sizes"
            chunks = f"{shard.num_chunks} chunk{'s' * (shard.num_chunks != 1)}"
            raise KeyboardInterrupt(f"{chunks} ({done} of {total} examples{counted})") from None
    return found


def gather_shards(workers: WorkerGroup, own: ShardResult) -> ShardResult:
    """Gather the chunks of all processes.

    Raises:
        ExecutionError: If the model failed before any chunk was finished.
    """
    every = ShardResult()
    for block in workers.all_gather(_packed(own)):
        one = _unpacked(block)
        every.chunks |= one.chunks
        every.finished_batches |= one.finished_batches
        every.stop_reason = every.stop_reason or one.stop_reason
    if every.stop_reason and not every.chunks:
        raise ExecutionError(every.stop_reason)
    return every


@dataclass(slots=True)
class _Shard:
    """The work of one process, and what it has learned about its speed.

    Args:
        job, model, data, correct, certified, store, clock: As ``run_shard`` takes them.
        seconds: About how long a chunk lasts.
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
    _seen: set[int] = field(default_factory=set, init=False)
    _paces: dict[str, Pace] = field(default_factory=dict, init=False)

    def attack_batch(self, number: int, rows: np.ndarray) -> Iterator[tuple[ChunkKey, Chunk | None, int]]:
        """Attack one batch: each attack starts from the correctly classified examples, and each larger eps
        from those it has not broken yet.

        Yields each chunk, and how many examples of the batch are done with it.
        """
        place = search_device(self.model.device)
        x, y = (tensor.to(place) for tensor in self.data.batch(rows))
        failed = np.zeros(len(rows), dtype=bool)
        for name, attack in self.job.attacks.items():
            active = self.correct[rows] & ~failed
            for threat in self.job.threats_for(attack):
                key = ChunkKey(number, name, threat.spec)
                proved = (self.certified[rows] >= threat.eps) & (self.certified[rows] > 0)
                here = np.flatnonzero(active & ~proved)
                yield key, None, len(rows) - len(here)
                for chunk in self._chunks(key, attack, threat, x[here], y[here], rows[here]):
                    at = chunk.rows - rows[0]
                    failed[at] |= chunk.invalid
                    active[at] &= ~(chunk.broken | chunk.invalid)
                    yield key, self._without_others(chunk), len(at)

    def _chunks(
        self, key: ChunkKey, attack: AttackFn, threat: Threat, x: Tensor, y: Tensor, rows: np.ndarray
    ) -> Iterator[Chunk]:
        """Yield the chunks of one attack at one threat on some rows: those that are saved, then new ones."""
        finished = self.store.get(key) if self.store is not None else []
        for chunk in finished:
            self.num_chunks += 1
            yield chunk
        left = np.flatnonzero(~np.isin(rows, [row for chunk in finished for row in chunk.rows]))
        while len(left):
            at = left[: self._next_size(key.attack, x, len(left))]
            started = self.clock()
            attacked = partial(_attack_examples, self.job, self.model, attack, threat, x[at], y[at], rows[at])
            for chunk in in_fitting_parts(attacked, len(at), work=f"attack {key.attack}"):
                if key.attack in self._paces:
                    self._paces[key.attack].record(len(chunk.rows), self.clock() - started)
                if self.store is not None:
                    self.store.put(key, chunk)
                    self.num_chunks += 1
                yield chunk
                started = self.clock()
            left = left[len(at) :]

    def _next_size(self, attack: str, x: Tensor, left: int) -> int:
        """Return how many examples are attacked next: all of them where nothing is saved."""
        if self.store is None or not math.isfinite(self.seconds):
            return left
        if attack not in self._paces:
            known = next(iter(self._paces.values()), None)
            smallest = known.smallest if known else smallest_batch(self.model, x)
            self._paces[attack] = Pace(self.job.batch_size if smallest is None else smallest, self.seconds)
        return self._paces[attack].next_size(left)

    def _without_others(self, chunk: Chunk) -> Chunk:
        """Return the chunk with the adversarial examples that are shown or probed, so that memory holds no
        others.
        """
        new = [row for row in chunk.kept.tolist() if row not in self._seen]
        shown = {
            row
            for place, row in enumerate(new)
            if len(self._seen) + place < self.job.num_pictures or row in self.job.probed
        }
        self._seen |= shown
        return chunk.keep_only(shown)


def _attack_examples(
    job: AttackJob,
    model: ClassifierLike,
    attack: AttackFn,
    threat: Threat,
    x: Tensor,
    y: Tensor,
    rows: np.ndarray,
    part: slice,
) -> Chunk:
    """Run one attack at one threat on some rows of a batch."""
    x, y, rows = x[part], y[part], rows[part]
    words: dict[str, object] = {} if job.max_queries is None else {"max_queries": job.max_queries}
    targets = None if job.target_class is None else torch.full_like(y, job.target_class)
    words |= {} if targets is None else {"targets": targets}
    clock = time.perf_counter()
    outcome = attack(model, x, y, threat, seed=job.seed, ids=torch.from_numpy(rows), **words)
    seconds = time.perf_counter() - clock
    broken = outcome.success.cpu().numpy()
    size = outcome.size.double().cpu().numpy()
    radius, extra = size.copy(), np.zeros(len(rows), np.int64)
    hit = outcome.success
    minimal = getattr(attack, "minimum_norm", False) or isinstance(threat, ParametricThreat)
    if broken.any() and job.max_queries is None and not minimal:
        aimed = None if targets is None else targets[hit]
        less, questions = minimize_by_bisection(
            model, x[hit], y[hit], outcome.adversarial[hit], threat, targets=aimed
        )
        radius[broken], extra[broken] = less.cpu().numpy(), questions.cpu().numpy()
    params = x.new_zeros(len(x), 0) if outcome.params is None else outcome.params
    return Chunk(
        rows=rows,
        broken=broken,
        invalid=outcome.error.cpu().numpy(),
        size=size,
        radius=radius,
        forwards=outcome.forwards.cpu().numpy(),
        backwards=outcome.backwards.cpu().numpy(),
        queries_to_success=outcome.queries_to_success.cpu().numpy(),
        bisection_queries=extra,
        found_by=np.array(outcome.found_by, dtype=np.str_),
        seconds=seconds,
        kept=rows[broken],
        images=outcome.adversarial[hit].detach().cpu().float().numpy(),
        params=params[hit].detach().cpu().float().numpy(),
    )


def _packed(found: ShardResult) -> bytes:
    """Encode as bytes: the length of a head in JSON, the head, the chunks."""
    parts = [chunk.encode() for chunk in found.chunks.values()]
    places = [[*place, len(part)] for place, part in zip(found.chunks, parts, strict=True)]
    head = json.dumps(
        {"chunks": places, "whole": sorted(found.finished_batches), "halted": found.stop_reason}
    ).encode()
    return b"".join((len(head).to_bytes(8, "big"), head, *parts))


def _unpacked(data: bytes) -> ShardResult:
    end = 8 + int.from_bytes(data[:8], "big")
    head = json.loads(data[8:end])
    found = ShardResult(finished_batches=set(head["whole"]), stop_reason=head["halted"])
    for batch, attack, threat, length in head["chunks"]:
        found.chunks[ChunkKey(batch, attack, threat)] = Chunk.decode(data[end : end + length])
        end += length
    return found


def minimize_by_bisection(
    model: Model, x: Tensor, y: Tensor, z: Tensor, threat: Threat, *, targets: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return sizes (B,) float64 of the smallest breaking changes from ``x`` to ``z``, and queries (B,).

    .. math:: \min \{\, size(x + t (z - x)) : t \in [0, 1],\; f(x + t (z - x)) \text{ is a break} \,\}
        \text{, by bisection over } t

    The point that is found is queried once more; where it does not break the model then, the size is that of
    ``z``.

    Args:
        model: Gives logits (B, K).
        x: Clean inputs (B, *S).
        y: True classes (B,).
        z: Points that break the model (B, *S).
        threat: Measures; its box holds.
        targets: Target classes (B,); any wrong class if not given.
    """
    search = Search(
        model, x, Goal(y, targets), threat, example_rng(x, 0), name="bisection", minimum_norm=True
    )
    rows = search.active_rows
    search.query(z[rows], rows)
    bisect_to_boundary(search, rows)
    outcome, whole = search.outcome(), threat.measure(z, x)
    return torch.where(outcome.success, torch.minimum(outcome.size, whole), whole), outcome.forwards
