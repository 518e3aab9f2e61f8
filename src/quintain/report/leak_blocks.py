"""What leakage attacks on models found, as blocks of the page: curves, tables, people and pictures."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from quintain.report import format as fmt
from quintain.report.blocks import Block, Figure, FigureRow, Heading, Pictures, TableBlock, Text
from quintain.report.drawings.frame import NUM_SERIES_STYLES, series_class
from quintain.report.drawings.roc_chart import roc_chart
from quintain.report.leak_table import (
    GOAL_TITLES,
    attack_table,
    exposed_table,
    is_shown_to_leak,
    models_of,
    teaches_everyone,
)
from quintain.report.pictures import EmbeddedPicture, embed
from quintain.report.run_results import RunResults
from quintain.results.leak_records import LeakMeasurement, LeakPictures
from quintain.results.privacy_records import LeakResult

MAX_NAMED = 2
"""Attacks that a sentence names, at most; more are counted."""


def measurement_blocks(result: LeakResult, run: RunResults) -> Iterator[Block]:
    """Yield what each attack found, goal by goal, and the pictures that may be shown."""
    by_goal: dict[str, list[LeakMeasurement]] = {}
    for one in result.measurements:
        by_goal.setdefault(one.goal, []).append(one)
    for goal, found in by_goal.items():
        yield Heading(GOAL_TITLES.get(goal, goal))
        yield Text(_answer(found))
        if any(one.curve for one in found) and goal == "membership":
            yield FigureRow(tuple(_roc_figures(found)), _roc_legend(found))
        yield TableBlock(attack_table(found))
        telling = {(one.attack, one.model) for one in found if is_shown_to_leak(one)}
        exposed = exposed_table([one for one in found if (one.attack, one.model) in telling])
        if exposed is not None and goal == "membership":
            yield Text(
                "These training examples are told from others more surely than 99 % of those that were not "
                "trained on. Who knows one of them can say that it took part."
            )
            yield TableBlock(exposed)
    if result.pictures:
        yield Heading("Reconstructions beside what needs no access")
        yield Pictures(tuple(_row(one, run) for one in result.pictures))


def _answer(found: Sequence[LeakMeasurement]) -> str:
    """Say in a sentence whether a goal is shown to leak, and by how many attacks where there are many."""
    leaking = tuple(dict.fromkeys((one.attack, one.model) for one in found if is_shown_to_leak(one)))
    if not leaking and teaches_everyone(found):
        return (
            "No leak is shown: the model helps to guess, and it is not shown to help more with those that it "
            "was trained on than with others. A stronger attack still might."
        )
    if not leaking:
        return (
            "No leak is shown: no attack did better than what needs no access. A stronger attack still might."
        )
    tried = len({(one.attack, one.model) for one in found})
    who = (
        " and ".join(f"{attack} on {model}" for attack, model in leaking)
        if len(leaking) <= MAX_NAMED
        else f"{len(leaking)} of {tried} attacks, in red below,"
    )
    verb = "does" if len(leaking) == 1 else "do"
    return f"It leaks: {who} {verb} better than what needs no access."


def _row(one: LeakPictures, run: RunResults) -> tuple[EmbeddedPicture, ...]:
    """Return an original, what was made of it and the baseline, as far as they were stored."""
    named = (("original", one.original), ("reconstructed", one.reconstructed), ("no access", one.baseline))
    found = []
    for words, picture in named:
        if picture is not None:
            embedded = embed(picture, run.folder)
            caption = embedded.caption or f"{one.title}: {words}"
            found.append(EmbeddedPicture(embedded.source, caption, embedded.frame, embedded.problem))
    return tuple(found)


def _roc_figures(found: Sequence[LeakMeasurement]) -> Iterator[Figure]:
    """Yield a chart for each kind of candidates: the best attack on each model."""
    models = models_of(found)
    for candidates in dict.fromkeys(one.candidates for one in found):
        best = [
            max(
                (one for one in found if one.model == model and one.candidates == candidates and one.curve),
                key=_area,
                default=None,
            )
            for model in models
        ]
        drawn = [one for one in best if one is not None]
        lines = [[(point.x, point.y) for point in one.curve] if one else [] for one in best]
        spoken = "; ".join(f"{one.model}: {one.attack}, {_at(one, 0.01)} at 1 %" for one in drawn)
        yield Figure(
            candidates[:1].upper() + candidates[1:],
            roc_chart(
                lines[:NUM_SERIES_STYLES], alt_text=f"True-positive rate by false-positive rate: {spoken}"
            ),
            "; ".join(f"{one.model}: {one.attack}" for one in drawn),
        )


def _roc_legend(found: Sequence[LeakMeasurement]) -> tuple[tuple[str, str], ...]:
    models = models_of(found)[:NUM_SERIES_STYLES]
    lines = tuple((f"line {series_class(number)}", model) for number, model in enumerate(models))
    return (*lines, ("line constant", "guessing"))


def _area(one: LeakMeasurement) -> float:
    """Return the area under a curve of points, by trapezoids."""
    points = [(point.x, point.y) for point in one.curve]
    return sum((x - u) * (y + v) / 2 for (u, v), (x, y) in pairwise(points))


def _at(one: LeakMeasurement, rate: float) -> str:
    """Return the true-positive rate at the last point of a curve that is not beyond a false-positive rate."""
    inside = [point.y for point in one.curve if point.x <= rate]
    return fmt.percent(inside[-1] if inside else 0.0)
