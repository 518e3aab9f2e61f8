"""Private training: the plan, what it costs in accuracy, what epsilon speaks of, and the same at other budgets and batches."""

from markupsafe import Markup

from quintain.report import format as fmt
from quintain.report.blocks import Block, Drawing, Drawings, Fold, Grid, Heading, Pair, Text
from quintain.report.charts import against, growing
from quintain.report.table import Cell, Table, cells
from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import PlanResult, PrivacyPlan, PrivacyStatement, PrivateRun, PrivatizeResult
from quintain.results.quantity import Side

USUAL = "2 to 10 points are usual"
"""What private training of a net from scratch costs in accuracy."""

_DRAWN = {"poisson": "each record by itself (Poisson sampling)"}
_NEIGHBOURS = {"add/remove": "adding or removing", "replace": "replacing", "zero-out": "blanking out"}


def private_training(one: PrivatizeResult) -> list[Block]:
    """One private training."""
    blocks: list[Block] = [Text(f"PARTIAL RESULT: {one.stop_reason}.", "bad")] if one.stop_reason else []
    beside: list[Block] = [Grid(cost_table(one)), Text(dropped(one), "soft"), Text(_owner(one), "soft")]
    blocks.append(Pair((Grid(plan_table("The plan", one.plan)),), tuple(beside)))
    if one.statement is not None:
        blocks += _assured(one.statement)
    return blocks + _compared(one)


def plan_ahead(one: PlanResult) -> list[Block]:
    """What a budget buys."""
    named = [(fmt.count(count, "step"), place) for place, count in enumerate(one.step_counts)]
    noise = [(name, [(batch, row[at] / batch) for batch, row in zip(one.batch_sizes, one.noise_grid, strict=True)]) for name, at in named]
    costs = [(name, [(batch, row[at]) for batch, row in zip(one.batch_sizes, one.epsilon_grid, strict=True)]) for name, at in named]
    sigma = fmt.number(one.plan.noise_multiplier, 3)
    drawings = (
        Drawing(
            f"Noise at epsilon {fmt.epsilon(one.target_epsilon)}",
            growing(noise, title="expected batch", spoken=_spoken("noise over batch", noise)),
            "Standard deviation of the noise in a mean gradient, in units of the clip norm; lower is better.",
        ),
        Drawing(
            f"Epsilon at noise {sigma}",
            growing(costs, (one.target_epsilon, "the budget"), title="expected batch", spoken=_spoken("epsilon", costs)),
            "What each batch and number of steps costs with the noise of the plan.",
        ),
    )
    return [
        *(Text(warning, "bad") for warning in one.warnings),
        Pair((Grid(plan_table("The plan", one.plan)),), (Text(fitting(one)), Text("Nothing was trained, and nothing is spent.", "soft"))),
        Heading("Batches and steps"),
        Drawings(drawings),
        *(block for table in grid_tables(one) for block in _titled(table)),
    ]


def plan_table(title: str, plan: PrivacyPlan) -> Table:
    """The public constants of a private run."""
    rows = (
        ("epsilon, accounted", fmt.epsilon(plan.epsilon)),
        ("delta", fmt.delta(plan.delta)),
        ("noise multiplier", fmt.number(plan.noise_multiplier, 4)),
        ("clip norm", fmt.number(plan.max_grad_norm, 4)),
        ("expected batch", f"{plan.expected_batch_size:,}"),
        ("chance to be in a step", fmt.percent(plan.sample_rate)),
        ("steps", f"{plan.steps:,}"),
        ("accountant", plan.accountant),
    )
    return Table((title, ""), tuple(cells(*row) for row in rows), caption=title)


