"""Training, evasion attacks and certificates: what changes of the input do, and what they provably cannot."""

from collections.abc import Sequence
from pathlib import Path

from quintain.core.threat_specs import threat_type
from quintain.report import format as fmt
from quintain.report.bar import stacked_bar
from quintain.report.blocks import (
    Block,
    Collapsible,
    Figure,
    FigureRow,
    Heading,
    Pictures,
    Section,
    TableBlock,
    Text,
)
from quintain.report.charts import accuracy_band
from quintain.report.evasion import diagnostics_text, median_queries, queries_chart
from quintain.report.key_claims import CONFIDENCE
from quintain.report.pictures import embed
from quintain.report.run_results import RunResults
from quintain.report.stickers import sticker_blocks
from quintain.report.table import Cell, Table, cells
from quintain.results.class_counts import ClassCounts
from quintain.results.per_example import ExampleState, PerExample
from quintain.results.quantity import Basis
from quintain.results.records import Claim
from quintain.results.robustness_records import AttackedModel, AttackRow, CertifiedModel, CheckResult

_LEGEND = (
    ("line broken", "accuracy under attack"),
    ("line proved", "certified accuracy"),
    ("area open", "gap between the bounds"),
    ("line constant", "majority class"),
)
_POINTS = 65
"""Number of eps at which a curve is drawn where the record names none."""


def training_section(run: RunResults) -> Section | None:
    """Show the trainings and their clean accuracy."""
    checks = run.results_of(CheckResult)
    if not run.trainings and not checks:
        return None
    blocks: list[Block] = []
    if run.trainings:
        rows = tuple(
            (
                Cell(one.model.title),
                _accuracy(one.clean_counts),
                Cell(fmt.percent_interval(*one.clean_counts.interval(CONFIDENCE))),
                *cells(*_classwise(one.clean_counts)),
                Cell(f"{one.model.num_parameters:,}"),
                Cell(fmt.seconds(one.seconds)),
            )
            for one in run.trainings
        )
        head = ("model", "clean", "95 %", "balanced", "sensitivity", "specificity", "weights", "time")
        blocks.append(TableBlock(Table(head, rows, caption="Accuracy on unchanged test examples")))
        blocks += _low_note(rows, run.trainings[0].clean_counts)
        recipes = tuple((Cell(one.model.title), Cell(one.settings, "code")) for one in run.trainings)
        blocks.append(
            Collapsible(
                "recipes",
                (TableBlock(Table(("model", "recipe"), recipes, num_text_columns=2, caption="Recipes")),),
            )
        )
    blocks += [Collapsible("examples of each class", (TableBlock(_class_table(check)),)) for check in checks]
    if not run.trainings:
        return Section(
            "training", "The data", "How many examples there are of each class, in each part.", tuple(blocks)
        )
    return Section("training", "Training", "Accuracy on the unchanged test set.", tuple(blocks))


def attack_section(run: RunResults, folder: Path) -> Section | None:
    """Show curves, the table of attacks, and adversarial examples."""
    if not run.attacked_models:
        return None
    attacked = {(one.model, one.threat_type) for one in run.attacked_models}
    both = [one for one in run.certified_models if (one.model, one.threat_type) in attacked]
    covered = {(one.model, one.threat_type) for one in both}
    drawings = [_panel(run, one) for one in both] + [
        _attack_panel(run, one) for one in run.attacked_models if (one.model, one.threat_type) not in covered
    ]
    lead = "Accuracy by size of the change: the accuracy left by the attacks, above the certified accuracy."
    blocks: list[Block] = [text for one in run.attacked_models for text in diagnostics_text(run, one)]
    blocks.append(FigureRow(tuple(drawings), _LEGEND))
    for ball in dict.fromkeys(one.threat_type for one in run.attacked_models):
        same = [one for one in run.attacked_models if one.threat_type == ball]
        matrix = _matrix(run, same)
        blocks += [TableBlock(matrix), *_low_note(matrix.rows, _at(same[0], 0.0))]
    blocks.append(Heading("Worst case over all attacks, per class"))
    blocks.append(TableBlock(_class_by_class(run)))
    asked = tuple(drawing for one in run.attacked_models if (drawing := queries_chart(run, one)))
    if asked:
        blocks += [Heading("Accuracy by number of queries"), FigureRow(asked)]
    blocks.append(Collapsible("all attacks with their cost", (TableBlock(_every_attack(run)),)))
    for one in run.attacked_models:
        if one.gallery:
            blocks.append(Heading(f"Adversarial examples, {run.title(one.model)}"))
            blocks.append(
                Pictures(tuple(tuple(embed(picture, folder) for picture in row) for row in one.gallery))
            )
    blocks += [block for one in run.stickers for block in sticker_blocks(run, one, folder)]
    return Section("attack", "Evasion attacks", lead, tuple(blocks))


