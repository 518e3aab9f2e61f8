"""Privacy: the claimed epsilon, what it costs in accuracy, and what an audit shows."""

from quintain.report import format as fmt
from quintain.report.bar import AxisScale, scale_to
from quintain.report.blocks import Block, Figure, FigureRow, Heading, Section, TableBlock, Text
from quintain.report.charts import histogram
from quintain.report.key_claims import CONFIDENCE
from quintain.report.overview import auditable_epsilon_text, claim_bar
from quintain.report.private_training import plan_blocks, plan_table, private_training_blocks
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table, cells
from quintain.results.bounds import Bound, Bracket
from quintain.results.privacy_records import AuditResult, AuditRun, MechanismTest, PlanResult, PrivatizeResult
from quintain.results.quantity import Side

_LEGEND = (("area bar-in", "canaries trained on"), ("area bar-out", "canaries left out"))


def privacy_section(run: RunResults) -> Section | None:
    """Show private trainings, plans, audits with their positive control, and mechanism tests."""
    private, planned, audited = (
        run.results_of(PrivatizeResult),
        run.results_of(PlanResult),
        run.results_of(AuditResult),
    )
    blocks: list[Block] = [block for one in private for block in private_training_blocks(one)]
    blocks += [block for one in planned for block in plan_blocks(one)]
    for body in audited:
        blocks += _audit(run, body)
    if not blocks:
        return None
    lead = (
        "The accountant gives an upper bound on epsilon; the audit attacks the same training and gives a "
        "lower bound."
    )
    if not private and not audited:
        lead = "What a target epsilon costs in noise and steps, before anything is trained."
    return Section("privacy", "Privacy", lead, tuple(blocks))


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


def _audit(run: RunResults, body: AuditResult) -> list[Block]:
    pair = (body.audit, body.control)
    upper = next(
        (claim.bracket.upper for claim in run.claims if claim.bracket.lower == body.audit.lower), None
    )
    values = [value for one in pair for value in (one.lower.value, one.max_auditable_epsilon)] + [
        body.plan.epsilon
    ]
    scale = scale_to(*values)
    drawings = (
        _drawing(
            body.audit,
            Bracket(body.audit.lower, upper or Bound.trivial(body.audit.lower.quantity, Side.UPPER)),
            scale,
        ),
        _drawing(
            body.control,
            Bracket(body.control.lower, Bound.trivial(body.control.lower.quantity, Side.UPPER)),
            scale,
        ),
    )
    rows = tuple(
        cells(
            one.title,
            f"{one.canaries:,}",
            f"{one.correct:,} of {one.guesses:,}",
            fmt.percent(one.correct / one.guesses if one.guesses else None),
            f"{fmt.epsilon(one.lower.at_confidence(CONFIDENCE), Side.LOWER)}",
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
        *_repeats(body.audit),
        Text(auditable_epsilon_text(body.audit, body.plan.epsilon), "soft"),
        *_plan_of_audit(run, body),
        Heading("Mechanism tests"),
        TableBlock(mechanism_table(body.mechanism_tests)),
    ]


def _repeats(run: AuditRun) -> list[Block]:
    """Show what an audit that crossed the claim came to when it was repeated."""
    if not run.repeated_epsilons:
        return []
    again = ", ".join(fmt.epsilon(value, Side.LOWER) for value in run.repeated_epsilons)
    return [
        Text(
            "The audit crossed the claim and was repeated at once with new canaries: epsilon at least "
            f"{again}."
        )
    ]


def _plan_of_audit(run: RunResults, body: AuditResult) -> list[Block]:
    """Show the audited settings, unless they stand above already."""
    if body.plan in [one.plan for one in run.results_of(PrivatizeResult)]:
        return []
    return [TableBlock(plan_table("Audited DP-SGD settings", body.plan))]


def _drawing(one: AuditRun, bracket: Bracket, scale: AxisScale) -> Figure:
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