def cost_table(one: PrivatizeResult) -> Table:
    """The private model beside the plain one and a constant answer."""
    private, plain = one.training.clean_counts, one.nonprivate_counts
    rows = [(Cell(one.training.model.title), *_both(private))]
    if plain is not None:
        lost = (fmt.points(private.accuracy - plain.accuracy), fmt.points(private.balanced_accuracy - plain.balanced_accuracy))
        rows = [(Cell("without privacy"), *_both(plain)), *rows, (Cell("cost of privacy", "strong"), *cells(*lost))]
    constant = (fmt.percent(private.majority_accuracy), fmt.percent(1 / len(private.total)))
    rows.append((Cell("constant answer", "soft"), *(Cell(text, "soft") for text in constant)))
    return Table(("accuracy", "clean", "balanced"), tuple(rows), caption="What privacy costs")


def dropped(one: PrivatizeResult) -> str:
    """What privacy costs in accuracy, in a sentence."""
    if one.nonprivate_counts is None:
        return "The plain model beside it was not trained yet."
    lost = 100 * (one.nonprivate_counts.accuracy - one.training.clean_counts.accuracy)
    if lost <= 0:
        return f"Privacy costs no accuracy here: the private model is {-lost:.1f} points above the plain run of the same net."
    return f"Privacy costs {lost:.1f} points of accuracy against the plain run of the same net ({USUAL})."


def trial_table(trials: tuple[PrivateRun, ...], title: str) -> Table:
    """Private trainings beside each other."""
    rows = tuple(
        cells(
            fmt.epsilon(one.plan.epsilon),
            f"{one.plan.expected_batch_size:,}",
            fmt.number(one.plan.noise_multiplier, 3),
            fmt.number(one.plan.noise_multiplier / one.plan.expected_batch_size, 2),
            fmt.percent(one.clean_counts.accuracy),
            fmt.percent(one.clean_counts.balanced_accuracy),
            f"{one.plan.expected_batch_size * one.plan.steps:,}",
            fmt.seconds(one.seconds),
        )
        for one in trials
    )
    head = ("epsilon", "batch", "noise", "noise / batch", "clean", "balanced", "gradients", "time")
    return Table(head, rows, words=0, caption=title)


def chosen(one: PrivatizeResult) -> str:
    """What choosing among the trainings of a record costs."""
    if one.composed_epsilon is None:
        return ""
    return (
        f"Epsilon {fmt.epsilon(one.plan.epsilon)} covers the private model if its plan was chosen beforehand. To choose among these "
        f"trainings by their accuracies costs up to epsilon {fmt.epsilon(one.composed_epsilon)}, "
        "what all of them cost together on these records."
    )


def fitting(one: PlanResult) -> str:
    """What the budget still holds, in a sentence."""
    left = one.steps_within_budget - one.plan.steps
    then = (
        f"{left:,} are left after the {one.plan.steps:,} asked about"
        if left >= 0
        else f"{-left:,} fewer than the {one.plan.steps:,} asked about"
    )
    return (
        f"With batch {one.plan.expected_batch_size:,} of {one.dataset_size:,} records "
        f"and noise {fmt.number(one.plan.noise_multiplier, 3)}, {fmt.count(one.steps_within_budget, 'step')} fit "
        f"into epsilon {fmt.epsilon(one.target_epsilon)} at delta {fmt.delta(one.plan.delta)}: {then}."
    )


def grid_tables(one: PlanResult) -> tuple[Table, Table]:
    """Noise for the budget, and epsilon for the noise, over batches and steps."""
    head = ("batch", *(fmt.count(count, "step") for count in one.step_counts))

    def table(title: str, rows: tuple[tuple[float, ...], ...], digits: int) -> Table:
        lines = zip(one.batch_sizes, rows, strict=True)
        return Table(head, tuple(cells(f"{batch:,}", *(fmt.number(value, digits) for value in row)) for batch, row in lines), 1, title)

    return (
        table(f"Noise multiplier for epsilon {fmt.epsilon(one.target_epsilon)}", one.noise_grid, 3),
        table(f"Epsilon with noise {fmt.number(one.plan.noise_multiplier, 3)}", one.epsilon_grid, 3),
    )


