"""Merge the chunks of all batches into per-example arrays.

What broke each example, at which eps, after how many queries.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import from_numpy

from quintain.data.dataset import Dataset
from quintain.evaluate.evasion.checkpoint import Chunk
from quintain.evaluate.evasion.job import AttackJob
from quintain.evaluate.evasion.shard import ShardResult
from quintain.evaluate.images import AdversarialExample
from quintain.results.class_counts import ClassCounts
from quintain.results.literals import UNCHANGED
from quintain.results.robustness_records import AttackRow, BreakLog
from quintain.threats.threat import Threat

MAX_POINTS = 24
"""Most points of a curve of accuracy against queries, after the first at zero queries."""


@dataclass(slots=True)
class AttackArrays:
    """What one attack did to each of N examples.

    Args:
        smallest_broken: Index of the smallest threat at which it broke the example; beyond the last where it
            did not.
        queries_to_success: Its queries up to that success.
        found_by: The member of an ensemble that broke it.
        forwards: Its most forward passes at one threat.
        smallest_sizes: The smallest change it found after half of its queries and after all (N, 2).
        cost_by_threat: (forwards, backwards, seconds) at each threat.
    """

    smallest_broken: np.ndarray
    queries_to_success: np.ndarray
    found_by: list[str]
    forwards: np.ndarray
    smallest_sizes: np.ndarray
    cost_by_threat: dict[str, tuple[int, int, float]] = field(default_factory=dict)


@dataclass(slots=True)
class MergedAttacks:
    """What all attacks together did to each of N examples.

    Args:
        by_attack: The arrays of each attack.
        radius: Size of the smallest change that broke the example; 0 where it is misclassified without any.
        invalid: Whether the model gave NaN.
        found_by: The first attack that broke it, as "attack" or "attack: member"; ``UNCHANGED`` if it is
            misclassified without a change; empty if unbroken or invalid.
        queries_to_success: That attack's queries.
        forwards, backwards: Passes of all attacks, bisection included.
        images: The adversarial examples that are kept, in the order in which they were found.
    """

    by_attack: dict[str, AttackArrays]
    radius: np.ndarray
    invalid: np.ndarray
    found_by: list[str]
    queries_to_success: np.ndarray
    forwards: np.ndarray
    backwards: np.ndarray
    images: dict[int, AdversarialExample] = field(default_factory=dict)


def merge_chunks(
    job: AttackJob, result: ShardResult, correct: np.ndarray, invalid: np.ndarray
) -> MergedAttacks:
    """Merge chunks in the order of batches, attacks and threats.

    Args:
        job: What was run.
        result: The chunks of all processes.
        correct: Which examples are classified correctly without a change (N,).
        invalid: Which have a NaN output without a change (N,).
    """
    count, zeros = len(correct), np.zeros(len(correct), np.int64)
    merged = MergedAttacks(
        by_attack={
            name: AttackArrays(
                np.full(count, len(job.threats)),
                zeros.copy(),
                [""] * count,
                forwards=zeros.copy(),
                smallest_sizes=np.full((count, 2), np.inf),
            )
            for name in job.attacks
        },
        radius=np.where(correct, math.inf, 0.0),
        invalid=invalid.copy(),
        found_by=[
            "" if is_correct or is_invalid else UNCHANGED
            for is_correct, is_invalid in zip(correct, invalid, strict=True)
        ],
        queries_to_success=zeros.copy(),
        forwards=zeros.copy(),
        backwards=zeros.copy(),
    )
    attacks, threats = list(job.attacks), [threat.spec for threat in job.threats]
    for key in sorted(
        result.chunks, key=lambda key: (key.batch, attacks.index(key.attack), threats.index(key.threat))
    ):
        _add_chunk(merged, key.attack, key.threat, job.threats, result.chunks[key])
    return merged


def attack_rows(
    job: AttackJob, merged: MergedAttacks, data: Dataset, correct: np.ndarray
) -> tuple[AttackRow, ...]:
    """Return the accuracy and the cost of each attack at each threat, threat by threat."""
    table = []
    for index, threat in enumerate(job.threats):
        for name, arrays in merged.by_attack.items():
            broken = correct & (arrays.smallest_broken <= index) & ~merged.invalid
            unbroken = (correct & ~broken) | merged.invalid
            forwards, backwards, seconds = arrays.cost_by_threat.get(threat.spec, (0, 0, 0.0))
            table.append(
                AttackRow(
                    attack=name,
                    threat=threat.spec,
                    unbroken_counts=ClassCounts.of(unbroken, data.labels, data.num_classes),
                    forwards=forwards / len(data),
                    backwards=backwards / len(data),
                    seconds=seconds,
                    eps=threat.eps,
                    num_broken=int(broken.sum()),
                    correct_by_queries=correct_by_queries(
                        arrays.queries_to_success[broken], int(broken.sum() + unbroken.sum())
                    ),
                )
            )
    return tuple(table)


def break_log(merged: MergedAttacks, certified: np.ndarray, largest: Threat) -> BreakLog:
    """Return how each example was broken, and which were skipped.

    Skipped are those that are certified at the largest threat.
    """
    skipped = (certified >= largest.eps) & (certified > 0)
    return BreakLog(
        found_by=tuple(merged.found_by),
        queries_to_success=tuple(merged.queries_to_success.tolist()),
        forwards=tuple(merged.forwards.tolist()),
        backwards=tuple(merged.backwards.tolist()),
        skipped_certified=tuple(skipped.tolist()),
    )


def correct_by_queries(queries: Sequence[int] | np.ndarray, start: int) -> tuple[tuple[int, int], ...]:
    """Return (queries, examples still correct) pairs.

    Args:
        queries: The queries that each success took.
        start: How many examples were correct at first.
    """
    ordered = np.sort(np.asarray(queries, dtype=np.int64))
    if not len(ordered):
        return ((0, start),)
    steps = np.unique(ordered)
    if len(steps) > MAX_POINTS:
        steps = np.unique(np.ceil(np.geomspace(max(steps[0], 1), steps[-1], MAX_POINTS)).astype(np.int64))
    still_correct = start - np.searchsorted(ordered, steps, side="right")
    return ((0, start), *zip(steps.tolist(), still_correct.tolist(), strict=True))


def _add_chunk(merged: MergedAttacks, name: str, spec: str, threats: Sequence[Threat], chunk: Chunk) -> None:
    """Add one chunk to the arrays.

    A minimum-norm attack ran once for all sizes: each success is counted at the smallest requested eps that
    is at least as large as the change found.
    """
    arrays = merged.by_attack[name]
    forwards, backwards, seconds = arrays.cost_by_threat.get(spec, (0, 0, 0.0))
    arrays.cost_by_threat[spec] = (
        forwards + int(chunk.forwards.sum()),
        backwards + int(chunk.backwards.sum()),
        seconds + float(chunk.seconds),
    )
    rows, broken = chunk.rows, chunk.broken
    arrays.forwards[rows] = np.maximum(arrays.forwards[rows], chunk.forwards)
    arrays.smallest_sizes[rows] = np.minimum(arrays.smallest_sizes[rows], chunk.smallest_sizes)
    merged.invalid[rows] |= chunk.invalid
    merged.forwards[rows] += chunk.forwards + chunk.bisection_queries
    merged.backwards[rows] += chunk.backwards
    broken_rows = rows[broken]
    eps = np.array([threat.eps for threat in threats])
    arrays.smallest_broken[broken_rows] = np.searchsorted(eps, chunk.size[broken])
    arrays.queries_to_success[broken_rows] = chunk.queries_to_success[broken]
    merged.radius[broken_rows] = np.minimum(merged.radius[broken_rows], chunk.radius[broken])
    members, queries_to_success = chunk.found_by[broken].tolist(), chunk.queries_to_success[broken].tolist()
    for row, member, num_queries in zip(broken_rows.tolist(), members, queries_to_success, strict=True):
        arrays.found_by[row] = member
        if not merged.found_by[row]:
            merged.found_by[row] = name if member in ("", UNCHANGED, name) else f"{name}: {member}"
            merged.queries_to_success[row] = num_queries
    size = dict(zip(rows.tolist(), chunk.size.tolist(), strict=True))
    for row, image in zip(chunk.kept.tolist(), chunk.images, strict=True):
        merged.images.setdefault(row, AdversarialExample(row, from_numpy(image), size[row]))
