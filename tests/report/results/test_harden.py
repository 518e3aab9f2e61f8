"""Hardening on the page: the settings that were tried, and accuracies during training."""

from dataclasses import replace
from pathlib import Path

from quintain.report import render
from quintain.report.registry import presentation_of
from quintain.results.records import Record
from quintain.results.robustness_records import FrontPoint, HardenResult, TrainingPoint
from tests.report.support.reading import Page
from tests.report.support.sample import record, record_of

FRONT = (
    FrontPoint("beta 1", 1.0, 0.91, 0.55, None, 400),
    FrontPoint("beta 6", 6.0, 0.84, 0.71, None, 400, is_chosen=True),
    FrontPoint("beta 12", 12.0, 0.78, 0.69, None, 400),
)


def hardened(records: tuple[Record, ...]) -> HardenResult:
    result = record_of(records, HardenResult).result
    assert isinstance(result, HardenResult)
    return result


def test_the_settings_that_were_tried_are_drawn_with_the_chosen_one_marked(
    records: tuple[Record, ...], folder: Path
) -> None:
    one = replace(hardened(records), front=FRONT)
    page = render((record(one),), folder)
    text = Page(page).text
    assert "Settings that were tried" in text
    assert "3 settings on 400 validation examples" in text
    assert "marked: beta 6, chosen on these examples" in text
    assert "beta 6 (chosen)" in text
    # the chosen point alone is large, and without certificates there is one line
    assert page.count('r="5.5"') == 1
    assert page.count("certified, beta") == 0
    with_proofs = tuple(replace(point, certified=0.1) for point in FRONT)
    drawn = render((record(replace(one, front=with_proofs)),), folder)
    assert drawn.count('r="5.5"') == 2
    assert "Settings that were tried" not in Page(render((record(hardened(records)),), folder)).text


def test_the_screen_has_the_table(records: tuple[Record, ...]) -> None:
    one = replace(hardened(records), front=FRONT)
    (table,) = presentation_of(one).tables(one)
    assert [row[0].text for row in table.rows] == ["beta 1", "beta 6 (chosen)", "beta 12"]
    assert [row[2].text for row in table.rows] == ["55.0 %", "71.0 %", "69.0 %"]
    assert not list(presentation_of(one).tables(hardened(records)))


def test_accuracies_during_training_are_drawn(records: tuple[Record, ...], folder: Path) -> None:
    one = hardened(records)
    points = tuple(
        TrainingPoint(step=100 * n, clean=0.8, robust=0.3 + 0.1 * n, is_kept=n == 2) for n in (1, 2, 3)
    )
    looked_at = replace(one, trainings=(replace(one.trainings[0], points=points), one.trainings[1]))
    text = Page(render((record(looked_at),), folder)).text
    assert "during training" in text
    assert "marked: step 200, whose weights the model has" in text