def _assured(one: PrivacyStatement) -> list[Block]:
    least = "not known" if one.epsilon_lower_bound is None else fmt.epsilon(one.epsilon_lower_bound, Side.LOWER)
    rows = (
        ("who is hidden", f"{_NEIGHBOURS.get(one.adjacency, one.adjacency)} one {one.privacy_unit}"),
        ("no accountant can say less than", least),
        ("the best adversary is right at most", f"{fmt.percent(one.adversary_accuracy)} of the time (guessing: 50 %)"),
        ("batches", _DRAWN.get(one.sampling, one.sampling)),
        ("noise", one.noise),
        ("reproducible", "yes, by a seed" if one.reproducible else "no"),
    )
    table = Table(("What this epsilon speaks of", ""), tuple(cells(*row) for row in rows), words=2, caption="What this epsilon speaks of")
    assumed = tuple(Text(line) for line in one.assumptions)
    fold: tuple[Block, ...] = (Fold("What it assumes", assumed),) if assumed else ()
    return [*(Text(warning, "bad") for warning in one.warnings), Grid(table), *fold]


def _compared(one: PrivatizeResult) -> list[Block]:
    drawings: list[Drawing] = []
    tables: list[Block] = []
    for trials, title, axis in (
        (one.epsilon_sweep, "Accuracy by budget", "epsilon"),
        (one.batch_size_sweep, "Accuracy by batch, at one budget", "expected batch"),
    ):
        if trials:
            drawings.append(Drawing(title, _curve(trials, one, axis)))
            tables += _titled(trial_table(trials, title))
    if not drawings:
        return []
    legend = (("line proved", "private training"), ("line ci", "what the test set leaves open (95 %)"))
    once = Text("Each point is one training: with other noise it may lie elsewhere, also beyond what the test set leaves open.", "soft")
    return [Heading("Other budgets and batches"), Text(chosen(one)), Drawings(tuple(drawings), legend), once, *tables]


def _titled(table: Table) -> list[Block]:
    return [Heading(table.caption), Grid(table)]


def _curve(trials: tuple[PrivateRun, ...], one: PrivatizeResult, axis: str) -> Markup:
    """Accuracy with its interval along the axis, beside the plain model and a constant answer."""
    by_epsilon = axis == "epsilon"
    places = [float(f"{trial.plan.epsilon:.2g}") if by_epsilon else float(trial.plan.expected_batch_size) for trial in trials]
    points = [(x, trial.clean_counts.accuracy, *trial.clean_counts.interval()) for x, trial in zip(places, trials, strict=True)]
    baseline = one.training.clean_counts.majority_accuracy
    references = [(baseline, f"constant {fmt.percent(baseline)}", "constant")]
    if one.nonprivate_counts is not None:
        references.insert(0, (one.nonprivate_counts.accuracy, f"plain {fmt.percent(one.nonprivate_counts.accuracy)}", "pooled"))
    told = "; ".join([*(f"{fmt.percent(y)} at {x:g}" for x, y, _, _ in points), *(text for _, text, _ in references)])
    return against(points, references, title=axis, spoken=f"accuracy by {axis}: {told}")


def _spoken(what: str, lines: list[tuple[str, list[tuple[int, float]]]]) -> str:
    return "; ".join(f"{name}: {what} {', '.join(f'{fmt.number(y)} at batch {x}' for x, y in points)}" for name, points in lines)


def _both(tally: ClassCounts) -> tuple[Cell, ...]:
    return cells(fmt.percent(tally.accuracy), fmt.percent(tally.balanced_accuracy))


def _owner(one: PrivatizeResult) -> str:
    return (
        f"{fmt.percent(one.clipped_fraction)} of the gradients were clipped. "
        "For the data's owner only, like the accuracy without privacy: epsilon "
        "does not cover these figures."
    )
