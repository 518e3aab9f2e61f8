"""The results of each finished step in a line or a few, for the screen."""

from collections.abc import Iterator
from statistics import mean

from quintain.report import format as fmt
from quintain.report.evasion import breakdown
from quintain.report.private_training import dropped, fitting
from quintain.report.summary import side
from quintain.results.bounds import Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import AuditResult, FederateResult, LeakResult, PlanResult, PrivatizeResult
from quintain.results.quantity import Metric, Side
from quintain.results.records import Record, StepResult
from quintain.results.robustness_records import AttackedModel, AttackResult, CheckResult, HardenResult, TrainingRun, TrainResult


def headlines(record: Record) -> Iterator[str]:
    """A line or a few on the results of a step, then each claim on robust accuracy as a bracket."""
    yield from _of_body(record.result)
    for claim in record.claims:
        if claim.bracket.quantity.metric is Metric.ROBUST_ACCURACY:
            yield f"{claim.name}: {bracket(claim.bracket)}"


def bracket(sides: Bracket) -> str:
    """Both sides of an accuracy, the gap between them, and what the size of the test set adds to it."""
    low, high = sides.confidence_interval()
    open_points = sides.upper.value - sides.lower.value
    chance = (high - low) - open_points
    between = f"{side(sides, Side.LOWER)} <= true <= {side(sides, Side.UPPER)}"
    constant = "" if sides.baseline is None else f"; constant answer {fmt.percent(sides.baseline)}"
    return f"{between}; open {100 * open_points:.1f} points, test set's size {100 * chance:.1f} more{constant}"


def _of_body(body: StepResult) -> Iterator[str]:
    match body:
        case CheckResult():
            worse = [f"{finding.level}: {finding.message}" for finding in body.findings if finding.level in ("warning", "error")]
            yield f"{len(body.findings)} looks, {len(worse)} to heed"
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
                f"epsilon {fmt.epsilon(plan.epsilon)} at delta {plan.delta:g}, batch {plan.expected_batch_size}, "
                f"noise {plan.noise_multiplier:.3g}; {_accuracy(body.training.clean_counts)}"
                + ("" if body.nonprivate_counts is None else f", plain {fmt.percent(body.nonprivate_counts.accuracy)}")
            )
            yield dropped(body)
        case PlanResult():
            yield f"epsilon {fmt.epsilon(body.plan.epsilon)} at delta {body.plan.delta:g}: noise {body.plan.noise_multiplier:.3g}"
            yield fitting(body)
        case AuditResult():
            run, control = body.audit, body.control
            yield (
                f"audited >= {fmt.epsilon(run.lower.value, Side.LOWER)} ({fmt.percent(run.confidence)}, m={run.canaries}, "
                f"ceiling {fmt.epsilon(run.max_auditable_epsilon)}) <= true <= accounted {fmt.epsilon(body.plan.epsilon)}"
            )
            if run.repeated_epsilons:
                again = ", ".join(fmt.epsilon(value, Side.LOWER) for value in run.repeated_epsilons)
                yield f"the claim was crossed; repeated with fresh coins: audited >= {again}"
            yield f"control without noise: audited >= {fmt.epsilon(control.lower.value, Side.LOWER)}"
            failed = [test.message for test in body.mechanism_tests if not test.passed]
            yield f"{len(body.mechanism_tests)} measurements of the mechanism, {len(failed)} not as promised"
            yield from failed
        case LeakResult():
            told = ", ".join(
                f"{one.update_type} {'not rebuilt' if one.failure_reason else fmt.decibels(one.psnr)}"
                for one in (*body.reconstructions, *body.baselines)
            )
            yield f"rebuilt from {told}"
        case FederateResult():
            last, best = body.rounds[-1], max(site.local_counts.accuracy for site in body.sites)
            gone = ", ".join(f"{name} in round {one.round}" for one in body.rounds for name in one.dropped) or "nobody"
            summed = [one for one in body.rounds if one.survivors]
            exact = sum(one.sum_exact for one in summed)
            yield (
                f"{_accuracy(last.global_counts)}; best alone {fmt.percent(best)}, pooled {fmt.percent(body.centralized_counts.accuracy)}; "
                f"dropped out: {gone}; {exact} of {len(summed)} sums exact"
            )


def _training(training: TrainingRun) -> str:
    return f"{training.model.title}: {_accuracy(training.clean_counts)}, {fmt.seconds(training.seconds)}"


def _accuracy(tally: ClassCounts) -> str:
    low, high = (100 * limit for limit in tally.interval())
    return f"accuracy {fmt.percent(tally.accuracy)} (95 %: {low:.1f} .. {high:.1f}), balanced {fmt.percent(tally.balanced_accuracy)}"


def _attacks(attacks: AttackedModel) -> Iterator[str]:
    left = ", ".join(f"{row.threat} {row.attack} {fmt.percent(row.unbroken_counts.accuracy)}" for row in attacks.rows)
    yield f"{attacks.title}: {left}"
    if attacks.break_log.found_by:
        cost = f"{mean(attacks.break_log.forwards):,.0f} questions and {mean(attacks.break_log.backwards):,.0f} gradients an example"
        seconds = fmt.seconds(sum(row.seconds for row in attacks.rows))
        yield f"broken by: {breakdown(attacks)}; {cost}; {seconds}"
    if attacks.diagnostics is not None:
        yield f"trust: {attacks.diagnostics.summary}"
