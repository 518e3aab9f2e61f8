"""What leakage attacks found, as tables: each attack on each model, and who can be told to be a member."""

from collections.abc import Sequence

from quintain.report import format as fmt
from quintain.report.table import Cell, Table
from quintain.results.leak_records import LeakMeasurement

GOAL_TITLES = {
    "membership": "Who was trained on",
    "identity": "What people look like",
    "pictures": "Pictures behind updates",
    "agreement": "Copies of the model",
    "attributes": "Hidden attributes",
    "exposure": "What is memorized",
}
"""Headings, by the goal of an attack."""

MAX_COLUMNS = 3
"""Models or defenses beside each other in a table; more have rows of their own."""

MAX_IDS = 24
"""Ids of exposed examples that are listed of one attack."""


def is_shown_to_leak(one: LeakMeasurement) -> bool:
    """Whether an attack found more than needs no access, beyond chance, which may not hold for everyone."""
    return one.low > one.baseline and not one.may_hold_for_everyone


def teaches_everyone(found: Sequence[LeakMeasurement]) -> bool:
    """Whether access gave more, beyond chance, by measures that alone are no leak of the training data."""
    return any(one.may_hold_for_everyone and one.low > one.baseline for one in found)


def value_text(one: LeakMeasurement, value: float | None) -> str:
    """Return a value in the manner of its measure: decibels, bits, an area, or a fraction."""
    if value is None:
        return fmt.NO_VALUE
    words = one.measure.lower()
    if "psnr" in words:
        return fmt.decibels(value)
    if "exposure" in words:
        return f"{fmt.number(value)} bits"
    if any(word in words for word in ("auc", "kappa", "ssim", "distance")):
        return f"{value:.3f}"
    return fmt.percent(value)


def interval_text(one: LeakMeasurement) -> str:
    """Return the interval of a measurement: ``5.2 .. 11.9 %``."""
    low, high = value_text(one, one.low), value_text(one, one.high)
    _, _, unit = high.partition(" ")
    return f"{low.removesuffix(f' {unit}')} .. {high}" if unit else f"{low} .. {high}"


def gain_text(one: LeakMeasurement) -> str:
    """Return what access gave beyond the baseline."""
    if value_text(one, one.value).endswith("%"):
        return fmt.points(one.gain)
    sign = "+" if one.gain >= 0 else "-"
    return f"{sign}{value_text(one, abs(one.gain))}"


def models_of(measurements: Sequence[LeakMeasurement]) -> tuple[str, ...]:
    """Return the models that were attacked, in their order."""
    return tuple(dict.fromkeys(one.model for one in measurements))


def attack_table(measurements: Sequence[LeakMeasurement]) -> Table:
    """Return each attack in a row and each model or defense in a column: its value, interval and gain.

    Where there are many models or defenses, each has rows of its own.

    Args:
        measurements: All of one goal.
    """
    models = models_of(measurements)
    caption = f"{GOAL_TITLES.get(measurements[0].goal, measurements[0].goal)}: value, 95 % interval, gain"
    groups: dict[str, list[LeakMeasurement]] = {}
    for one in measurements:
        groups.setdefault(one.candidates, []).append(one)
    rows: list[tuple[Cell, ...]] = []
    for candidates, found in groups.items():
        rows.append((Cell(candidates),))
        ordered = [
            one
            for measure in dict.fromkeys(one.measure for one in found)
            for one in found
            if one.measure == measure
        ]
        if len(models) > MAX_COLUMNS:
            rows += [
                (Cell(one.measure), Cell(one.attack), Cell(one.model), _cell(one), _baseline(one))
                for one in ordered
            ]
            continue
        for measure, attack in dict.fromkeys((one.measure, one.attack) for one in ordered):
            by_model = {one.model: one for one in found if (one.measure, one.attack) == (measure, attack)}
            known = next(iter(by_model.values()))
            cells = tuple(_cell(by_model.get(model)) for model in models)
            rows.append((Cell(measure), Cell(attack), *cells, _baseline(known)))
    if len(models) > MAX_COLUMNS:
        head = ("measure", "attack", "model or defense", "value", "without access")
        return Table(head, tuple(rows), num_text_columns=3, caption=caption)
    return Table(
        ("measure", "attack", *models, "without access"), tuple(rows), num_text_columns=2, caption=caption
    )


def _baseline(one: LeakMeasurement) -> Cell:
    return Cell(f"{value_text(one, one.baseline)} ({one.baseline_name})", "soft")


def _cell(one: LeakMeasurement | None) -> Cell:
    if one is None:
        return Cell(fmt.NO_VALUE)
    text = f"{value_text(one, one.value)} ({interval_text(one)}), {gain_text(one)}"
    return Cell(text, "bad" if is_shown_to_leak(one) else "")


def exposed_table(measurements: Sequence[LeakMeasurement]) -> Table | None:
    """Return the examples that each attack tells most surely and rightly, by id; None if there are none."""
    rows = []
    for one in {(one.attack, one.model, one.candidates): one for one in measurements if one.exposed}.values():
        more = len(one.exposed) - MAX_IDS
        ids = ", ".join(map(str, one.exposed[:MAX_IDS])) + (f" and {more:,} more" if more > 0 else "")
        rows.append(
            (
                Cell(one.attack),
                Cell(one.model),
                Cell(one.candidates),
                Cell(f"{len(one.exposed):,}"),
                Cell(ids),
            )
        )
    if not rows:
        return None
    head = ("attack", "model", "candidates", "found", "examples, the surest first")
    return Table(
        head, tuple(rows), num_text_columns=5, caption="Examples that can be told to have taken part"
    )
