"""A second opinion on a mechanism: run many times on two neighboring inputs, and held to its claim."""

from dataclasses import dataclass
from typing import Any

from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.leakage import audit_many_runs, joint_bound, repetitions
from quintain.leakage.audit.result import EpsilonAudit
from quintain.leakage.mechanism_runs import (
    Mechanism,
    neighbor_relation,
    replaces_a_blank,
    run_mechanism,
    score_runs,
)
from quintain.results.privacy_records import AuditRun
from quintain.results.quantity import Metric, Quantity
from quintain.results.second_opinion import SecondOpinionResult

SINGLE_AUDIT_CONFIDENCE = 1 - 1e-8
"""A claim that one audit crosses at this confidence need not be audited again."""


@dataclass(frozen=True, slots=True)
class ClaimedMechanism:
    """A mechanism, two neighboring inputs, and what is claimed.

    Args:
        mechanism: ``fn(records, rng)`` to a released number or more.
        records, neighbor: The inputs.
        epsilon: The claim; None where the audit alone is to be seen.
        delta: Of the claim; 0 for a pure one.
        adjacency: What the inputs differ by; found out if not given, where they are arrays. ``add/remove``
            also fits a blank record, of zeros, in the place of one, where the number of records is public.
        name: Of the mechanism.

    Raises:
        SettingError: If a number is out of its range, or the inputs differ by something else.
        DataError: If the inputs are no neighbors.
    """

    mechanism: Mechanism
    records: Any
    neighbor: Any
    epsilon: float | None = None
    delta: float = 1e-5
    adjacency: str = ""
    name: str = "fn"

    def __post_init__(self) -> None:
        if self.epsilon is not None and not 0 <= self.epsilon < float("inf"):
            raise SettingError(f"got a claim of {self.epsilon}; expected an epsilon from 0 up, such as 1")
        if not 0 <= self.delta < 1:
            raise SettingError(f"got delta {self.delta}; expected a number from 0 to below 1, such as 1e-6")
        found = neighbor_relation(self.records, self.neighbor)
        # a record less, where the number of records is public
        removes = self.adjacency == "add/remove" and replaces_a_blank(self.records, self.neighbor)
        if found and self.adjacency not in ("", found) and not removes:
            raise SettingError(
                f"got --adjacency {self.adjacency} for inputs that differ by {found} of one record; expected "
                "inputs of the adjacency that is claimed, or a blank record (zeros) in the place of one"
            )
        object.__setattr__(self, "adjacency", self.adjacency if removes else found or self.adjacency)


def audit_mechanism(
    claim: ClaimedMechanism,
    *,
    runs: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress = no_progress,
) -> SecondOpinionResult:
    r"""Bound the epsilon of a mechanism from below by many runs on two neighboring inputs.

    A score is learned from the first half of the runs; the second half bounds epsilon by it, with exact
    limits at ranks that are fixed beforehand (``audit_many_runs``). A lower bound above the claim is a
    contradiction if it is above it at a confidence of 1 - 1e-8 as well, or in five audits in a row, each of
    fresh runs. With n runs of either input the bound is at most about :math:`\ln n`.

    Args:
        claim: The mechanism, its inputs, and the claim.
        runs: Number of runs on each input.
        confidence: Confidence of each audit.
        seed: Seed of the generators that the mechanism gets, and of ties.
        progress: Shows bars.

    Guarantee: for two inputs that are neighbors and runs that are independent of each other, the lower bound
    exceeds the true one with probability at most ``1 - confidence``. Other inputs may show more.

    Raises:
        ModelError: If the mechanism fails.
        SettingError: If there are too few runs.
    """
    quantity = Quantity(Metric.EPSILON, delta=claim.delta, adjacency=claim.adjacency, privacy_unit="record")

    def run_and_audit(repetition: int) -> EpsilonAudit:
        audit_seed = derive_seed(seed, "mechanism audit", repetition)
        releases = run_mechanism(
            claim.mechanism,
            claim.records,
            claim.neighbor,
            runs=runs,
            seed=audit_seed,
            name=claim.name,
            progress=progress,
        )
        scores, included = score_runs(releases, delta=claim.delta, seed=audit_seed)
        return audit_many_runs(
            scores, included, delta=claim.delta, confidence=confidence, seed=audit_seed, quantity=quantity
        )

    audits = [run_and_audit(0)]
    if claim.epsilon is not None and audits[0].bound.at_confidence(SINGLE_AUDIT_CONFIDENCE) <= claim.epsilon:
        while audits[-1].epsilon > claim.epsilon and len(audits) < repetitions(confidence):
            audits.append(run_and_audit(len(audits)))
    first = audits[0]
    run = AuditRun(
        title=claim.name,
        lower=first.bound if len(audits) == 1 else joint_bound(audits),
        max_auditable_epsilon=first.max_auditable_epsilon,
        canaries=first.canaries,
        guesses=0,
        correct=0,
        confidence=confidence,
        repeated_epsilons=tuple(one.epsilon for one in audits[1:]),
    )
    return SecondOpinionResult(subject=claim.name, of="mechanism", audit=run, claim=claim.epsilon)