def certificate_section(run: RunResults) -> Section | None:
    """Show what is certified, the gap to the attacks, and the interval for the population."""
    if not run.certified_models:
        return None
    attacked = {(one.model, one.threat_type) for one in run.attacked_models}
    apart = tuple(
        _panel(run, one) for one in run.certified_models if (one.model, one.threat_type) not in attacked
    )
    blocks: list[Block] = [FigureRow(apart, _LEGEND)] if apart else []
    rows = tuple(row for one in run.certified_models for row in _certificate_rows(run, one))
    head = ("change", "examples", "certified", "under attack", "gap", "95 % interval")
    legend = (
        ("area proved", "certified"),
        ("area open", "undecided"),
        ("area broken", "broken"),
        ("area wrong", "misclassified without a change"),
        ("area error", "invalid output (NaN)"),
    )
    blocks += [
        FigureRow((), legend),
        TableBlock(Table(head, rows, num_text_columns=2, caption="Both bounds of every certified model")),
    ]
    lead = (
        "Certified accuracy and accuracy under attack bound the robust accuracy; the 95 % interval is for "
        "the population."
    )
    return Section("certificates", "Certificates", lead, tuple(blocks))


def _panel(run: RunResults, one: CertifiedModel) -> Figure:
    sizes = sorted({0.0, *one.curve_eps, *one.requested_eps})
    proved = [one.examples.certified_counts(size, one.num_classes).accuracy for size in sizes]
    unbroken = [one.examples.unbroken_counts(size, one.num_classes).accuracy for size in sizes]
    proved[0] = min(
        proved[0], unbroken[0]
    )  # without a change there is nothing to certify: a prediction is correct or it is not
    return _drawing(
        run,
        one.model,
        one.threat_type,
        sizes,
        proved,
        unbroken,
        sorted({0.0, *one.requested_eps}),
        one.examples,
        one.num_classes,
    )


def _attack_panel(run: RunResults, one: AttackedModel) -> Figure:
    asked = sorted({0.0, *(row.eps for row in one.rows)})
    classes = max((len(row.unbroken_counts.total) for row in one.rows), default=max(one.examples.labels) + 1)
    top = asked[-1] or 1.0
    sizes = sorted({*asked, *(top * step / (_POINTS - 1) for step in range(_POINTS))})
    unbroken = [one.examples.unbroken_counts(size, classes).accuracy for size in sizes]
    return _drawing(
        run,
        one.model,
        one.threat_type,
        sizes,
        _certified_curve(run, one, sizes),
        unbroken,
        asked,
        one.examples,
        classes,
    )


def _certified_curve(run: RunResults, one: AttackedModel, sizes: Sequence[float]) -> list[float] | None:
    """Return the certified accuracy of a model at each eps by the run's claims; None without any.

    What is certified at one eps is certified at every smaller one.
    """
    bounds = [
        claim.bracket.lower
        for claim in run.claims
        if claim.model == one.model and threat_type(claim.bracket.quantity.threat) == one.threat_type
    ]
    proofs = [
        (fmt.eps_of(bound.quantity.threat), bound.value)
        for bound in bounds
        if bound.basis is not Basis.TRIVIAL
    ]
    return (
        [max((value for at, value in proofs if at >= size), default=0.0) for size in sizes]
        if proofs
        else None
    )


