"""Training, attack and defence, certificates: what changes of the input do, and what they provably cannot."""

from collections.abc import Sequence
from pathlib import Path

from quintain.core.threat_specs import threat_type
from quintain.report import format as fmt
from quintain.report.bar import strip
from quintain.report.blocks import Block, Drawing, Drawings, Fold, Grid, Heading, Pictures, Section, Text
from quintain.report.charts import bands
from quintain.report.evasion import against_queries, typical, verdicts
from quintain.report.pictures import shown
from quintain.report.run import Run
from quintain.report.stickers import sticker
from quintain.report.summary import CONFIDENCE
from quintain.report.table import Cell, Table, cells
from quintain.results.class_counts import ClassCounts
from quintain.results.per_example import ExampleState, PerExample
from quintain.results.quantity import Basis
from quintain.results.records import Claim
from quintain.results.robustness_records import AttackedModel, AttackRow, CertifiedModel, CheckResult

_LEGEND = (
    ("line broken", "still right under attack"),
    ("line proved", "proved"),
    ("area open", "nobody knows yet"),
    ("line constant", "constant answer"),
)
_POINTS = 65
"""Sizes at which a curve is drawn where the record names none."""


def training(run: Run) -> Section | None:
    """What was trained, on what, and how right it is without any change."""
    checks = run.bodies(CheckResult)
    if not run.trainings and not checks:
        return None
    blocks: list[Block] = []
    if run.trainings:
        rows = tuple(
            (
                Cell(one.model.title),
                _accuracy(one.clean_counts),
                Cell(fmt.span_of_shares(*one.clean_counts.interval(CONFIDENCE))),
                *cells(*_classwise(one.clean_counts)),
                Cell(f"{one.model.num_parameters:,}"),
                Cell(fmt.seconds(one.seconds)),
            )
            for one in run.trainings
        )
        head = ("model", "clean", "95 %", "balanced", "sensitivity", "specificity", "weights", "time")
        blocks.append(Grid(Table(head, rows, caption="Accuracy on unchanged test examples")))
        blocks += _low_note(rows, run.trainings[0].clean_counts)
        recipes = tuple((Cell(one.model.title), Cell(one.settings, "code")) for one in run.trainings)
        blocks.append(Fold("recipes", (Grid(Table(("model", "recipe"), recipes, words=2, caption="Recipes")),)))
    blocks += [Fold("examples of each class", (Grid(_class_table(check)),)) for check in checks]
    if not run.trainings:
        return Section("training", "The data", "How many examples there are of each class, in each part.", tuple(blocks))
    return Section("training", "What was trained", "Accuracy on the unchanged test set, before anybody interferes.", tuple(blocks))


def attack_and_defence(run: Run, folder: Path) -> Section | None:
    """Curves, the table of attacks, and fooled examples."""
    if not run.attacks:
        return None
    attacked = {(one.model, one.threat_type) for one in run.attacks}
    both = [one for one in run.robustness if (one.model, one.threat_type) in attacked]
    covered = {(one.model, one.threat_type) for one in both}
    drawings = [_panel(run, one) for one in both] + [
        _attack_panel(run, one) for one in run.attacks if (one.model, one.threat_type) not in covered
    ]
    lead = "How accuracy falls as the change grows: what is still right after every attack, above what is proved to stay right."
    blocks: list[Block] = [text for one in run.attacks for text in verdicts(run, one)]
    blocks.append(Drawings(tuple(drawings), _LEGEND))
    for ball in dict.fromkeys(one.threat_type for one in run.attacks):
        same = [one for one in run.attacks if one.threat_type == ball]
        matrix = _matrix(run, same)
        blocks += [Grid(matrix), *_low_note(matrix.rows, _at(same[0], 0.0))]
    blocks.append(Heading("After every attack, class by class"))
    blocks.append(Grid(_class_by_class(run)))
    asked = tuple(drawing for one in run.attacks if (drawing := against_queries(run, one)))
    if asked:
        blocks += [Heading("Accuracy against questions asked"), Drawings(asked)]
    blocks.append(Fold("every attack, with its cost", (Grid(_every_attack(run)),)))
    for one in run.attacks:
        if one.gallery:
            blocks.append(Heading(f"Fooled: {run.title(one.model)}"))
            blocks.append(Pictures(tuple(tuple(shown(picture, folder) for picture in row) for row in one.gallery)))
    blocks += [block for one in run.stickers for block in sticker(run, one, folder)]
    return Section("attack", "Attack and defence", lead, tuple(blocks))


