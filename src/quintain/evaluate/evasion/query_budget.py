"""Whether attacks without gradients had enough queries for what they left unbroken to say anything."""

from collections.abc import Iterator, Mapping

import numpy as np

from quintain.attacks.base import access_of
from quintain.evaluate.evasion.merge import MergedAttacks
from quintain.evaluate.evasion.probes import indicator
from quintain.evaluate.evasion.shard import AttackFn, AttackJob
from quintain.models.protocol import Access
from quintain.results.robustness_records import Indicator

MIN_QUERIES: Mapping[Access, int] = {"gradients": 1, "scores": 500, "labels": 1000}
"""The fewest queries at which an attack that does not say may be judged, by what it needs of the model."""

LATE = 0.75
"""A break after this fraction of the queries is a late one."""


def too_few_queries(job: AttackJob, merged: MergedAttacks, unbroken: np.ndarray) -> str:
    """Say why the unbroken examples cannot be judged; empty where some attack queried them enough.

    An attack that uses gradients has queried enough where it has queried at all: the probes judge it.

    Args:
        job: What was run.
        merged: What it found.
        unbroken: Examples that stayed unbroken at some size, and that nothing certifies (N,) bool.
    """
    if not unbroken.any():
        return ""
    if not merged.forwards[unbroken].any():
        return "the attacks made no query"
    closest, reason = -1.0, ""
    for name, attack in job.attacks.items():
        queries, needed = _mean_queries(merged, name, unbroken), min_queries(attack)
        if _had_enough(job, merged, name, unbroken):
            return ""
        if queries / needed > closest:
            closest = queries / needed
            reason = f"{queries:,.0f} queries per example, below the {needed:,} that {name} needs"
    return reason


def tried_by_labels(job: AttackJob, merged: MergedAttacks, rows: np.ndarray) -> bool:
    """Whether an attack that uses labels alone had queries enough for some unbroken examples (n,)."""
    return len(rows) > 0 and any(
        access_of(getattr(attack, "access", "gradients")) == "labels" and _had_enough(job, merged, name, rows)
        for name, attack in job.attacks.items()
    )


def _mean_queries(merged: MergedAttacks, name: str, examples: np.ndarray) -> float:
    # one pass of the budget is kept for the confirmation of a success
    return float(merged.by_attack[name].forwards[examples].mean()) + 1


def _had_enough(job: AttackJob, merged: MergedAttacks, name: str, examples: np.ndarray) -> bool:
    """Whether an attack had the queries that it needs, or ended with nothing left to try."""
    attack, most = job.attacks[name], merged.by_attack[name].forwards[examples].max() + 1
    limited = job.max_queries is not None and most >= job.max_queries
    return _mean_queries(merged, name, examples) >= min_queries(attack) or (
        getattr(attack, "ends_exhausted", False) and not limited
    )


def min_queries(attack: AttackFn) -> int:
    """Return the fewest queries at which an attack may be judged.

    Those of its access for one that does not say, such as an attack of another package.
    """
    said = int(getattr(attack, "min_queries", 0))
    return said or MIN_QUERIES[access_of(getattr(attack, "access", "gradients"))]


def late_breaks(
    job: AttackJob, merged: MergedAttacks, correct: np.ndarray, unbroken: np.ndarray
) -> Iterator[Indicator]:
    """Count the examples that broke only in the last quarter of the queries, where no gradients were used."""
    accesses = [access_of(getattr(attack, "access", "gradients")) for attack in job.attacks.values()]
    if "gradients" in accesses or not correct.any():
        return
    late, early = np.zeros(len(correct), bool), np.zeros(len(correct), bool)
    for arrays in merged.by_attack.values():
        budget = arrays.forwards[unbroken].mean() if unbroken.any() else np.inf
        hit = arrays.smallest_broken < len(job.threats)
        late |= hit & (arrays.queries_to_success > LATE * budget)
        early |= hit & (arrays.queries_to_success <= LATE * budget)
    many = int((late & ~early & correct).sum())
    yield indicator(
        "queries still help",
        many / int(correct.sum()),
        max(0.02, 1.5 / int(correct.sum())),
        f"{many} examples broke only in the last quarter of the queries: more queries would break more",
    )
