"""Private training: settings, cost in accuracy, what epsilon covers, and sweeps of epsilon and batch size."""

from collections.abc import Iterator

from markupsafe import Markup

from quintain.report import format as fmt
from quintain.report.accuracy import accuracy_text, balanced_text
from quintain.report.blocks import (
    Block,
    Collapsible,
    Figure,
    FigureRow,
    Heading,
    TableBlock,
    Text,
    TwoColumns,
)
from quintain.report.drawings.accuracy_charts import interval_chart
from quintain.report.presentation import Presentation
from quintain.report.results.plan import plan_table, titled_table
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table, cells
from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import PrivacyStatement, PrivateRun, PrivatizeResult
from quintain.results.quantity import Side

MAX_ACCURACY_DEFICIT = 0.05
"""How far a non-private model that had not converged may be below a private one, to be compared with."""

USUAL = "2 to 10 points are usual"
"""What private training of a net from scratch costs in accuracy."""

_SAMPLING = {"poisson": "Poisson"}


def cost_table(one: PrivatizeResult) -> Table:
    """Return the private model beside the non-private one and the majority class."""
    private, plain = one.training.clean_counts, one.nonprivate_counts
    rows = [(Cell(one.training.model.title), *_both(private))]
    if plain is not None:
        lost = (
            fmt.points(private.accuracy - plain.accuracy),
            fmt.points(private.balanced_accuracy - plain.balanced_accuracy),
        )
        rows = [
            (Cell("without privacy"), *_both(plain)),
            *rows,
            *([(Cell("cost of privacy", "strong"), *cells(*lost))] if _is_comparable(one) else []),
        ]
    majority = (fmt.percent(private.majority_accuracy), fmt.percent(1 / private.num_filled_classes))
    rows.append((Cell("majority class", "soft"), *(Cell(text, "soft") for text in majority)))
    return Table(("accuracy", "clean", "balanced"), tuple(rows), caption="What privacy costs")


def accuracy_cost_text(one: PrivatizeResult) -> str:
    """Say what privacy costs in accuracy."""
    if one.nonprivate_counts is None:
        return "The non-private model was not trained yet."
    private, nonprivate = one.training.clean_counts.accuracy, one.nonprivate_counts.accuracy
    both = f"private {fmt.percent(private)}, non-private {fmt.percent(nonprivate)}"
    if not _is_comparable(one):
        return (
            f"What privacy costs cannot be told: {both}. The non-private model did not learn what this net "
            "can: it was trained too briefly, or by a recipe that does not suit the net."
        )
    if nonprivate <= private:
        text = f"Privacy cost no accuracy here: {both}."
    else:
        text = f"Privacy cost {100 * (nonprivate - private):.1f} points of accuracy: {both} ({USUAL})."
    return f"{text}{_convergence_text(one)}"


def _is_comparable(one: PrivatizeResult) -> bool:
    """Whether the non-private model is not far below the private one."""
    if one.nonprivate_counts is None:
        return True
    return one.training.clean_counts.accuracy - one.nonprivate_counts.accuracy <= MAX_ACCURACY_DEFICIT


def _convergence_text(one: PrivatizeResult) -> str:
    """Say how long the non-private model was trained, and whether longer would have helped."""
    if one.nonprivate_converged is None:
        return ""
    if one.nonprivate_converged:
        return (
            f" The non-private model was trained for {one.nonprivate_epochs} epochs; twice as many were no "
            "better."
        )
    return (
        f" The non-private model still improved at {one.nonprivate_epochs} epochs, the most that are tried: "
        "privacy may cost more than this."
    )


def sweep_table(trials: tuple[PrivateRun, ...], title: str) -> Table:
    """Return private trainings beside each other."""
    rows = tuple(
        cells(
            fmt.epsilon(one.plan.epsilon),
            f"{one.plan.expected_batch_size:,}",
            fmt.number(one.plan.noise_multiplier, 3),
            fmt.number(one.plan.noise_multiplier / one.plan.expected_batch_size, 2),
            fmt.percent(one.clean_counts.accuracy),
            balanced_text(one.clean_counts),
            f"{one.plan.expected_batch_size * one.plan.steps:,}",
            fmt.seconds(one.seconds),
        )
        for one in trials
    )
    head = (
        "epsilon",
        "batch size",
        "noise multiplier",
        "noise / batch",
        "clean",
        "balanced",
        "gradients",
        "time",
    )
    return Table(head, rows, num_text_columns=0, caption=title)


def selection_cost_text(one: PrivatizeResult) -> str:
    """Say what choosing among the trainings of a record costs."""
    if one.composed_epsilon is None:
        return ""
    return (
        f"Epsilon {fmt.epsilon(one.plan.epsilon)} holds for the private model if its settings were fixed in "
        "advance. If you pick the best of these trainings by accuracy, the whole selection costs epsilon "
        f"{fmt.epsilon(one.composed_epsilon)} (composition of all of them)."
    )


def _sweeps(result: PrivatizeResult) -> Iterator[tuple[tuple[PrivateRun, ...], str]]:
    """Yield each sweep that was made, with its title."""
    for trials, title in (
        (result.epsilon_sweep, "Accuracy by epsilon"),
        (result.batch_size_sweep, "Accuracy by batch size, at one epsilon"),
    ):
        if trials:
            yield trials, title


