"""The result of each step in a few lines, for the screen."""

from collections.abc import Iterator
from statistics import mean

from quintain.report import format as fmt
from quintain.report.evasion import broken_by_text
from quintain.report.private_training import accuracy_cost_text, steps_left_text
from quintain.results.class_counts import ClassCounts
from quintain.results.literals import CLEAN_ERRORS_ONLY
from quintain.results.privacy_records import (
    AuditResult,
    FederateResult,
    LeakResult,
    PlanResult,
    PrivatizeResult,
    Reconstruction,
)
from quintain.results.quantity import Basis, Metric, Side
from quintain.results.records import Claim, Record, StepResult
from quintain.results.robustness_records import (
    AttackedModel,
    AttackResult,
    CheckResult,
    HardenResult,
    TrainingRun,
    TrainResult,
)


def summary_lines(record: Record) -> Iterator[str]:
    """Yield a few lines on the result of a step, then each claim on robust accuracy as a sentence."""
    yield from _of_result(record.result)
    for claim in record.claims:
        if claim.bracket.quantity.metric is Metric.ROBUST_ACCURACY:
            yield bracket_text(claim)


def bracket_text(claim: Claim) -> str:
    """Return both bounds on an accuracy in words, with the interval for the population and the majority
    class.
    """
    bracket = claim.bracket
    low, high = bracket.confidence_interval()
    interval = f"95 % interval for the population {100 * low:.1f} .. {fmt.percent(high)}"
    majority = "" if bracket.baseline is None else f"; majority class {fmt.percent(bracket.baseline)}"
    lower, upper = fmt.percent(bracket.lower.value), fmt.percent(bracket.upper.value)
    proof = "not certified" if bracket.lower.basis is Basis.TRIVIAL else "certified"
    attack = "not attacked" if bracket.upper.method == CLEAN_ERRORS_ONLY else "attacked"
    bounds = f"at least {lower} ({proof}), at most {upper} ({attack})"
    return f"robust accuracy of {claim.model} at {bracket.quantity.threat}: {bounds}; {interval}{majority}"


def _of_result(body: StepResult) -> Iterator[str]:
    match body:
        case CheckResult():
            worse = [
                f"{finding.level}: {finding.message}"
                for finding in body.findings
                if finding.level in ("warning", "error")
            ]
            levels = [finding.level for finding in body.findings]
            yield (
                f"{fmt.count(len(levels), 'check')}: {fmt.count(levels.count('warning'), 'warning')}, "
                f"{fmt.count(levels.count('error'), 'error')}"
            )
            yield from worse
        case TrainResult():
            yield _training(body.training)
        case HardenResult():
            yield from map(_training, body.trainings)
            for one in body.models:
                yield from _attacks(one)
        case AttackResult():
            for one in body.models:
                yield from _attacks(one)
        case PrivatizeResult():
            plan = body.plan
            yield (
                f"epsilon {fmt.epsilon(plan.epsilon)} at delta {plan.delta:g}, batch size "
                f"{plan.expected_batch_size}, noise multiplier {plan.noise_multiplier:.3g}; "
                f"{_accuracy(body.training.clean_counts)}"
                + (
                    ""
                    if body.nonprivate_counts is None
                    else f", non-private {fmt.percent(body.nonprivate_counts.accuracy)}"
                )
            )
            yield accuracy_cost_text(body)
        case PlanResult():
            at = f"epsilon {fmt.epsilon(body.plan.epsilon)} at delta {body.plan.delta:g}"
            yield f"{at}: noise multiplier {body.plan.noise_multiplier:.3g}"
            yield steps_left_text(body)
        case AuditResult():
            run, control = body.audit, body.control
            yield (
                f"epsilon at delta {body.plan.delta:g}: at least {fmt.epsilon(run.lower.value, Side.LOWER)} "
                f"(audit, {fmt.count(run.canaries, 'canary', 'canaries')}, {100 * run.confidence:g} % "
                f"confidence), at most {fmt.epsilon(body.plan.epsilon)} (accountant); an audit of this size "
                f"can detect at most {fmt.epsilon(run.max_auditable_epsilon)}"
            )
            if run.repeated_epsilons:
                again = ", ".join(fmt.epsilon(value, Side.LOWER) for value in run.repeated_epsilons)
                yield f"the audit crossed the claim; repeated with new canaries: at least {again}"
            yield f"positive control without noise: at least {fmt.epsilon(control.lower.value, Side.LOWER)}"
            failed = [test.message for test in body.mechanism_tests if not test.passed]
            yield f"mechanism tests: {len(body.mechanism_tests) - len(failed)} passed, {len(failed)} failed"
            yield from failed
        case LeakResult():
            found = "; ".join(
                f"{one.update_type}: {_reconstruction(one)}"
                for one in (*body.reconstructions, *body.baselines)
            )
            yield f"reconstruction quality in PSNR (an update leaks above what is known without it): {found}"
        case FederateResult():
            last, best = body.rounds[-1], max(site.local_counts.accuracy for site in body.sites)
            gone = (
                ", ".join(f"{name} in round {one.round}" for one in body.rounds for name in one.dropped)
                or "none"
            )
            summed = [one for one in body.rounds if one.survivors]
            exact = sum(one.sum_exact for one in summed)
            yield (
                f"federated {_accuracy(last.global_counts)}; best local-only {fmt.percent(best)}, "
                f"centralized {fmt.percent(body.centralized_counts.accuracy)}; "
                f"dropped out: {gone}; the secure sum was exact in {exact} of {len(summed)} rounds"
            )


def _training(training: TrainingRun) -> str:
    return f"{training.model.title}: {_accuracy(training.clean_counts)}, {fmt.seconds(training.seconds)}"


def _reconstruction(one: Reconstruction) -> str:
    if one.failure_reason:
        return "not reconstructed"
    known = one.baseline_psnr
    beside = "" if known is None else f" (site {one.site}, {fmt.decibels(known)} without it)"
    return f"{fmt.decibels(one.psnr)}{beside}{' LEAKS' * one.leaks}"


def _accuracy(tally: ClassCounts) -> str:
    low, high = (100 * limit for limit in tally.interval())
    return (
        f"accuracy {fmt.percent(tally.accuracy)} (95 %: {low:.1f} .. {high:.1f}), balanced "
        f"{fmt.percent(tally.balanced_accuracy)}"
    )


def _attacks(attacks: AttackedModel) -> Iterator[str]:
    left = ", ".join(
        f"{row.threat} {row.attack} {fmt.percent(row.unbroken_counts.accuracy)}" for row in attacks.rows
    )
    yield f"accuracy under attack, {attacks.title}: {left}"
    if attacks.break_log.found_by:
        cost = (
            f"{mean(attacks.break_log.forwards):,.0f} queries and {mean(attacks.break_log.backwards):,.0f} "
            "gradients per example"
        )
        seconds = fmt.seconds(sum(row.seconds for row in attacks.rows))
        yield f"first broken by: {broken_by_text(attacks)}; {cost}; {seconds}"
    if attacks.diagnostics is not None:
        yield f"trust: {attacks.diagnostics.summary}"
