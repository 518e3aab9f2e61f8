"""A verdict has three answers and is no truth value."""

import pytest

from quintain.results import Bracket
from quintain.results.verdict import Decision
from tests.results.support.brackets import accounted, accuracy, audited


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (0.60, Decision.PASS),
        (0.65, Decision.PASS),
        (0.70, Decision.UNDECIDED),
        (0.75, Decision.UNDECIDED),
        (0.80, Decision.FAIL),
    ],
)
def test_three_answers(asked, answer):
    verdict = accuracy(455, 461).at_least(asked)
    assert verdict.decision is answer
    assert verdict.passed is (answer is Decision.PASS)


def test_at_most_asks_the_other_way():
    bracket = Bracket(audited(0.9), accounted(3.0))
    assert [bracket.at_most(v).decision for v in (3.0, 2.0, 0.5)] == [
        Decision.PASS,
        Decision.UNDECIDED,
        Decision.FAIL,
    ]


def test_a_verdict_is_no_truth_value():
    with pytest.raises(TypeError, match=r"verdict\.passed, or compare verdict\.decision"):
        bool(accuracy(455, 461).at_least(0.5))