def certificates(run: Run) -> Section | None:
    """What is proved, how much of the gap is open, and how much is the test set's size."""
    if not run.robustness:
        return None
    attacked = {(one.model, one.threat_type) for one in run.attacks}
    apart = tuple(_panel(run, one) for one in run.robustness if (one.model, one.threat_type) not in attacked)
    blocks: list[Block] = [Drawings(apart, _LEGEND)] if apart else []
    rows = tuple(row for one in run.robustness for row in _certificate_rows(run, one))
    head = ("change", "examples", "proved", "right under attack", "open", "95 %")
    legend = (
        ("area proved", "proved"),
        ("area open", "open"),
        ("area broken", "broken"),
        ("area wrong", "wrong unchanged"),
        ("area error", "no number"),
    )
    blocks += [Drawings((), legend), Grid(Table(head, rows, words=2, caption="Both sides of every certified model"))]
    lead = "Proved and attacked meet where nothing is left open. The last interval adds what a test set of this size cannot tell."
    return Section("certificates", "Certificates", lead, tuple(blocks))


def _panel(run: Run, one: CertifiedModel) -> Drawing:
    sizes = sorted({0.0, *one.curve_eps, *one.requested_eps})
    proved = [one.examples.certified_counts(size, one.num_classes).accuracy for size in sizes]
    standing = [one.examples.unbroken_counts(size, one.num_classes).accuracy for size in sizes]
    proved[0] = min(proved[0], standing[0])  # without a change there is nothing to prove: an answer is right or it is not
    return _drawing(
        run, one.model, one.threat_type, sizes, proved, standing, sorted({0.0, *one.requested_eps}), one.examples, one.num_classes
    )


def _attack_panel(run: Run, one: AttackedModel) -> Drawing:
    asked = sorted({0.0, *(row.eps for row in one.rows)})
    classes = max((len(row.unbroken_counts.total) for row in one.rows), default=max(one.examples.labels) + 1)
    top = asked[-1] or 1.0
    sizes = sorted({*asked, *(top * step / (_POINTS - 1) for step in range(_POINTS))})
    standing = [one.examples.unbroken_counts(size, classes).accuracy for size in sizes]
    return _drawing(run, one.model, one.threat_type, sizes, _claimed(run, one, sizes), standing, asked, one.examples, classes)


def _claimed(run: Run, one: AttackedModel, sizes: Sequence[float]) -> list[float] | None:
    """What the run's claims prove of a model at each size, a proof at one size holding at every smaller one; None without any."""
    bounds = [
        claim.bracket.lower
        for claim in run.claims
        if claim.model == one.model and threat_type(claim.bracket.quantity.threat) == one.threat_type
    ]
    proofs = [(fmt.size_of(bound.quantity.threat), bound.value) for bound in bounds if bound.basis is not Basis.TRIVIAL]
    return [max((value for at, value in proofs if at >= size), default=0.0) for size in sizes] if proofs else None


def _drawing(
    run: Run,
    model: str,
    ball: str,
    sizes: Sequence[float],
    proved: Sequence[float] | None,
    standing: Sequence[float],
    asked: Sequence[float],
    examples: PerExample,
    classes: int,
) -> Drawing:
    at = dict(zip(sizes, zip(proved or [0.0] * len(sizes), standing, strict=True), strict=True))
    said = "; ".join(f"{fmt.size(size)}: {fmt.percent(at[size][0])} proved, {fmt.percent(at[size][1])} attacked" for size in asked)
    svg = bands(
        sizes,
        proved,
        standing,
        asked=asked,
        baseline=examples.unbroken_counts(0.0, classes).majority_accuracy,
        title=f"size of the change, {ball.capitalize()}",
        spoken=f"{run.title(model)}, accuracy by size of the change: {said}",
    )
    return Drawing(run.title(model), svg)


def _matrix(run: Run, attacks: Sequence[AttackedModel]) -> Table:
    """Attack by attack and size by size, one column a model."""
    found = {(row.threat, row.attack, one.model): row for one in attacks for row in one.rows}
    names = [one.model for one in attacks]
    rows: list[tuple[Cell, ...]] = []
    clean = {one.model: _at(one, 0.0) for one in attacks}
    rows.append((Cell("unchanged"), *(_accuracy(clean[name]) for name in names)))
    for token, size in _sizes(attacks):
        rows.append((Cell(fmt.threat(token), "head"),))
        for attack in dict.fromkeys(attack for other, attack, _ in found if other == token):
            hits = [found.get((token, attack, name)) for name in names]
            rows.append((Cell(attack), *(_accuracy(hit.unbroken_counts) if hit else Cell(fmt.NOTHING) for hit in hits)))
        every = [_at(one, size) for one in attacks]
        rows.append((Cell("all attacks together", "strong"), *(_accuracy(tally, strong=True) for tally in every)))
    return Table(("attack", *(run.title(name) for name in names)), tuple(rows), caption="Accuracy under attack")


def _class_by_class(run: Run) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one in run.attacks:
        rows.append((Cell(run.title(one.model)),))
        for token, size in _sizes([one]):
            tally = _at(one, size)
            rows.append((Cell(fmt.threat(token)), _accuracy(tally), *cells(*_classwise(tally)), _constant(tally)))
    head = ("change", "accuracy", "balanced", "sensitivity", "specificity", "constant answer")
    return Table(head, tuple(rows), caption="After every attack, class by class")


