"""What an audit and its repetitions with fresh coins show, as records hold it."""

import numpy as np
from numpy.typing import NDArray

from quintain.core import rounding
from quintain.leakage import OneRunAudit, audit_gaussian, joint_bound
from quintain.leakage.audit.repeats import joint_error
from quintain.results.privacy_records import AuditRun

BINS = 30
"""Of the histogram of scores."""


def repetition_notes(run: AuditRun, claimed: float) -> list[str]:
    """Say what repeating an audit that crossed the claim came to.

    Args:
        run: The audit, with its repetitions.
        claimed: The epsilon that is claimed.
    """
    if run.lower.value <= claimed:
        return []
    values = ", ".join(
        rounding.epsilon(value, up=False) for value in (run.lower.value, *run.repeated_epsilons)
    )
    times = (
        f"the audit crossed the claim and was repeated with fresh coins: it showed {values} against "
        f"{rounding.epsilon(claimed)}"
    )
    if any(value <= claimed for value in run.repeated_epsilons):
        return [f"{times}; the last one does not cross, so that chance is not excluded: suspect"]
    chance = float(joint_error(run.confidence, 1 + len(run.repeated_epsilons)))
    return [f"{times}; if the claim held, all of them would cross with probability at most {chance:.1e}"]


def audit_run(
    title: str,
    audits: list[OneRunAudit],
    scores: NDArray[np.float64],
    included: NDArray[np.bool_],
    delta: float,
    seed: int,
) -> AuditRun:
    """Return what an audit and its repetitions show.

    Args:
        title: What was audited.
        audits: The audit, and its repetitions in order.
        scores, included: Of the first one's canaries (m,).
        delta: Of the epsilon.
        seed: Breaks ties.
    """
    audit, edges = audits[0], np.histogram_bin_edges(scores, bins=BINS)
    gaussian = audit_gaussian(scores, included, delta=delta, confidence=audit.confidence, seed=seed)
    return AuditRun(
        title=title,
        lower=joint_bound(audits),
        max_auditable_epsilon=audit.max_auditable_epsilon,
        canaries=audit.canaries,
        guesses=audit.guesses,
        correct=audit.correct,
        confidence=audit.confidence,
        bin_edges=tuple(float(edge) for edge in edges),
        included_counts=tuple(int(count) for count in np.histogram(scores[included], edges)[0]),
        excluded_counts=tuple(int(count) for count in np.histogram(scores[~included], edges)[0]),
        repeated_epsilons=tuple(one.epsilon for one in audits[1:]),
        gaussian_epsilon=gaussian.epsilon,
    )
