"""Audit private training: a lower bound on epsilon, beside the upper bound that the accountant claims."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from quintain.core import rounding
from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.dp import PrivatePlan, PrivateTrainingResult
from quintain.dp.accounting import prv
from quintain.dp.mechanism_tests import inclusion_measurements, measurements
from quintain.dp.own_net import noise_of_net, sensitivity_of_net
from quintain.dp.replay import weights_measurement
from quintain.evaluate.audit_runs import audit_run, bracket_side, repetition_notes
from quintain.evaluate.audited_training import AuditedTraining, interruption_of_audit, train_and_observe
from quintain.evaluate.plan_profiles import plan_profiles
from quintain.evaluate.privacy_target import (
    PrivacyTarget,
    ProtectedRecords,
    epsilon_quantity,
    epsilon_upper_bound,
    plan_record,
)
from quintain.evaluate.step import StepOutput
from quintain.evaluate.training import require_copyable
from quintain.leakage import (
    Auditor,
    CanaryRun,
    EpsilonAudit,
    Experiment,
    audit_one_run,
    coordinate_measurements,
    repetitions,
)
from quintain.results.bounds import Bracket
from quintain.results.privacy_records import AuditResult
from quintain.results.records import Claim
from quintain.results.specification import Measurement, bonferroni_tests

UNFOLLOWED = (
    "whether the weights move by what is released was not measured: rounding in their format moves them by "
    "nearly as much as noise does; expected float32 weights, or a larger rate"
)
UNCLIPPED = (
    "clipping was not measured in the net's own layers: no made-up record had a gradient of half the clip "
    "norm (outputs that are NaN, or that follow no weight, have none)"
)


def run_audit(
    net: nn.Module,
    train: Dataset,
    target: PrivacyTarget,
    *,
    auditor: Auditor = audit_one_run,
    canaries: int = 500,
    confidence: float = 0.95,
    comparisons: int = 1,
    seed: int = 0,
    unfinished: Path | None = None,
    progress: Progress = no_progress,
) -> StepOutput:
    """Audit a plan by canaries, with and without noise, and test the mechanism on the audited run itself.

    The net is trained as ``quintain privatize`` trains it, with its state saved, and interrupted half way and
    resumed; the weights after each step must be those that follow from the releases. Noise, sampling and
    clipping are measured on that run.

    If the audit's lower bound exceeds the claim, the audit is repeated at once with fresh coins and another
    training. It ends when a bound does not exceed the claim, which stays suspect, so that nobody wins by
    repeating; or when the probability that all bounds exceed a true claim is below 1e-6 over all comparisons
    (five audits at 95 %, three at 99 %), which is a contradiction. ``joint_bound`` combines their bounds.

    The control has a Quantity of its own: its bound is not a lower bound of the plan's epsilon. A measurement
    that differs from the plan is in the record; ``raise_if_unsound`` raises for it once the record is stored.

    Args:
        net: A net with its first weights; copies of it are trained.
        train: Records that the plan is for.
        target: The epsilon to audit, and the public settings.
        auditor: Computes the lower bound from the canaries' scores. One that takes ``profiles`` gets those of
            the plan, as the accountant proves them. The bound of an auditor that rests on an assumption is
            shown beside that of ``audit_one_run``, which is the one that counts.
        canaries: Number of canaries.
        confidence: Confidence of the audited lower bound.
        comparisons: Number of brackets in the run that this audit is part of.
        seed: Seed of coins and ties, also of each repetition; noise and batches come from the operating
            system.
        unfinished: Where the trainings keep their state and what was observed of them, so that the same call
            resumes after a kill; ``dp.training.resume.delete_unfinished`` it once the record is written. The
            tests of the mechanism, which follow, are made anew.
        progress: Shows bars.

    Raises:
        SettingError: If there are not more records than canaries.
        RunFolderError: If ``unfinished`` holds trainings of another net, data set, plan or seed.
    """
    if len(train) <= canaries:
        raise SettingError(
            f"{canaries} canaries for {len(train)} records; expected fewer canaries than records, each takes "
            "one's place"
        )
    require_copyable(net)
    plan = target.plan(len(train))
    noiseless_plan = replace(plan, noise_multiplier=0.0)
    records = ProtectedRecords.from_dataset(train)
    claimed = epsilon_upper_bound(plan, records, plan.epsilon(len(train)))
    bound_epsilon, assumed = bracket_side(auditor, lambda: plan_profiles(plan, len(train)))

    def train_and_audit(trained_plan: PrivatePlan, repetition: int) -> tuple[AuditedTraining, EpsilonAudit]:
        coins, ties = (
            derive_seed(seed, place, *([repetition] if repetition else [])) for place in ("audit", "ties")
        )
        name = f"plan-{repetition}" if trained_plan is plan else "control"
        run = train_and_observe(
            net, train, trained_plan, canaries, coins, unfinished and unfinished / name, progress
        )
        return run, bound_epsilon(
            _scores(run.seen, plan, len(train)),
            run.seen.included,
            delta=plan.delta,
            confidence=confidence,
            seed=ties,
            quantity=epsilon_quantity(trained_plan, records),
        )

    with interruption_of_audit(unfinished):
        first, audit = train_and_audit(plan, 0)
        audits = [audit]
        while audits[-1].epsilon > claimed.value and len(audits) < repetitions(
            confidence, comparisons=comparisons
        ):
            audits.append(train_and_audit(plan, len(audits))[1])
        noiseless, noiseless_audit = train_and_audit(noiseless_plan, 0)
    ties = derive_seed(seed, "ties")
    run, control = (
        audit_run(
            title,
            all_audits,
            Experiment(_scores(training.seen, plan, len(train)), training.seen.included, coins="ours"),
            plan.delta,
            ties,
            assumed,
        )
        for title, all_audits, training in (
            ("the plan", audits, first),
            ("control: no noise", [noiseless_audit], noiseless),
        )
    )
    measured, unmeasured = _measure_mechanism(first, net, train, plan, claimed.value)
    tests = bonferroni_tests((*measurements(plan, len(train), trainers=("fit",)), *measured))
    claim = Claim(
        "audited:epsilon",
        "Privacy of each record, audited",
        "private",
        Bracket(run.lower, claimed),
        primary=True,
    )
    notes = list(unmeasured)
    if control.lower.value <= claimed.value:
        notes.append(
            "the positive control without noise was audited at "
            f"{rounding.epsilon(control.lower.value, up=False)}, not above the claimed "
            f"{rounding.epsilon(claimed.value)}: this audit is too weak to contradict the claim; use more "
            "canaries"
        )
    if run.max_auditable_epsilon < claimed.value:
        notes.append(
            f"an audit of {canaries} canaries can show at most "
            f"{rounding.epsilon(run.max_auditable_epsilon)}: it cannot contradict this claim"
        )
    if first.seen.min_gradient_norm < plan.max_grad_norm:
        notes.append(
            f"canaries' gradients fell to {first.seen.min_gradient_norm:.2g}, below the clip norm: the audit "
            "is valid, and not at full strength; what they add was not measured"
        )
    notes += repetition_notes(run, claimed.value)
    result = AuditResult(plan_record(plan, len(train)), run, control, tests)
    return StepOutput(result, (claim,), tuple(notes), reproducible=False)


def _measure_mechanism(
    run: AuditedTraining, net: nn.Module, train: Dataset, plan: PrivatePlan, claimed: float
) -> tuple[tuple[Measurement, ...], tuple[str, ...]]:
    """Measure noise, sampling, clipping and accounting on the audited run, and noise and clipping of the net.

    Returns:
        The measurements, and notes on what could not be measured.
    """
    q, unit = plan.sample_rate(len(train)), plan.max_grad_norm / plan.expected_batch_size
    inclusion = inclusion_measurements(run.batches, len(train), q)
    followed, clipped = weights_measurement(run.drifts), sensitivity_of_net(net, train.shape, plan)
    measured = (
        *coordinate_measurements(
            run.seen,
            sample_rate=q,
            noise_multiplier=plan.noise_multiplier,
            canary_size=unit,
            max_grad_norm=plan.max_grad_norm,
        ),
        *(
            replace(one, name=f"{one.name}, audited run")
            for one in (*inclusion, *(() if followed is None else (followed,)))
        ),
        *noise_of_net(net, train, plan),
        *(() if clipped is None else (clipped,)),
        _accounting(plan, claimed, run.spent, len(run.seen.observations)),
        _other_accountant(plan, q, claimed),
    )
    return measured, tuple(
        note for note, one in ((UNFOLLOWED, followed), (UNCLIPPED, clipped)) if one is None
    )


def _accounting(
    plan: PrivatePlan, claimed: float, spent: PrivateTrainingResult, releases: int
) -> Measurement:
    """Test whether the run's own ledger has the claimed epsilon, and as many steps as were observed."""
    passed = spent.epsilon == claimed and spent.steps == releases == plan.steps
    text = (
        f"the run's ledger: {spent.steps} steps at {spent.epsilon:.6g}, {releases} released; of {plan.steps} "
        "steps"
    )
    return Measurement("accounting", claimed, spent.epsilon, float(passed), text)


def _other_accountant(plan: PrivatePlan, rate: float, claimed: float) -> Measurement:
    """Test the claim against the lower bound of another accountant, which shares no code with the first."""
    least = prv.prv_bounds([(plan.noise_multiplier, rate, plan.steps)], plan.delta).lower
    return Measurement(
        "accountant",
        claimed,
        least,
        float(least <= claimed),
        "least true epsilon of the plan by our PRV, under the claim",
    )


def _scores(seen: CanaryRun, plan: PrivatePlan, records: int) -> NDArray[np.float64]:
    """Return the canaries' scores under the plan, also for the control."""
    return seen.scores(
        sample_rate=plan.sample_rate(records),
        noise_multiplier=plan.noise_multiplier,
        canary_size=plan.max_grad_norm / plan.expected_batch_size,
    )
