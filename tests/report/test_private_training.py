"""Private training on the page: what it cost, what epsilon speaks of, and the trainings beside it."""

import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.report import render
from quintain.report.charts import interval_chart, log_log_chart
from quintain.report.private_training import (
    accuracy_cost_text,
    cost_table,
    selection_cost_text,
    steps_left_text,
)
from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import (
    PlanResult,
    PrivacyPlan,
    PrivacyStatement,
    PrivateRun,
    PrivatizeResult,
)

from .reading import Page
from .sample import _privatized, record
from .test_browser import chromium, measured  # noqa: F401

SURE = PrivacyStatement(
    2.96,
    0.634,
    "add/remove",
    "record",
    "poisson",
    "float gaussian, AES-256-CTR keyed by the operating system's entropy",
    False,
    (),
    ("a",),
)


def plan(epsilon: float = 2.998, batch: int = 512, noise: float = 1.12) -> PrivacyPlan:
    return PrivacyPlan(noise, 1.0, batch, batch / 4708, 276, 1e-5, epsilon, "PLD (dp-accounting)")


def trial(right: int, **settings: float) -> PrivateRun:
    return PrivateRun(plan(**settings), ClassCounts((right, 300), (234, 390)), 12.0)


CURVE = tuple(
    trial(90 + 20 * place, epsilon=epsilon, noise=9 / epsilon)
    for place, epsilon in enumerate((0.5, 0.999, 1.99, 2.998, 4.0, 7.98))
)
BATCHES = tuple(trial(100 + 10 * place, batch=batch) for place, batch in enumerate((256, 512, 1024)))


@pytest.fixture
def whole() -> PrivatizeResult:
    return replace(
        _privatized(), statement=SURE, epsilon_sweep=CURVE, batch_size_sweep=BATCHES, composed_epsilon=9.41
    )


PLANNED = PlanResult(
    plan(),
    3.0,
    4708,
    276,
    (128, 512, 2048),
    (69, 276),
    ((0.8, 0.99), (1.6, 2.7), (5.2, 10.1)),
    ((0.32, 0.65), (1.4, 3.0), (6.6, 15.2)),
)


def page(body: PrivatizeResult | PlanResult, folder: Path) -> Page:
    return Page(render((record(body),), folder))


def test_it_says_what_privacy_costs_and_what_epsilon_speaks_of(
    whole: PrivatizeResult, tmp_path: Path
) -> None:
    text = page(whole, tmp_path).text
    for words in (
        "Privacy cost 3.0 points of accuracy: private ",
        "neighboring data sets differ by one record (add/remove)",
        "the best adversary is right at most 63.4 % of the time (guessing: 50 %)",
        "lower bound on epsilon (own PRV accountant) 2.96",
        "sampling Poisson",
        "AES-256-CTR keyed by the operating system's entropy",
        "reproducible no",
        "If you pick the best of these trainings by accuracy, the whole selection costs epsilon 9.41",
        "Accuracy by epsilon",
        "Accuracy by batch size, at one epsilon",
    ):
        assert words in text.replace("\N{NO-BREAK SPACE}", " ")


def test_every_training_is_on_the_page(whole: PrivatizeResult, tmp_path: Path) -> None:
    text = page(whole, tmp_path).text
    for one in (*whole.epsilon_sweep, *whole.batch_size_sweep):
        assert f"{100 * one.clean_counts.accuracy:.1f}" in text
        assert f"{one.plan.expected_batch_size * one.plan.steps:,}" in text


def test_a_partial_result_is_marked_and_has_no_plain_run(whole: PrivatizeResult, tmp_path: Path) -> None:
    broken = replace(
        whole,
        nonprivate_counts=None,
        epsilon_sweep=(),
        batch_size_sweep=(),
        composed_epsilon=None,
        stop_reason="interrupted after 20 of 276 steps",
    )
    text = page(broken, tmp_path).text
    assert "PARTIAL RESULT: interrupted after 20 of 276 steps." in text
    assert "not trained yet" in text
    assert "Other budgets" not in text
    assert [cell[0].text for cell in cost_table(broken).rows] == ["private model", "majority class"]
    assert selection_cost_text(broken) == ""


