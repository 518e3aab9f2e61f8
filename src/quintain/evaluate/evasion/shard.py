"""Attack this process' batches, and save every finished (batch, attack, threat) chunk.

An interrupted run can then resume.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.goal import Goal
from quintain.attacks.minimum_norm.refinement import bisect_to_boundary
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.attacks.search import Search
from quintain.core.errors import ExecutionError, StorageError
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.evasion.checkpoint import Chunk, ChunkKey, ChunkStore
from quintain.evaluate.workers import SINGLE_PROCESS, WorkerGroup
from quintain.models.devices import search_device
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
    """The chunks that one process has finished.

    Args:
        chunks: Chunks by batch, attack and threat.
        finished_batches: Batches that every attack has seen.
        stop_reason: Why the process stopped early; empty where it did not.
    """

    chunks: dict[ChunkKey, Chunk] = field(default_factory=dict)
    finished_batches: set[int] = field(default_factory=set)
    stop_reason: str = ""


def run_shard(
    job: AttackJob,
    model: ClassifierLike,
    data: Dataset,
    correct: np.ndarray,
    certified: np.ndarray,
    *,
    store: ChunkStore | None = None,
    workers: WorkerGroup = SINGLE_PROCESS,
    progress: Progress = no_progress,
    label: str = "attack",
) -> ShardResult:
    """Run this process' share. If the model fails, stop and return the chunks finished so far.

    Args:
        job: What every process must agree on.
        model: The model under attack.
        data: All examples.
        correct: Which of them are classified correctly (N,) bool: the others are not attacked.
        certified: Certified radii (N,): such an example is not attacked at a size that is certified.
        store: Where chunks are saved, and found again.
        workers: The processes that share the work.
        progress: Shows a bar of examples.
        label: Label of the bar.

    Raises:
        ExecutionError: If the model failed before any chunk was finished.
    """
    found, seen = ShardResult(), set[int]()
    starts = [
        start for number, start in enumerate(range(0, len(data), job.batch_size)) if workers.owns(number)
    ]
    runs = sum(len(job.threats_for(attack)) for attack in job.attacks.values())
    total = runs * sum(min(start + job.batch_size, len(data)) - start for start in starts)
    with progress.bar(label, total) as advance:
        try:
            for start in starts:
                rows = np.arange(start, min(start + job.batch_size, len(data)))
                number = start // job.batch_size
                for key, chunk in _attack_batch(
                    job, model, data, rows, number, correct[rows], certified[rows], seen, store
                ):
                    found.chunks[key] = chunk
                    advance(len(rows))
                found.finished_batches.add(number)
        except StorageError:
            raise
        except ExecutionError as error:
            if not found.chunks and workers.world_size == 1:
                raise
            found.stop_reason = str(error)
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


def _attack_batch(
    job: AttackJob,
    model: ClassifierLike,
    data: Dataset,
    rows: np.ndarray,
    number: int,
    correct: np.ndarray,
    certified: np.ndarray,
    seen: set[int],
    store: ChunkStore | None,
) -> Iterator[tuple[ChunkKey, Chunk]]:
    """Attack one batch: each attack starts from the correctly classified examples, and each larger eps from
    those it has
    not broken yet.
    """
    place = search_device(model.device)
    x, y = (tensor.to(place) for tensor in data.batch(rows))
    failed = np.zeros(len(rows), dtype=bool)
    for name, attack in job.attacks.items():
        active = correct & ~failed
        for threat in job.threats_for(attack):
            key = ChunkKey(number, name, threat.spec)
            here = np.flatnonzero(active & ~((certified >= threat.eps) & (certified > 0)))
            chunk = store.get(key) if store is not None else None
            if chunk is None:
                chunk = Chunk.empty(data.shape)
                if len(here):
                    chunk = _attack_examples(job, model, attack, threat, x[here], y[here], rows[here], seen)
                if store is not None and len(here):
                    store.put(key, chunk)
            seen.update(chunk.kept.tolist())
            failed[here] |= chunk.invalid
            active[here] &= ~(chunk.broken | chunk.invalid)
            yield key, chunk


def _attack_examples(
    job: AttackJob,
    model: ClassifierLike,
    attack: AttackFn,
    threat: Threat,
    x: Tensor,
    y: Tensor,
    rows: np.ndarray,
    seen: set[int],
) -> Chunk:
    """Run one attack at one threat on some rows of a batch."""
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
    new = [at for at in np.flatnonzero(broken) if rows[at] not in seen]
    kept = [
        at
        for place, at in enumerate(new)
        if len(seen) + place < job.num_pictures or int(rows[at]) in job.probed
    ]
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
        kept=rows[kept],
        images=outcome.adversarial.detach().cpu().float().numpy()[kept],
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
