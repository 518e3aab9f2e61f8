"""Private training on the page: what it cost, what epsilon covers, and the trainings beside it."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from quintain.report import render
from quintain.report.results.privatize import accuracy_cost_text, cost_table, selection_cost_text
from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import (
    PrivatizeResult,
)
from tests.report.support.privacy import SURE, plan, swept
from tests.report.support.reading import Page
from tests.report.support.sample import record


@pytest.fixture
def whole() -> PrivatizeResult:
    return swept()


def page(body: PrivatizeResult, folder: Path) -> Page:
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


def test_a_partial_result_is_marked_and_has_no_nonprivate_run(whole: PrivatizeResult, tmp_path: Path) -> None:
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
    assert "Other epsilons and batch sizes" not in text
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


def test_a_private_model_above_the_nonprivate_one_costs_nothing(whole: PrivatizeResult) -> None:
    assert "cost no accuracy here" in accuracy_cost_text(
        replace(whole, nonprivate_counts=ClassCounts((148, 360), (234, 390)))
    )


def test_a_nonprivate_model_far_below_the_private_one_says_nothing(whole: PrivatizeResult) -> None:
    brief = replace(whole, nonprivate_counts=ClassCounts((0, 300), (234, 390)))
    for one in (brief, replace(brief, nonprivate_epochs=64, nonprivate_converged=False)):
        assert accuracy_cost_text(one).startswith("What privacy costs cannot be told: private ")
        assert "cost of privacy" not in str(cost_table(one))
    assert "cost of privacy" in str(cost_table(whole))
    # a plateau far below what the same net reaches with privacy is no convergence
    plateau = replace(brief, nonprivate_epochs=16, nonprivate_converged=True)
    assert accuracy_cost_text(plateau).startswith("What privacy costs cannot be told")


def test_the_cost_says_whether_the_plain_training_had_converged(whole: PrivatizeResult) -> None:
    done = accuracy_cost_text(replace(whole, nonprivate_epochs=16, nonprivate_converged=True))
    assert done.endswith("The non-private model was trained for 16 epochs; twice as many were no better.")
    cut = accuracy_cost_text(replace(whole, nonprivate_epochs=64, nonprivate_converged=False))
    assert "still improved at 64 epochs" in cut
    assert "privacy may cost more" in cut
