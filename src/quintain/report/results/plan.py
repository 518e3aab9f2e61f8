"""Plans of private training: its public settings, and what a target epsilon costs in noise and steps."""

from collections.abc import Iterator

from quintain.report import format as fmt
from quintain.report.blocks import (
    Block,
    Figure,
    FigureRow,
    Heading,
    TableBlock,
    Text,
    TwoColumns,
)
from quintain.report.drawings.privacy_charts import log_log_chart
from quintain.report.presentation import Presentation
from quintain.report.run_results import RunResults
from quintain.report.table import Table, cells
from quintain.results.privacy_records import PlanResult, PrivacyPlan


def plan_table(title: str, plan: PrivacyPlan) -> Table:
    """Return the public settings of a private training."""
    rows = (
        ("epsilon, accounted", fmt.epsilon(plan.epsilon)),
        ("delta", fmt.delta(plan.delta)),
        ("noise multiplier", fmt.number(plan.noise_multiplier, 4)),
        ("clip norm", fmt.number(plan.max_grad_norm, 4)),
        ("expected batch size", f"{plan.expected_batch_size:,}"),
        ("sampling rate", fmt.percent(plan.sample_rate)),
        ("steps", f"{plan.steps:,}"),
        ("accountant", plan.accountant),
    )
    return Table((title, ""), tuple(cells(*row) for row in rows), caption=title)


def titled_table(table: Table) -> list[Block]:
    """Return a table under its caption as a heading."""
    return [Heading(table.caption), TableBlock(table)]


def steps_left_text(one: PlanResult) -> str:
    """Say how many steps the target epsilon allows."""
    left = one.steps_within_budget - one.plan.steps
    then = (
        f"{one.plan.steps:,} of {one.steps_within_budget:,} steps use the whole budget"
        if not left
        else f"{left:,} more than the {one.plan.steps:,} planned steps"
        if left > 0
        else f"{-left:,} fewer than the {one.plan.steps:,} planned steps"
    )
    return (
        f"With batch size {one.plan.expected_batch_size:,} of {one.dataset_size:,} records "
        f"and noise multiplier {fmt.number(one.plan.noise_multiplier, 3)}, "
        f"{fmt.count(one.steps_within_budget, 'step')} fit into epsilon {fmt.epsilon(one.target_epsilon)} at "
        f"delta {fmt.delta(one.plan.delta)}: {then}."
    )


def grid_tables(one: PlanResult) -> tuple[Table, Table]:
    """Noise for the budget, and epsilon for the noise, over batches and steps."""
    head = ("batch size", *(fmt.count(count, "step") for count in one.step_counts))

    def table(title: str, rows: tuple[tuple[float, ...], ...], digits: int) -> Table:
        lines = zip(one.batch_sizes, rows, strict=True)
        return Table(
            head,
            tuple(cells(f"{batch:,}", *(fmt.number(value, digits) for value in row)) for batch, row in lines),
            1,
            title,
        )

    return (
        table(f"Noise multiplier for epsilon {fmt.epsilon(one.target_epsilon)}", one.noise_grid, 3),
        table(f"Epsilon at noise multiplier {fmt.number(one.plan.noise_multiplier, 3)}", one.epsilon_grid, 3),
    )


def _summary(result: PlanResult) -> Iterator[str]:
    at = f"epsilon {fmt.epsilon(result.plan.epsilon)} at delta {result.plan.delta:g}"
    yield f"{at}: noise multiplier {result.plan.noise_multiplier:.3g}"
    yield steps_left_text(result)


def _blocks(one: PlanResult, _: RunResults) -> list[Block]:
    named = [(fmt.count(count, "step"), place) for place, count in enumerate(one.step_counts)]
    noise = [
        (name, [(batch, row[at] / batch) for batch, row in zip(one.batch_sizes, one.noise_grid, strict=True)])
        for name, at in named
    ]
    costs = [
        (name, [(batch, row[at]) for batch, row in zip(one.batch_sizes, one.epsilon_grid, strict=True)])
        for name, at in named
    ]
    sigma = fmt.number(one.plan.noise_multiplier, 3)
    drawings = (
        Figure(
            f"Noise at epsilon {fmt.epsilon(one.target_epsilon)}",
            log_log_chart(noise, title="expected batch", alt_text=_spoken("noise over batch", noise)),
            "Standard deviation of the noise in a mean gradient, in units of the clip norm; lower is better.",
        ),
        Figure(
            f"Epsilon at noise multiplier {sigma}",
            log_log_chart(
                costs,
                (one.target_epsilon, "target"),
                title="expected batch",
                alt_text=_spoken("epsilon", costs),
            ),
            "Epsilon of each batch size and number of steps at this noise multiplier.",
        ),
    )
    return [
        *(Text(warning, "bad") for warning in one.warnings),
        TwoColumns(
            (TableBlock(plan_table("DP-SGD settings", one.plan)),),
            (Text(steps_left_text(one)), Text("Nothing was trained, and nothing is spent.", "soft")),
        ),
        Heading("Batch sizes and steps"),
        FigureRow(drawings),
        *(block for table in grid_tables(one) for block in titled_table(table)),
    ]


def _spoken(what: str, lines: list[tuple[str, list[tuple[int, float]]]]) -> str:
    return "; ".join(
        f"{name}: {what} {', '.join(f'{fmt.number(y)} at batch {x}' for x, y in points)}"
        for name, points in lines
    )


PRESENTATION = Presentation(PlanResult, "Privacy plan", summary=_summary, tables=grid_tables, blocks=_blocks)