def _every_attack(run: Run) -> Table:
    def line(one: AttackedModel, row: AttackRow) -> tuple[Cell, ...]:
        cost = (typical(row), fmt.number(row.forwards), fmt.number(row.backwards), fmt.seconds(row.seconds))
        return (
            *cells(run.title(one.model), row.attack, fmt.threat(row.threat)),
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
        "questions to a break",
        "forwards",
        "gradients",
        "time",
    )
    caption = (
        "Every attack; questions to a break are the median, the cost is the mean of an example, and a broken example costs nothing more"
    )
    return Table(head, tuple(line(one, row) for one in run.attacks for row in one.rows), words=3, caption=caption)


def _certificate_rows(run: Run, one: CertifiedModel) -> list[tuple[Cell, ...]]:
    by = f", proved by {one.certifier} in {fmt.seconds(one.seconds)}" if one.certifier else ", nothing proved"
    rows: list[tuple[Cell, ...]] = [(Cell(run.title(one.model) + by),)]
    for size in one.requested_eps:
        proved, standing = one.examples.certified_counts(size, one.num_classes), one.examples.unbroken_counts(size, one.num_classes)
        states = one.examples.states(size)
        shares = [(state, states.count(state) / len(states)) for state in ExampleState]
        spoken = ", ".join(f"{fmt.percent(part)} {state.value}" for state, part in shares)
        claim = _claim(run, one, size)
        crossed = len(one.examples.contradictory_ids(size))
        open_ = standing.accuracy - proved.accuracy
        rows.append(
            (
                Cell(fmt.threat(f"{one.threat_type}:{fmt.size(size)}")),
                Cell(strip([(part, state.value) for state, part in _stacked(shares)], spoken)),
                Cell(fmt.percent(proved.accuracy)),
                _accuracy(standing),
                Cell(f"{crossed} cross", "bad") if crossed else Cell(fmt.points(open_).lstrip("+")),
                Cell(fmt.span_of_shares(*claim.bracket.confidence_interval(CONFIDENCE)) if claim else fmt.NOTHING),
            )
        )
    return rows


def _stacked(shares: Sequence[tuple[ExampleState, float]]) -> list[tuple[ExampleState, float]]:
    order = (ExampleState.CERTIFIED, ExampleState.OPEN, ExampleState.BROKEN, ExampleState.WRONG, ExampleState.ERROR)
    return sorted(shares, key=lambda pair: order.index(pair[0]))


def _claim(run: Run, one: CertifiedModel, size: float) -> Claim | None:
    token = f"{one.threat_type}:{fmt.size(size)}"
    return next(
        (
            claim
            for claim in run.claims
            if claim.model == one.model
            and (claim.bracket.quantity.threat == token or _same_size(claim.bracket.quantity.threat, one.threat_type, size))
        ),
        None,
    )


def _same_size(token: str, ball: str, size: float) -> bool:
    return threat_type(token) == ball and abs(fmt.size_of(token) - size) <= 1e-9


def _sizes(attacks: Sequence[AttackedModel]) -> list[tuple[str, float]]:
    """Tokens and their sizes, rising."""
    return sorted({row.threat: row.eps for one in attacks for row in one.rows}.items(), key=lambda pair: pair[1])


def _at(one: AttackedModel, size: float) -> ClassCounts:
    classes = max((len(row.unbroken_counts.total) for row in one.rows), default=max(one.examples.labels) + 1)
    return one.examples.unbroken_counts(size, classes)


def _accuracy(tally: ClassCounts, *, strong: bool = False) -> Cell:
    low = tally.accuracy <= tally.majority_accuracy
    return Cell(fmt.percent(tally.accuracy), "low" if low else "strong" if strong else "")


def _classwise(tally: ClassCounts) -> tuple[str, str, str]:
    return fmt.percent(tally.balanced_accuracy), fmt.percent(tally.sensitivity), fmt.percent(tally.specificity)


def _constant(tally: ClassCounts) -> Cell:
    return Cell(fmt.percent(tally.majority_accuracy), "soft")


def _low_note(rows: Sequence[Sequence[Cell]], tally: ClassCounts) -> tuple[Text, ...]:
    """What the mark of a low accuracy means, where the table has one."""
    if not any(cell.tone == "low" for row in rows for cell in row):
        return ()
    share = fmt.percent(tally.majority_accuracy)
    return (Text(f"▾ no better than the best constant answer, which is right {share} of the time whatever is done to it.", "soft"),)


def _class_table(check: CheckResult) -> Table:
    """One row a class, since there may be many and their names long."""
    rows = tuple(
        cells(name, *(f"{counts[place]:,}" if place < len(counts) else fmt.NOTHING for _, counts in check.class_counts))
        for place, name in enumerate(check.class_names)
    )
    return Table(("class", *(part for part, _ in check.class_counts)), rows, caption="Examples of each class")
