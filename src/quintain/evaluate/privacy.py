"""The audit of a private plan from below, beside what the accountant claims from above."""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from quintain.core.errors import SettingError
from quintain.core.progress import Progress, silent
from quintain.core.seeds import derive
from quintain.data.dataset import Dataset
from quintain.dp import PrivateFit, PrivatePlan, fit, measure
from quintain.evaluate.outcome import Outcome
from quintain.evaluate.private_plans import Budget, accounted, describe, quantity
from quintain.leakage import Canaried, audit_one_run, one_run_experiment
from quintain.results.bounds import Bracket
from quintain.results.privacy_records import Audited, AuditRun, SpecificationTest
from quintain.results.quantity import Quantity
from quintain.results.records import Claim

BINS = 30


def audited_outcome(
    net: nn.Module,
    train: Dataset,
    budget: Budget,
    *,
    canaries: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress = silent,
) -> Outcome:
    """Run the plan on a twin with canaries, with and without noise, and measure noise and sampling.

    The control has a Quantity of its own: what it shows is no lower side of the plan's epsilon. A measurement that differs from the plan
    is in the record; ``require_consistent`` raises for it once that is stored.

    Args:
        net: Fresh; copies of it are trained.
        train: Records that the plan is for.
        budget: The claim to audit.
        canaries: m.
        confidence: Of the audited side.
        seed: Of coins and ties; noise and batches come from the operating system.
        progress: Shows bars.

    Raises:
        SettingError: If there are not more records than canaries.
    """
    if len(train) <= canaries:
        raise SettingError(f"{canaries} canaries for {len(train)} records; expected fewer canaries than records, each takes one's place")
    plan = budget.plan(len(train))
    silent_plan = replace(plan, noise_multiplier=0.0)
    claimed = accounted(plan, train, plan.epsilon(len(train)))
    seen, spent = _observed(net, train, plan, canaries, seed, progress)
    bare, _ = _observed(net, train, silent_plan, canaries, seed, progress)
    run = _judged("the plan", seen, plan, quantity(plan, train), len(train), confidence, derive(seed, "ties"))
    control = _judged("control: no noise", bare, plan, quantity(silent_plan, train), len(train), confidence, derive(seed, "ties"))
    specification = (*measure(plan, len(train)).tests, _accounting(plan, claimed.value, spent, len(seen.seen)))
    claim = Claim("audited:epsilon", "Privacy of each record, audited", "private", Bracket(run.lower, claimed), delivered=True)
    notes = []
    if control.lower.value <= claimed.value:
        notes.append("the control without noise does not exceed the claim: this audit could not have seen a leak of that size")
    if run.ceiling < claimed.value:
        notes.append(f"an audit of {canaries} canaries can show at most {run.ceiling:.2f}: it cannot contradict this claim")
    if seen.weakest < plan.max_grad_norm:
        notes.append(f"canaries' gradients fell to {seen.weakest:.2g}, below the clip norm: the audit is valid, and not at full strength")
    body = Audited(describe(plan, len(train)), run, control, specification)
    return Outcome(body, (claim,), tuple(notes), reproducible=False)


def _observed(
    net: nn.Module, train: Dataset, plan: PrivatePlan, canaries: int, seed: int, progress: Progress
) -> tuple[Canaried, PrivateFit]:
    """One run with canaries in the place of as many records, so that all public constants stay the plan's."""
    fits: list[PrivateFit] = []

    def work(twin: nn.Module, planted: Dataset, observe: Callable[[int, torch.Tensor], None]) -> None:
        fits.append(fit(twin, planted, plan, progress=progress, on_step=observe))

    kept = train.subset(np.arange(len(train) - canaries))
    seen = one_run_experiment(work, copy.deepcopy(net), kept, canaries=canaries, clip=plan.max_grad_norm, seed=derive(seed, "audit"))
    return seen, fits[0]


def _accounting(plan: PrivatePlan, claimed: float, spent: PrivateFit, releases: int) -> SpecificationTest:
    """Whether the run's own ledger comes to the claim, and holds as many steps as were seen."""
    passed = spent.epsilon == claimed and spent.steps == releases == plan.steps
    text = f"the run's ledger: {spent.steps} steps at {spent.epsilon:.6g}, {releases} released; expected {plan.steps} at {claimed:.6g}"
    return SpecificationTest("accounting", claimed, spent.epsilon, float(passed), passed, text)


def _judged(title: str, seen: Canaried, plan: PrivatePlan, of: Quantity, records: int, confidence: float, seed: int) -> AuditRun:
    """What a run shows of the mechanism that it ran; the scores are the plan's, also for the control."""
    scores = seen.scores(
        rate=plan.sample_rate(records),
        noise_multiplier=plan.noise_multiplier,
        unit=plan.max_grad_norm / plan.expected_batch_size,
    )
    audit = audit_one_run(scores, seen.included, delta=plan.delta, confidence=confidence, seed=seed, of=of)
    edges = np.histogram_bin_edges(scores, bins=BINS)
    return AuditRun(
        title,
        audit.bound,
        audit.ceiling,
        audit.canaries,
        audit.guesses,
        audit.correct,
        confidence,
        tuple(float(edge) for edge in edges),
        tuple(int(count) for count in np.histogram(scores[seen.included], edges)[0]),
        tuple(int(count) for count in np.histogram(scores[~seen.included], edges)[0]),
    )