def _summary(result: PrivatizeResult) -> Iterator[str]:
    plan, plain = result.plan, result.nonprivate_counts
    beside = "" if plain is None else f", non-private {fmt.percent(plain.accuracy)}"
    yield (
        f"epsilon {fmt.epsilon(plan.epsilon)} at delta {plan.delta:g}, batch size "
        f"{plan.expected_batch_size}, noise multiplier {plan.noise_multiplier:.3g}; "
        f"{accuracy_text(result.training.clean_counts)}{beside}"
    )
    yield accuracy_cost_text(result)


def _tables(result: PrivatizeResult) -> tuple[Table, ...]:
    return tuple(sweep_table(trials, title) for trials, title in _sweeps(result))


def _blocks(one: PrivatizeResult, _: RunResults) -> list[Block]:
    blocks: list[Block] = [Text(f"PARTIAL RESULT: {one.stop_reason}.", "bad")] if one.stop_reason else []
    beside: list[Block] = [
        TableBlock(cost_table(one)),
        Text(accuracy_cost_text(one), "soft"),
        Text(_owner(one), "soft"),
    ]
    blocks.append(TwoColumns((TableBlock(plan_table("DP-SGD settings", one.plan)),), tuple(beside)))
    if one.statement is not None:
        blocks += _guarantee_blocks(one.statement)
    return blocks + _sweep_blocks(one)


def _guarantee_blocks(one: PrivacyStatement) -> list[Block]:
    least = (
        "not known" if one.epsilon_lower_bound is None else fmt.epsilon(one.epsilon_lower_bound, Side.LOWER)
    )
    rows = (
        ("neighboring data sets", f"differ by one {one.privacy_unit} ({one.adjacency})"),
        ("lower bound on epsilon (own PRV accountant)", least),
        (
            "the best adversary is right at most",
            f"{fmt.percent(one.adversary_accuracy)} of the time (guessing: 50 %)",
        ),
        ("sampling", _SAMPLING.get(one.sampling, one.sampling)),
        ("noise", one.noise),
        ("reproducible", "yes, by a seed" if one.reproducible else "no"),
    )
    table = Table(
        ("What this epsilon covers", ""),
        tuple(cells(*row) for row in rows),
        num_text_columns=2,
        caption="What this epsilon covers",
    )
    assumed = tuple(Text(line) for line in one.assumptions)
    fold: tuple[Block, ...] = (Collapsible("Assumptions", assumed),) if assumed else ()
    return [*(Text(warning, "bad") for warning in one.warnings), TableBlock(table), *fold]


def _sweep_blocks(one: PrivatizeResult) -> list[Block]:
    drawings: list[Figure] = []
    tables: list[Block] = []
    for trials, title, axis in (
        (one.epsilon_sweep, "Accuracy by epsilon", "epsilon"),
        (one.batch_size_sweep, "Accuracy by batch size, at one epsilon", "expected batch"),
    ):
        if trials:
            drawings.append(Figure(title, _curve(trials, one, axis)))
            tables += titled_table(sweep_table(trials, title))
    if not drawings:
        return []
    legend = (("line proved", "private training"), ("line ci", "95 % interval"))
    once = Text(
        "Each point is one training: with other noise it may lie elsewhere, also outside of its interval.",
        "soft",
    )
    return [
        Heading("Other epsilons and batch sizes"),
        Text(selection_cost_text(one)),
        FigureRow(tuple(drawings), legend),
        once,
        *tables,
    ]


def _curve(trials: tuple[PrivateRun, ...], one: PrivatizeResult, axis: str) -> Markup:
    """Draw accuracy with its interval, beside the non-private model and the majority class."""
    by_epsilon = axis == "epsilon"
    places = [
        float(f"{trial.plan.epsilon:.2g}") if by_epsilon else float(trial.plan.expected_batch_size)
        for trial in trials
    ]
    points = [
        (x, trial.clean_counts.accuracy, *trial.clean_counts.interval())
        for x, trial in zip(places, trials, strict=True)
    ]
    baseline = one.training.clean_counts.majority_accuracy
    references = [(baseline, f"majority {fmt.percent(baseline)}", "constant")]
    if one.nonprivate_counts is not None:
        references.insert(
            0,
            (
                one.nonprivate_counts.accuracy,
                f"non-private {fmt.percent(one.nonprivate_counts.accuracy)}",
                "pooled",
            ),
        )
    alt_text = "; ".join(
        [*(f"{fmt.percent(y)} at {x:g}" for x, y, _, _ in points), *(text for _, text, _ in references)]
    )
    return interval_chart(points, references, title=axis, alt_text=f"accuracy by {axis}: {alt_text}")


def _both(counts: ClassCounts) -> tuple[Cell, ...]:
    return cells(fmt.percent(counts.accuracy), balanced_text(counts))


def _owner(one: PrivatizeResult) -> str:
    return (
        f"{fmt.percent(one.clipped_fraction)} of the gradients were clipped. "
        "For the data's owner only, like the accuracy without privacy: epsilon "
        "does not cover these figures."
    )


PRESENTATION = Presentation(
    PrivatizeResult, "Private training", summary=_summary, tables=_tables, blocks=_blocks
)
