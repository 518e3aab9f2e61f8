"""Privacy: what is promised, what it costs, and what an attacker of the training run can show."""

from quintain.report import format as fmt
from quintain.report.bar import Scale, scale_to
from quintain.report.blocks import Block, Drawing, Drawings, Grid, Heading, Section, Text
from quintain.report.charts import histogram
from quintain.report.front import bar, ceiling
from quintain.report.private_training import plan_ahead, plan_table, private_training
from quintain.report.run import Run
from quintain.report.summary import CONFIDENCE
from quintain.report.table import Cell, Table, cells
from quintain.results.bounds import Bound, Bracket
from quintain.results.privacy_records import AuditResult, AuditRun, MechanismTest, PlanResult, PrivatizeResult
from quintain.results.quantity import Side

_LEGEND = (("area bar-in", "canaries trained on"), ("area bar-out", "canaries left out"))


def privacy(run: Run) -> Section | None:
    """Plans, what they cost in accuracy, the audit beside its control, and the mechanism as measured."""
    private, planned, audited = run.bodies(PrivatizeResult), run.bodies(PlanResult), run.bodies(AuditResult)
    blocks: list[Block] = [block for one in private for block in private_training(one)]
    blocks += [block for one in planned for block in plan_ahead(one)]
    for body in audited:
        blocks += _audit(run, body)
    if not blocks:
        return None
    lead = "The accountant bounds from above what any one record can change; the audit attacks the same plan and bounds it from below."
    if not private and not audited:
        lead = "What a budget buys, before anything is trained."
    return Section("privacy", "Privacy", lead, tuple(blocks))


def specification_table(tests: tuple[MechanismTest, ...]) -> Table:
    """The mechanism measured against what it promises."""
    rows = tuple(
        (
            Cell(one.name),
            Cell("as promised" if one.passed else "differs", "good" if one.passed else "bad"),
            Cell(one.message),
            Cell(fmt.number(one.expected, 4)),
            Cell(fmt.number(one.measured, 4)),
            Cell(fmt.number(one.p_value, 2)),
        )
        for one in tests
    )
    return Table(("property", "found", "evidence", "promised", "measured", "p"), rows, words=3, caption="The mechanism as measured")


def _audit(run: Run, body: AuditResult) -> list[Block]:
    pair = (body.audit, body.control)
    upper = next((claim.bracket.upper for claim in run.claims if claim.bracket.lower == body.audit.lower), None)
    values = [value for one in pair for value in (one.lower.value, one.max_auditable_epsilon)] + [body.plan.epsilon]
    scale = scale_to(*values)
    drawings = (
        _drawing(body.audit, Bracket(body.audit.lower, upper or Bound.trivial(body.audit.lower.quantity, Side.UPPER)), scale),
        _drawing(body.control, Bracket(body.control.lower, Bound.trivial(body.control.lower.quantity, Side.UPPER)), scale),
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
    head = ("audit of", "canaries", "right guesses", "share right", "epsilon at least", "ceiling")
    return [
        Heading("The audit beside its control"),
        Text("The control has no noise: if the audit saw nothing there, it would prove nothing here."),
        Drawings(drawings, _LEGEND if any(one.bin_edges for one in pair) else ()),
        Grid(Table(head, rows, caption="Audits")),
        *_repeats(body.audit),
        Text(ceiling(body.audit, body.plan.epsilon), "soft"),
        *_plan_of_audit(run, body),
        Heading("The mechanism as measured"),
        Grid(specification_table(body.mechanism_tests)),
    ]


def _repeats(run: AuditRun) -> list[Block]:
    """What an audit that crossed the claim showed when it was repeated."""
    if not run.repeated_epsilons:
        return []
    again = ", ".join(fmt.epsilon(value, Side.LOWER) for value in run.repeated_epsilons)
    return [Text(f"It crossed the claim and was repeated at once with fresh coins: epsilon at least {again}.")]


def _plan_of_audit(run: Run, body: AuditResult) -> list[Block]:
    """The audited plan, unless it stands above already."""
    if body.plan in [one.plan for one in run.bodies(PrivatizeResult)]:
        return []
    return [Grid(plan_table("The audited plan", body.plan))]


def _drawing(one: AuditRun, bracket: Bracket, scale: Scale) -> Drawing:
    drawn = bar(bracket, audit=one, scale=scale)
    if len(one.bin_edges) > 1:
        spoken = f"scores of {sum(one.included_counts)} canaries trained on and {sum(one.excluded_counts)} left out, {one.title}"
        drawn = histogram(one.bin_edges, one.included_counts, one.excluded_counts, title="score of the attack", spoken=spoken) + drawn
    return Drawing(one.title, drawn)
