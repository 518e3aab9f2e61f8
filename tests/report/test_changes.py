"""Two runs, claim by claim."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.report import compare
from quintain.results.bounds import Bound, Bracket
from quintain.results.quantity import Basis, Metric, Quantity, Side
from quintain.results.records import Claim, Record
from quintain.results.robustness_records import AttackResult
from tests.report.support.claims import accuracy
from tests.report.support.sample import record


def of(*claims: Claim) -> tuple[Record, ...]:
    return (record(AttackResult(()), claims),)


def robust(lower: int | None, upper: int | None, token: str = "linf:4/255") -> Claim:
    return accuracy("net:headline", "Robust accuracy, net", lower, upper, token=token)


def epsilon(lower: float, upper: float, *, subject: str = "plan", delta: float = 1e-5) -> Claim:
    quantity = Quantity(Metric.EPSILON, subject, "train", delta=delta)
    bracket = Bracket(
        Bound(quantity, Side.LOWER, lower, Basis.PROOF), Bound(quantity, Side.UPPER, upper, Basis.PROOF)
    )
    return Claim("private:epsilon", "Privacy", "private", bracket)


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ((300, 310), (400, 410), "better"),
        ((400, 410), (300, 310), "worse"),
        ((300, 400), (350, 410), "undecided"),
        ((300, 400), (300, 400), "same"),
        ((300, 400), (400, 410), "undecided"),
        ((None, 400), (None, 300), "undecided"),
    ],
)
def test_only_brackets_apart_decide(
    before: tuple[int | None, int | None], after: tuple[int | None, int | None], outcome: str
) -> None:
    (change,) = compare(of(robust(*before)), of(robust(*after)))
    assert change.change == outcome
    assert change.before == ((before[0] or 0) / 624, (before[1] or 0) / 624)
    assert change.metric is Metric.ROBUST_ACCURACY


def test_less_epsilon_is_better_and_the_plan_may_differ() -> None:
    (change,) = compare(of(epsilon(2, 3)), of(epsilon(0.5, 1, subject="other plan")))
    assert change.change == "better"
    (change,) = compare(of(epsilon(0.5, 1)), of(epsilon(2, 3)))
    assert change.change == "worse"


def test_records_that_no_result_names_do_not_part_two_epsilons() -> None:
    before, other = epsilon(2, 3), replace(epsilon(0.5, 1).bracket.upper.quantity, data_hash="other")
    sides = (
        replace(side, quantity=other)
        for side in (epsilon(0.5, 1).bracket.lower, epsilon(0.5, 1).bracket.upper)
    )
    (change,) = compare(of(before), of(replace(before, bracket=Bracket(*sides))))
    assert change.change == "better"


@pytest.mark.parametrize("word", ["data", "threat", "delta"])
def test_other_data_another_threat_or_delta_are_named_and_not_compared(word: str) -> None:
    before = epsilon(2, 3) if word == "delta" else robust(300, 310)
    other = {"data": "0123abcd" * 8, "threat": "linf:2/255", "delta": 1e-6}[word]
    sides = (
        replace(side, quantity=replace(side.quantity, **{"data_hash" if word == "data" else word: other}))
        for side in (before.bracket.lower, before.bracket.upper)
    )
    after = replace(before, bracket=Bracket(*sides))
    (change,) = compare(of(before), of(after))
    assert change.change == "incomparable"
    assert f"the {word} differs" in change.reason
    assert ("0123abcd after" if word == "data" else str(other)) in change.reason


def test_claims_of_one_run_alone_are_shown() -> None:
    left, right = robust(300, 310), accuracy("net:other", "Robust accuracy, other", 300, 310)
    changes = {change.name: change for change in compare(of(left), of(right))}
    assert (changes["net:headline"].change, changes["net:headline"].after) == ("removed", None)
    assert (changes["net:other"].change, changes["net:other"].before) == ("added", None)


def test_a_run_against_itself_has_not_moved(records: tuple[Record, ...]) -> None:
    assert {change.change for change in compare(records, records)} == {"same"}
    assert compare((), ()) == ()


@given(st.lists(st.integers(0, 624), min_size=4, max_size=4))
def test_better_one_way_is_worse_the_other(counts: list[int]) -> None:
    one, two = robust(*sorted(counts[:2])), robust(*sorted(counts[2:]))
    there, back = compare(of(one), of(two))[0].change, compare(of(two), of(one))[0].change
    assert {there, back} in ({"better", "worse"}, {"same"}, {"undecided"})
