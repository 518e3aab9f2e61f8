"""Judge whether attacks without gradients had enough queries for their unbroken examples to mean anything."""

from collections.abc import Iterator, Mapping

import numpy as np

from quintain.attacks.base import access_of
from quintain.evaluate.evasion.job import AttackFn, AttackJob
from quintain.evaluate.evasion.merge import MergedAttacks
from quintain.evaluate.evasion.probes import indicator
from quintain.models.protocol import Access
from quintain.results.robustness_records import Indicator

MIN_QUERIES: Mapping[Access, int] = {"gradients": 1, "scores": 500, "labels": 1000}
"""Queries per example below which an attack is not judged, by its access, where it has no ``min_queries``."""

LATE_FRACTION = 0.75
"""Fraction of the queries of an unbroken example after which a break counts as late."""

LATE_BREAKS_THRESHOLD = 0.02
"""Fraction of late breaks above which more queries would break more."""


def too_few_queries(job: AttackJob, merged: MergedAttacks, unbroken: np.ndarray) -> str:
    """Return why the unbroken examples cannot be judged; empty if some attack made enough queries.

    For an attack that uses gradients one query is enough here: the probes judge whether it was weak.

    Args:
        job: The settings of the run.
        merged: Its results.
        unbroken: Examples that are unbroken at some size, and not certified there (N,) bool.
    """
    if not unbroken.any():
        return ""
    if not merged.forwards[unbroken].any():
        return "the attacks made no query"
    # of attacks that all made too few, the one that came closest is named
    closest, reason = -1.0, ""
    for name, attack in job.attacks.items():
        queries, needed = _mean_queries(merged, name, unbroken), min_queries(attack)
        if _had_enough(job, merged, name, unbroken):
            return ""
        if queries / needed > closest:
            closest = queries / needed
            reason = f"{queries:,.0f} queries per example, below the {needed:,} that {name} needs"
    return reason


def has_enough_label_queries(job: AttackJob, merged: MergedAttacks, rows: np.ndarray) -> bool:
    """Return whether an attack by labels alone made enough queries on the examples ``rows`` (n,)."""
    return len(rows) > 0 and any(
        access_of(getattr(attack, "access", "gradients")) == "labels" and _had_enough(job, merged, name, rows)
        for name, attack in job.attacks.items()
    )


def _mean_queries(merged: MergedAttacks, name: str, examples: np.ndarray) -> float:
    """Return the mean queries per example, with the one that is kept back to confirm a success."""
    return float(merged.by_attack[name].forwards[examples].mean()) + 1


def _had_enough(job: AttackJob, merged: MergedAttacks, name: str, examples: np.ndarray) -> bool:
    """Whether an attack made the queries that it needs, or ended because it had nothing left to try."""
    attack, max_used = job.attacks[name], merged.by_attack[name].forwards[examples].max() + 1
    reached_limit = job.max_queries is not None and max_used >= job.max_queries
    return _mean_queries(merged, name, examples) >= min_queries(attack) or (
        getattr(attack, "ends_exhausted", False) and not reached_limit
    )


def min_queries(attack: AttackFn) -> int:
    """Return the queries per example below which an attack is not judged.

    They are its ``min_queries``, or those of its access if it has none, such as an attack of another package.
    """
    own = int(getattr(attack, "min_queries", 0))
    return own or MIN_QUERIES[access_of(getattr(attack, "access", "gradients"))]


SHRINKAGE_THRESHOLD = 0.05
"""Fall of the smallest changes over the second half of the queries above which more would find smaller ones.

Measured with ``hopskipjump`` on nets that gradients can judge: docs/attacks.md.
"""

MIN_SHRINKING = 5
"""Fewest unbroken examples of which a median fall says something."""


def queries_still_help(
    job: AttackJob, merged: MergedAttacks, correct: np.ndarray, unbroken: np.ndarray
) -> Iterator[Indicator]:
    """Yield the indicator of attacks that had not come to their end.

    Breaks came only in the last quarter of the queries, or, where attacks used labels alone, the smallest
    changes found for unbroken examples still shrank over the second half. There is none where an attack used
    gradients.

    Args:
        job: The settings of the run.
        merged: Its results.
        correct: Examples that are classified correctly without a change (N,) bool.
        unbroken: Examples that are unbroken at some size (N,) bool.
    """
    accesses = [access_of(getattr(attack, "access", "gradients")) for attack in job.attacks.values()]
    if "gradients" in accesses or not correct.any():
        return
    late, early = np.zeros(len(correct), bool), np.zeros(len(correct), bool)
    for arrays in merged.by_attack.values():
        # unbroken examples show how many queries the attack makes in all
        budget = arrays.forwards[unbroken].mean() if unbroken.any() else np.inf
        broken = arrays.smallest_broken < len(job.threats)
        late |= broken & (arrays.queries_to_success > LATE_FRACTION * budget)
        early |= broken & (arrays.queries_to_success <= LATE_FRACTION * budget)
    # an example that any attack broke early does not count
    num_late, num_correct = int((late & ~early & correct).sum()), int(correct.sum())
    fall, count = _shrinkage(merged, unbroken)
    if set(accesses) == {"labels"} and count >= MIN_SHRINKING and fall > SHRINKAGE_THRESHOLD:
        limit = job.max_queries
        more = "give the attack more queries" if limit is None else f"raise --max-queries {limit}"
        yield indicator(
            "queries still help",
            fall,
            SHRINKAGE_THRESHOLD,
            f"the smallest changes found for {count} unbroken examples shrank by {100 * fall:.0f} % over the "
            f"second half of the queries: more queries would find smaller ones; {more}, or attack the net "
            "itself, whose gradients find them sooner",
        )
        return
    yield indicator(
        "queries still help",
        num_late / num_correct,
        # one example alone never triggers it
        max(LATE_BREAKS_THRESHOLD, 1.5 / num_correct),
        f"{num_late} examples broke only in the last quarter of the queries: more queries would break more",
    )


def _shrinkage(merged: MergedAttacks, unbroken: np.ndarray) -> tuple[float, int]:
    """Return by how much the smallest changes of unbroken examples shrank in the second half.

    Returns:
        The median fall, as a fraction, and of how many examples it is: of those with a change of any size.
    """
    all_sizes = np.stack([arrays.smallest_sizes for arrays in merged.by_attack.values()])
    half, end = all_sizes.min(0)[unbroken & ~merged.invalid].T
    found = np.isfinite(end) & (end > 0)
    return (float(np.median(1 - end[found] / half[found])) if found.any() else 0.0), int(found.sum())
