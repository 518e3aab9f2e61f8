"""What an audit and its repetitions with fresh coins show, as records hold it."""

from collections.abc import Callable
from functools import partial
from inspect import signature

import numpy as np

from quintain.core import rounding
from quintain.leakage import (
    Auditor,
    EpsilonAudit,
    Experiment,
    OneRunAudit,
    ProfileFamily,
    audit_gaussian,
    audit_one_run,
    joint_bound,
)
from quintain.leakage.audit.repeats import joint_error
from quintain.results.privacy_records import AssumedBound, AuditRun

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


def bracket_side(
    auditor: Auditor, profiles: Callable[[], ProfileFamily] | None = None
) -> tuple[Auditor, tuple[Auditor, ...]]:
    """Return what bounds epsilon in a bracket, and the audits that rest on an assumption, to stand beside it.

    Args:
        auditor: The one that was asked for. If it rests on an assumption, ``audit_one_run`` bounds epsilon.
        profiles: Makes the profiles of the claim, as its accountant proves them, for an auditor that takes
            any; without them it rests on the assumption that they are those of Gaussian mechanisms.
    """
    takes_profiles = "profiles" in signature(auditor).parameters
    if getattr(auditor, "rests_on_assumption", False) or (takes_profiles and profiles is None):
        return audit_one_run, (auditor,)
    if not takes_profiles or profiles is None:
        return auditor, ()
    with_profiles: Callable[..., EpsilonAudit] = auditor
    return partial(with_profiles, profiles=profiles()), ()


def audit_run(
    title: str,
    audits: list[EpsilonAudit],
    experiment: Experiment,
    delta: float,
    seed: int,
    assumed: tuple[Auditor, ...] = (),
) -> AuditRun:
    """Return what an audit and its repetitions show.

    Args:
        title: What was audited.
        audits: The audit, and its repetitions in order.
        experiment: The first one's canaries.
        delta: Of the epsilon.
        seed: Breaks ties.
        assumed: Audits that rest on an assumption, besides ``audit_gaussian``; all are shown as such.
    """
    audit, scores, included = audits[0], experiment.scores, experiment.included
    edges = np.histogram_bin_edges(scores, bins=BINS)

    def beside(auditor: Auditor) -> EpsilonAudit:
        return experiment.audit(auditor, delta=delta, confidence=audit.confidence, seed=seed)

    return AuditRun(
        title=title,
        lower=joint_bound(audits),
        max_auditable_epsilon=audit.max_auditable_epsilon,
        canaries=audit.canaries,
        guesses=audit.guesses if isinstance(audit, OneRunAudit) else 0,
        correct=audit.correct if isinstance(audit, OneRunAudit) else 0,
        confidence=audit.confidence,
        bin_edges=tuple(float(edge) for edge in edges),
        included_counts=tuple(int(count) for count in np.histogram(scores[included], edges)[0]),
        excluded_counts=tuple(int(count) for count in np.histogram(scores[~included], edges)[0]),
        repeated_epsilons=tuple(one.epsilon for one in audits[1:]),
        gaussian_epsilon=beside(audit_gaussian).epsilon,
        assumed=tuple(
            AssumedBound(found.bound.method, found.epsilon, found.bound.assumptions)
            for found in map(beside, assumed)
        ),
    )
