"""Training against attacks: the models, what the same attacks do to them, and the settings tried."""

from collections.abc import Iterator, Sequence

from quintain.report import format as fmt
from quintain.report.blocks import Block, Figure, FigureRow, Heading, TableBlock
from quintain.report.drawings.accuracy_charts import trade_off_chart
from quintain.report.presentation import Presentation
from quintain.report.results.attack import attacked_model_lines
from quintain.report.results.train import training_text
from quintain.report.run_results import RunResults
from quintain.report.table import Cell, Table
from quintain.results.robustness_records import FrontPoint, HardenResult, TrainingRun

MAX_LABELS = 5
"""Most steps that are written under a chart."""


def _summary(result: HardenResult) -> Iterator[str]:
    yield from map(training_text, result.trainings)
    for one in result.models:
        yield from attacked_model_lines(one)


def _tables(result: HardenResult) -> Iterator[Table]:
    if result.front:
        yield front_table(result.front)


def front_table(front: Sequence[FrontPoint]) -> Table:
    """Return the table of the settings that were tried."""
    rows = tuple(
        (
            Cell(point.setting + (" (chosen)" if point.is_chosen else "")),
            Cell(fmt.percent(point.clean)),
            Cell(fmt.percent(point.unbroken)),
            Cell(fmt.percent(point.certified)),
        )
        for point in front
    )
    caption = (
        f"{len(front)} settings on {front[0].num_examples:,} validation examples; one was chosen there, and "
        "the model trained with it is tested on other examples"
    )
    return Table(("setting", "clean", "under attack", "certified"), rows, caption=caption)


def _blocks(result: HardenResult, run: RunResults) -> Iterator[Block]:
    if result.front:
        yield Heading("Settings that were tried")
        yield FigureRow((_front_figure(result.front),))
        yield TableBlock(front_table(result.front))
    curves = tuple(_curve(one, run) for one in result.trainings if len(one.points) > 1)
    if curves:
        yield Heading("Accuracy on validation examples, during training")
        yield FigureRow(curves)


def _front_figure(front: Sequence[FrontPoint]) -> Figure:
    """Draw accuracy under attack and certified accuracy against clean accuracy."""
    points = sorted(front, key=lambda point: point.clean)
    lines = [("under attack", 0, [(point.clean, point.unbroken) for point in points])]
    if all(point.certified is not None for point in points):
        lines.append(("certified", 1, [(point.clean, point.certified or 0.0) for point in points]))
    chosen = next(point for point in points if point.is_chosen)
    text = "; ".join(
        f"{point.setting}: {fmt.percent(point.clean)} clean, {fmt.percent(point.unbroken)} under attack, "
        f"{fmt.percent(point.certified)} certified"
        for point in points
    )
    svg = trade_off_chart(
        lines,
        marked=chosen.clean,
        labels=[(point.clean, fmt.percent(point.clean)) for point in points],
        title="clean accuracy",
        alt_text=f"accuracies by setting, {chosen.setting} chosen: {text}",
    )
    return Figure("Robust against clean accuracy", svg, f"marked: {chosen.setting}, chosen on these examples")


def _curve(training: TrainingRun, run: RunResults) -> Figure:
    """Draw the accuracies of the looks at a model in training."""
    points = training.points
    sides = (
        ("clean", 2, [(float(one.step), one.clean) for one in points]),
        ("attacked", 0, [(float(one.step), one.robust) for one in points if one.robust is not None]),
        ("certified", 1, [(float(one.step), one.certified) for one in points if one.certified is not None]),
    )
    kept = next((one for one in points if one.is_kept), points[-1])
    every = -(-len(points) // MAX_LABELS)
    svg = trade_off_chart(
        [side for side in sides if side[2]],
        marked=float(kept.step),
        labels=[(float(one.step), f"{one.step:,}") for one in points[every - 1 :: every]],
        title="steps of training",
        alt_text=f"{run.title(training.model.name)}, accuracies in training, the model being that of step "
        f"{kept.step:,}: clean {fmt.percent(kept.clean)}, attacked {fmt.percent(kept.robust)}, certified "
        f"{fmt.percent(kept.certified)}",
    )
    return Figure(training.model.title, svg, f"marked: step {kept.step:,}, whose weights the model has")


PRESENTATION = Presentation(HardenResult, "Hardening", summary=_summary, tables=_tables, blocks=_blocks)