def _drawing(
    run: RunResults,
    model: str,
    ball: str,
    sizes: Sequence[float],
    proved: Sequence[float] | None,
    unbroken: Sequence[float],
    asked: Sequence[float],
    examples: PerExample,
    classes: int,
) -> Figure:
    at = dict(zip(sizes, zip(proved or [0.0] * len(sizes), unbroken, strict=True), strict=True))
    said = "; ".join(
        f"{fmt.eps_text(size)}: {fmt.percent(at[size][0])} certified, {fmt.percent(at[size][1])} under attack"
        for size in asked
    )
    svg = accuracy_band(
        sizes,
        proved,
        unbroken,
        marked=asked,
        baseline=examples.unbroken_counts(0.0, classes).majority_accuracy,
        title=f"size of the change, {ball.capitalize()}",
        alt_text=f"{run.title(model)}, accuracy by size of the change: {said}",
    )
    return Figure(run.title(model), svg)


def _matrix(run: RunResults, attacks: Sequence[AttackedModel]) -> Table:
    """Return accuracy by attack and eps, one column a model."""
    found = {(row.threat, row.attack, one.model): row for one in attacks for row in one.rows}
    names = [one.model for one in attacks]
    rows: list[tuple[Cell, ...]] = []
    clean = {one.model: _at(one, 0.0) for one in attacks}
    rows.append((Cell("unchanged"), *(_accuracy(clean[name]) for name in names)))
    for token, size in _sizes(attacks):
        rows.append((Cell(fmt.threat_text(token), "head"),))
        for attack in dict.fromkeys(attack for other, attack, _ in found if other == token):
            hits = [found.get((token, attack, name)) for name in names]
            rows.append(
                (
                    Cell(attack),
                    *(_accuracy(hit.unbroken_counts) if hit else Cell(fmt.NO_VALUE) for hit in hits),
                )
            )
        every = [_at(one, size) for one in attacks]
        rows.append((Cell("worst case", "strong"), *(_accuracy(tally, strong=True) for tally in every)))
    return Table(
        ("attack", *(run.title(name) for name in names)), tuple(rows), caption="Accuracy under attack"
    )


def _class_by_class(run: RunResults) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one in run.attacked_models:
        rows.append((Cell(run.title(one.model)),))
        for token, size in _sizes([one]):
            tally = _at(one, size)
            rows.append(
                (Cell(fmt.threat_text(token)), _accuracy(tally), *cells(*_classwise(tally)), _majority(tally))
            )
    head = ("change", "accuracy", "balanced", "sensitivity", "specificity", "majority class")
    return Table(head, tuple(rows), caption="Worst case over all attacks, per class")


def _every_attack(run: RunResults) -> Table:
    def line(one: AttackedModel, row: AttackRow) -> tuple[Cell, ...]:
        cost = (
            median_queries(row),
            fmt.number(row.forwards),
            fmt.number(row.backwards),
            fmt.seconds(row.seconds),
        )
        return (
            *cells(run.title(one.model), row.attack, fmt.threat_text(row.threat)),
            _accuracy(row.unbroken_counts),
            *cells(*_classwise(row.unbroken_counts), *cost),
        )

    head = (
        "model",
        "attack",
        "change",
        "accuracy",
        "balanced",
        "sensitivity",
        "specificity",
        "median queries to success",
        "forward passes",
        "gradients",
        "time",
    )
    caption = (
        "All attacks. Queries to success: median over broken examples. Forward passes and gradients: mean "
        "per example; an example costs nothing more once it is broken."
    )
    return Table(
        head,
        tuple(line(one, row) for one in run.attacked_models for row in one.rows),
        num_text_columns=3,
        caption=caption,
    )