def test_no_noise_is_an_infinite_epsilon_and_warnings_are_shown(
    whole: PrivatizeResult, tmp_path: Path
) -> None:
    endless = replace(
        whole,
        plan=plan(math.inf, noise=0.0),
        statement=replace(
            SURE,
            epsilon_lower_bound=None,
            adversary_accuracy=1.0,
            warnings=("epsilon is infinite: no privacy",),
        ),
    )
    text = page(endless, tmp_path).text
    assert "epsilon, accounted ∞" in text
    assert "epsilon is infinite: no privacy" in text
    assert "lower bound on epsilon (own PRV accountant) not known" in text


def test_a_private_model_above_the_plain_one_is_said_so(whole: PrivatizeResult) -> None:
    assert "cost no accuracy here" in accuracy_cost_text(
        replace(whole, nonprivate_counts=ClassCounts((0, 300), (234, 390)))
    )


def test_a_plan_shows_both_grids(tmp_path: Path) -> None:
    text = page(PLANNED, tmp_path).text.replace("\N{NO-BREAK SPACE}", " ")
    for words in (
        "Privacy plan",
        "Nothing was trained",
        "Noise multiplier for epsilon 3.00",
        "Epsilon at noise multiplier 1.12",
        "15.2",
        "10.1",
        "69 steps",
    ):
        assert words in text
    assert (
        "276 steps fit into epsilon 3.00 at delta 1e-5: 276 of 276 steps use the whole budget"
        in steps_left_text(PLANNED)
    )
    assert "76 fewer than the 276 planned steps" in steps_left_text(replace(PLANNED, steps_within_budget=200))


@given(
    st.lists(
        st.tuples(st.floats(0.01, 1e4), st.floats(0, 1)),
        min_size=1,
        max_size=8,
        unique_by=lambda point: point[0],
    ),
    st.lists(st.floats(0, 1), max_size=3),
)
def test_accuracies_stay_inside_their_frame(
    points: list[tuple[float, float]], references: list[float]
) -> None:
    drawn = ET.fromstring(
        interval_chart(
            [(x, y, max(y - 0.1, 0), min(y + 0.1, 1)) for x, y in sorted(points)],
            [(y, f"line {y:.2f}", "constant") for y in references],
            title="epsilon",
            alt_text="x",
        )
    )
    circles = [(float(dot.get("cx", "nan")), float(dot.get("cy", "nan"))) for dot in drawn.iter("circle")]
    assert len(circles) == len(points)
    assert all(46 <= x <= 254.1 and 12 <= y <= 196.1 for x, y in circles)
    assert [x for x, _ in circles] == sorted(x for x, _ in circles)


@given(
    st.lists(st.lists(st.floats(1e-4, 1e4), min_size=3, max_size=3), min_size=1, max_size=3),
    st.none() | st.floats(1e-3, 1e3),
)
def test_curves_stay_inside_their_frame(lines: list[list[float]], mark: float | None) -> None:
    named = [
        (f"{place} steps", list(zip((64, 128, 256), line, strict=True))) for place, line in enumerate(lines)
    ]
    drawn = ET.fromstring(
        log_log_chart(named, None if mark is None else (mark, "the budget"), title="batch", alt_text="x")
    )
    places = [
        tuple(map(float, point.split(",")))
        for line in drawn.iter("polyline")
        for point in line.get("points", "").split()
    ]
    assert len(places) == 3 * len(lines)
    assert all(54 <= x <= 276.1 and 12 <= y <= 196.1 for x, y in places)


@pytest.mark.browser
def test_the_page_fits_in_a_browser(chromium: str, whole: PrivatizeResult, tmp_path: Path) -> None:  # noqa: F811
    pages = [
        render((record(body),), tmp_path).replace("<main>", '<main><i class="card"></i>')
        for body in (whole, PLANNED)
    ]
    asked = [(page, width) for page in pages for width in (1200, 390)]
    for (_, width), found in zip(asked, measured(chromium, tmp_path, asked), strict=True):
        assert found["beyond"] == found["clash"] == found["outside"] == []
        assert found["scroll"] == width
