"""Audits of private training: the audited epsilon, its positive control, and the mechanism as measured."""

from collections.abc import Iterator

from quintain.report import format as fmt
from quintain.report.blocks import Block, Figure, FigureRow, Heading, TableBlock, Text
from quintain.report.claim_cards import auditable_epsilon_text, claim_bar
from quintain.report.claim_rows import CONFIDENCE
from quintain.report.drawings.bar import AxisScale, scale_to
from quintain.report.drawings.privacy_charts import histogram
from quintain.report.presentation import Presentation
from quintain.report.results.plan import plan_table
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table, cells
from quintain.results.bounds import Bound, Bracket
from quintain.results.privacy_records import AuditResult, AuditRun, MechanismTest, PrivatizeResult
from quintain.results.quantity import Side

_LEGEND = (("area bar-in", "canaries trained on"), ("area bar-out", "canaries left out"))


def mechanism_table(tests: tuple[MechanismTest, ...]) -> Table:
    """Return the tests of the mechanism against what it claims."""
    rows = tuple(
        (
            Cell(one.name),
            Cell("pass" if one.passed else "FAIL", "good" if one.passed else "bad"),
            Cell(one.message),
            Cell(fmt.number(one.expected, 4)),
            Cell(fmt.number(one.measured, 4)),
            Cell(fmt.number(one.p_value, 2)),
        )
        for one in tests
    )
    return Table(
        ("property", "found", "evidence", "promised", "measured", "p"),
        rows,
        num_text_columns=3,
        caption="The mechanism as measured",
    )


def _summary(result: AuditResult) -> Iterator[str]:
    run, control = result.audit, result.control
    yield (
        f"epsilon at delta {result.plan.delta:g}: at least {fmt.epsilon(run.lower.value, Side.LOWER)} "
        f"(audit, {fmt.count(run.canaries, 'canary', 'canaries')}, {100 * run.confidence:g} % "
        f"confidence), at most {fmt.epsilon(result.plan.epsilon)} (accountant); an audit of this size "
        f"can detect at most {fmt.epsilon(run.max_auditable_epsilon)}"
    )
    if run.gaussian_epsilon is not None:
        yield (
            f"at least {fmt.epsilon(run.gaussian_epsilon, Side.LOWER)}, if the canaries' scores are "
            "independent and Gaussian; that is assumed, and no bound of the claim"
        )
    yield from _assumption_lines(run)
    if run.repeated_epsilons:
        yield f"the audit crossed the claim; repeated with new canaries: at least {repetitions_text(run)}"
    yield f"positive control without noise: at least {fmt.epsilon(control.lower.value, Side.LOWER)}"
    failed = [test.message for test in result.mechanism_tests if not test.passed]
    yield f"mechanism tests: {len(result.mechanism_tests) - len(failed)} passed, {len(failed)} failed"
    yield from failed


def _assumption_lines(run: AuditRun) -> Iterator[str]:
    """Yield the bounds of the audits that rest on assumptions."""
    for one in run.assumed:
        yield (
            f"at least {fmt.epsilon(one.epsilon, Side.LOWER)} ({one.method}), if "
            f"{'; '.join(one.assumptions)}: that is assumed, and no bound of the claim"
        )


def repetitions_text(run: AuditRun) -> str:
    """Return the lower bounds on epsilon of the repeated audits."""
    return ", ".join(fmt.epsilon(value, Side.LOWER) for value in run.repeated_epsilons)


def _blocks(result: AuditResult, run: RunResults) -> list[Block]:
    pair = (result.audit, result.control)
    upper = next(
        (claim.bracket.upper for claim in run.claims if claim.bracket.lower == result.audit.lower), None
    )
    values = [value for one in pair for value in (one.lower.value, one.max_auditable_epsilon)] + [
        result.plan.epsilon
    ]
    scale = scale_to(*values)
    drawings = (
        audit_figure(
            result.audit,
            Bracket(result.audit.lower, upper or Bound.trivial(result.audit.lower.quantity, Side.UPPER)),
            scale,
        ),
        audit_figure(
            result.control,
            Bracket(result.control.lower, Bound.trivial(result.control.lower.quantity, Side.UPPER)),
            scale,
        ),
    )
    rows = tuple(
        cells(
            one.title,
            f"{one.canaries:,}",
            f"{one.correct:,} of {one.guesses:,}" if one.guesses else fmt.NO_VALUE,
            fmt.percent(one.correct / one.guesses if one.guesses else None),
            f"{fmt.epsilon(one.lower.at_confidence(CONFIDENCE), Side.LOWER)}",
            fmt.NO_VALUE if one.gaussian_epsilon is None else fmt.epsilon(one.gaussian_epsilon, Side.LOWER),
            fmt.epsilon(one.max_auditable_epsilon),
        )
        for one in pair
    )
    head = (
        "audit of",
        "canaries",
        "correct guesses",
        "fraction correct",
        "epsilon at least",
        "at least, if Gaussian",
        "largest detectable epsilon",
    )
    return [
        Heading("Audit and positive control"),
        Text(
            "Positive control: the same training without noise. If the audit found no leak there, its result "
            "for the private training would mean nothing."
        ),
        FigureRow(drawings, _LEGEND if any(one.bin_edges for one in pair) else ()),
        TableBlock(Table(head, rows, caption="Audits")),
        *_repeats(result.audit),
        *(Text(f"{text[0].upper()}{text[1:]}.", "soft") for text in _assumption_lines(result.audit)),
        Text(auditable_epsilon_text(result.audit, result.plan.epsilon), "soft"),
        *_plan_of_audit(run, result),
        Heading("Mechanism tests"),
        TableBlock(mechanism_table(result.mechanism_tests)),
    ]


def _repeats(run: AuditRun) -> list[Block]:
    """Show what an audit that crossed the claim came to when it was repeated."""
    if not run.repeated_epsilons:
        return []
    return [
        Text(
            "The audit crossed the claim and was repeated at once with new canaries: epsilon at least "
            f"{repetitions_text(run)}."
        )
    ]


def _plan_of_audit(run: RunResults, result: AuditResult) -> list[Block]:
    """Show the audited settings, unless they stand above already."""
    if result.plan in [one.plan for one in run.results_of(PrivatizeResult)]:
        return []
    return [TableBlock(plan_table("Audited DP-SGD settings", result.plan))]


def audit_figure(one: AuditRun, bracket: Bracket, scale: AxisScale) -> Figure:
    """Return the bar of an audit, over the scores of its canaries where there are any."""
    drawn = claim_bar(bracket, audit=one, scale=scale)
    if len(one.bin_edges) > 1:
        spoken = (
            f"scores of {sum(one.included_counts)} canaries trained on and {sum(one.excluded_counts)} left "
            f"out, {one.title}"
        )
        drawn = (
            histogram(
                one.bin_edges,
                one.included_counts,
                one.excluded_counts,
                title="score of the attack",
                alt_text=spoken,
            )
            + drawn
        )
    return Figure(one.title, drawn)


PRESENTATION = Presentation(AuditResult, "Privacy audit", summary=_summary, blocks=_blocks)