def _certificate_rows(run: RunResults, one: CertifiedModel) -> list[tuple[Cell, ...]]:
    by = (
        f", certified by {one.certifier} in {fmt.seconds(one.seconds)}"
        if one.certifier
        else ", not certified"
    )
    rows: list[tuple[Cell, ...]] = [(Cell(run.title(one.model) + by),)]
    for size in one.requested_eps:
        proved, unbroken = (
            one.examples.certified_counts(size, one.num_classes),
            one.examples.unbroken_counts(size, one.num_classes),
        )
        states = one.examples.states(size)
        shares = [(state, states.count(state) / len(states)) for state in ExampleState]
        spoken = ", ".join(f"{fmt.percent(part)} {state.value}" for state, part in shares)
        claim = _claim(run, one, size)
        crossed = len(one.examples.contradictory_ids(size))
        open_ = unbroken.accuracy - proved.accuracy
        rows.append(
            (
                Cell(fmt.threat_text(f"{one.threat_type}:{fmt.eps_text(size)}")),
                Cell(stacked_bar([(part, state.value) for state, part in _stacked(shares)], spoken)),
                Cell(fmt.percent(proved.accuracy)),
                _accuracy(unbroken),
                Cell(f"{crossed} contradictory", "bad") if crossed else Cell(fmt.points(open_).lstrip("+")),
                Cell(
                    fmt.percent_interval(*claim.bracket.confidence_interval(CONFIDENCE))
                    if claim
                    else fmt.NO_VALUE
                ),
            )
        )
    return rows


def _stacked(shares: Sequence[tuple[ExampleState, float]]) -> list[tuple[ExampleState, float]]:
    order = (
        ExampleState.CERTIFIED,
        ExampleState.OPEN,
        ExampleState.BROKEN,
        ExampleState.WRONG,
        ExampleState.ERROR,
    )
    return sorted(shares, key=lambda pair: order.index(pair[0]))


def _claim(run: RunResults, one: CertifiedModel, size: float) -> Claim | None:
    token = f"{one.threat_type}:{fmt.eps_text(size)}"
    return next(
        (
            claim
            for claim in run.claims
            if claim.model == one.model
            and (
                claim.bracket.quantity.threat == token
                or _same_size(claim.bracket.quantity.threat, one.threat_type, size)
            )
        ),
        None,
    )


def _same_size(token: str, ball: str, size: float) -> bool:
    return threat_type(token) == ball and abs(fmt.eps_of(token) - size) <= 1e-9


def _sizes(attacks: Sequence[AttackedModel]) -> list[tuple[str, float]]:
    """Return threat specs and their eps, rising."""
    return sorted(
        {row.threat: row.eps for one in attacks for row in one.rows}.items(), key=lambda pair: pair[1]
    )


def _at(one: AttackedModel, size: float) -> ClassCounts:
    classes = max((len(row.unbroken_counts.total) for row in one.rows), default=max(one.examples.labels) + 1)
    return one.examples.unbroken_counts(size, classes)


def _accuracy(tally: ClassCounts, *, strong: bool = False) -> Cell:
    low = tally.accuracy <= tally.majority_accuracy
    return Cell(fmt.percent(tally.accuracy), "low" if low else "strong" if strong else "")


def _classwise(tally: ClassCounts) -> tuple[str, str, str]:
    return (
        fmt.percent(tally.balanced_accuracy),
        fmt.percent(tally.sensitivity),
        fmt.percent(tally.specificity),
    )


def _majority(tally: ClassCounts) -> Cell:
    return Cell(fmt.percent(tally.majority_accuracy), "soft")


def _low_note(rows: Sequence[Sequence[Cell]], tally: ClassCounts) -> tuple[Text, ...]:
    """Explain the mark of a low accuracy, where the table has one."""
    if not any(cell.tone == "low" for row in rows for cell in row):
        return ()
    share = fmt.percent(tally.majority_accuracy)
    return (
        Text(
            "▾ not above the majority class: always predicting the most frequent class is correct for "
            f"{share} of the examples.",
            "soft",
        ),
    )


def _class_table(check: CheckResult) -> Table:
    """Return one row a class, since there may be many and their names long."""
    rows = tuple(
        cells(
            name,
            *(
                f"{counts[place]:,}" if place < len(counts) else fmt.NO_VALUE
                for _, counts in check.class_counts
            ),
        )
        for place, name in enumerate(check.class_names)
    )
    return Table(("class", *(part for part, _ in check.class_counts)), rows, caption="Examples of each class")
