"""Second opinions as the screen and the page show them."""

from dataclasses import replace

import pytest

from quintain.report import render, summary_lines
from quintain.results.bounds import Bound
from quintain.results.class_counts import ClassCounts
from quintain.results.evidence import ConfidenceLevels
from quintain.results.gate import decide
from quintain.results.privacy_records import AuditRun
from quintain.results.quantity import Basis, Metric, Quantity, Side
from quintain.results.records import Claim
from quintain.results.requirements import Requirement
from quintain.results.second_opinion import SecondOpinionResult
from quintain.results.verdict import Decision
from tests.report.support.reading import Page
from tests.report.support.sample import record

QUANTITY = Quantity(Metric.EPSILON, "code", "data", delta=1e-5, adjacency="add/remove", privacy_unit="image")


def opinion(measured, claim, *, certain=0.0, ceiling=5.11, **words):
    lower = Bound(
        QUANTITY,
        Side.LOWER,
        measured,
        Basis.STATISTICAL,
        ConfidenceLevels((0.95, 0.999999, 0.99999999), (measured, certain, certain)),
        method="one-run audit",
    )
    run = AuditRun("mine.py:train", lower, ceiling, 500, 124, 115, 0.95)
    return SecondOpinionResult("mine.py:train", "training", run, claim, canary_kind="mislabeled", **words)


def shown(result):
    claim = Claim("second-opinion:epsilon", "Privacy", "private", result.bracket, primary=True)
    return record(result, (claim,))


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        (opinion(1.7, 3.0), ["measured, at least 1.70", "claimed, 3.00", "CONSISTENT: the claim was"]),
        (opinion(3.5, 3.0), ["SUSPECT: the claim was crossed, as chance does"]),
        (opinion(3.5, 3.0, certain=3.2), ["CONTRADICTION: chance explains with less than 1e-6"]),
        (opinion(3.5, None), ["nothing is claimed", "can show at most 5.11"]),
        (opinion(3.5, 8.0), ["this audit cannot contradict this claim"]),
        (opinion(1.7, 3.0, repeats_with_seed=False), ["takes random numbers from elsewhere, as it may"]),
        (
            opinion(1.7, 3.0, training_seconds=(20.0,), audit_seconds=(0.2,)),
            ["adds 0.2 s of processor time to 20.0 s of training, 1.0 % of it"],
        ),
        (
            opinion(1.7, 3.0, fit=ClassCounts((50, 40), (60, 40))),
            ["is right on 90.0 % of 100 records that it was trained on, of which 60.0 % are of one class"],
        ),
    ],
)  # fmt: skip
def test_the_answer_in_words_on_the_screen_and_on_the_page(result, lines, tmp_path):
    text = "\n".join(summary_lines(shown(result)))
    page = Page(render([shown(result)], tmp_path)).text
    for line in lines:
        assert line in text
        assert line in page


def test_a_control_stands_beside_it(tmp_path):
    control = replace(opinion(4.9, None).audit, title="mine.py:bare")
    page = Page(render([shown(opinion(1.7, 3.0, control=control))], tmp_path)).text
    assert "control mine.py:bare: at least 4.90" in page


def test_a_claim_is_called_claimed_and_passes_nothing(tmp_path):
    judged = shown(opinion(1.7, 3.0))
    assert "claimed 3.00" in Page(render([judged], tmp_path)).text
    for text, expected in (("epsilon <= 3", Decision.UNDECIDED), ("epsilon <= 1", Decision.FAIL)):
        assert decide(Requirement.parse(text), judged.claims).verdict.decision is expected


@pytest.mark.parametrize(
    ("kind", "fresh"),
    [
        ("mislabeled", "repeated with new canaries and coins"),
        ("own", "repeated with new coins for the same"),
    ],
)
def test_canaries_of_a_file_are_not_said_to_be_new_in_each_repetition(kind, fresh):
    result = opinion(3.5, 3.0)
    run = replace(result.audit, repeated_epsilons=(3.4, 3.6))
    lines = [*summary_lines(shown(replace(result, audit=run, canary_kind=kind)))]
    assert any(line.startswith(fresh) for line in lines)
