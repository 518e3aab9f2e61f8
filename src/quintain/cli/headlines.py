"""The results of each finished step in a line or a few, for the screen."""

from collections.abc import Iterator
from statistics import mean

from quintain.report import format as fmt
from quintain.report.evasion import breakdown
from quintain.report.private_training import dropped, fitting
from quintain.report.summary import side
from quintain.results.bounds import Bracket
from quintain.results.privacy_records import Audited, Federated, Leaked, Planned, Privatized
from quintain.results.quantity import Kind, Side
from quintain.results.records import Body, Record
from quintain.results.robustness_records import Attacked, Attacks, Checked, Hardened, Trained, Training
from quintain.results.tally import Tally


def headlines(record: Record) -> Iterator[str]:
    """A line or a few on the results of a step, then each claim on robust accuracy as a bracket."""
    yield from _of_body(record.body)
    for claim in record.claims:
        if claim.bracket.of.kind is Kind.ROBUST_ACCURACY:
            yield f"{claim.name}: {bracket(claim.bracket)}"


def bracket(sides: Bracket) -> str:
    """Both sides of an accuracy, the gap between them, and what the size of the test set adds to it."""
    low, high = sides.limits()
    open_points = sides.upper.value - sides.lower.value
    chance = (high - low) - open_points
    between = f"{side(sides, Side.LOWER)} <= true <= {side(sides, Side.UPPER)}"
    constant = "" if sides.baseline is None else f"; constant answer {fmt.percent(sides.baseline)}"
    return f"{between}; open {100 * open_points:.1f} points, test set's size {100 * chance:.1f} more{constant}"


def _of_body(body: Body) -> Iterator[str]:
    match body:
        case Checked():
            worse = [f"{finding.level}: {finding.text}" for finding in body.findings if finding.level in ("warning", "error")]
            yield f"{len(body.findings)} looks, {len(worse)} to heed"
            yield from worse
        case Trained():
            yield _training(body.training)
        case Hardened():
            yield from map(_training, body.trainings)
            for one in body.attacks:
                yield from _attacks(one)
        case Attacked():
            for one in body.attacks:
                yield from _attacks(one)
        case Privatized():
            plan = body.plan
            yield (
                f"epsilon {fmt.epsilon(plan.epsilon)} at delta {plan.delta:g}, batch {plan.expected_batch_size}, "
                f"noise {plan.noise_multiplier:.3g}; {_accuracy(body.training.clean)}"
                + ("" if body.plain is None else f", plain {fmt.percent(body.plain.accuracy)}")
            )
            yield dropped(body)
        case Planned():
            yield f"epsilon {fmt.epsilon(body.plan.epsilon)} at delta {body.plan.delta:g}: noise {body.plan.noise_multiplier:.3g}"
            yield fitting(body)
        case Audited():
            run, control = body.run, body.control
            yield (
                f"audited >= {fmt.epsilon(run.lower.value, Side.LOWER)} ({fmt.percent(run.confidence)}, m={run.canaries}, "
                f"ceiling {fmt.epsilon(run.ceiling)}) <= true <= accounted {fmt.epsilon(body.plan.epsilon)}"
            )
            if run.repeats:
                again = ", ".join(fmt.epsilon(value, Side.LOWER) for value in run.repeats)
                yield f"the claim was crossed; repeated with fresh coins: audited >= {again}"
            yield f"control without noise: audited >= {fmt.epsilon(control.lower.value, Side.LOWER)}"
            failed = [test.text for test in body.specification if not test.passed]
            yield f"{len(body.specification)} measurements of the mechanism, {len(failed)} not as promised"
            yield from failed
        case Leaked():
            told = ", ".join(
                f"{one.setting} {'not rebuilt' if one.missing else fmt.decibels(one.psnr)}" for one in (*body.attempts, *body.guesses)
            )
            yield f"rebuilt from {told}"
        case Federated():
            last, best = body.rounds[-1], max(site.alone.accuracy for site in body.sites)
            gone = ", ".join(f"{name} in round {one.number}" for one in body.rounds for name in one.dropped) or "nobody"
            summed = [one for one in body.rounds if one.survivors]
            exact = sum(one.exact for one in summed)
            yield (
                f"{_accuracy(last.global_model)}; best alone {fmt.percent(best)}, pooled {fmt.percent(body.pooled.accuracy)}; "
                f"dropped out: {gone}; {exact} of {len(summed)} sums exact"
            )


def _training(training: Training) -> str:
    return f"{training.model.title}: {_accuracy(training.clean)}, {fmt.seconds(training.seconds)}"


def _accuracy(tally: Tally) -> str:
    low, high = (100 * limit for limit in tally.interval())
    return f"accuracy {fmt.percent(tally.accuracy)} (95 %: {low:.1f} .. {high:.1f}), balanced {fmt.percent(tally.balanced)}"


def _attacks(attacks: Attacks) -> Iterator[str]:
    left = ", ".join(f"{row.threat} {row.attack} {fmt.percent(row.standing.accuracy)}" for row in attacks.rows)
    yield f"{attacks.title}: {left}"
    if attacks.breaks.by:
        cost = f"{mean(attacks.breaks.forwards):,.0f} questions and {mean(attacks.breaks.backwards):,.0f} gradients an example"
        seconds = fmt.seconds(sum(row.seconds for row in attacks.rows))
        yield f"broken by: {breakdown(attacks)}; {cost}; {seconds}"
    if attacks.trust is not None:
        yield f"trust: {attacks.trust.verdict}"
