"""The card of a claim: its bounds and what there is to know of it."""

import math
from dataclasses import replace
from pathlib import Path

from quintain.report import render
from quintain.report.claim_cards import card
from quintain.report.run_results import RunResults
from quintain.results.bounds import Bound, Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.literals import CLEAN_ERRORS_ONLY
from quintain.results.privacy_records import (
    PrivatizeResult,
)
from quintain.results.quantity import Side
from quintain.results.records import Claim, Record
from quintain.results.robustness_records import (
    AttackResult,
)
from tests.report.support.claims import accuracy
from tests.report.support.privacy import epsilon_claim
from tests.report.support.reading import Page
from tests.report.support.sample import record, record_of


def test_many_classes_and_errors_are_shown(folder: Path) -> None:
    tally = ClassCounts((9, 8, 7), (10, 10, 10))
    claim = accuracy(
        "net:linf:2/255",
        "Robust accuracy, net",
        20,
        24,
        trials=30,
        token="linf:2/255",
        upper_counts=tally,
        lower_counts=tally,
    )
    claim = replace(claim, bracket=replace(claim.bracket, num_invalid=2))
    text = Page(render((record(AttackResult(()), (claim,)),), folder)).text
    assert "Balanced over 3 classes: 80.0 %." in text
    assert "2 examples with an invalid output (NaN)" in text


def test_an_upper_side_that_no_attack_gave_is_called_unchanged(folder: Path) -> None:
    claim = accuracy("net:linf:4/255", "Robust accuracy, net", 100, 500)
    upper = replace(claim.bracket.upper, method=CLEAN_ERRORS_ONLY)
    text = Page(
        render(
            (record(AttackResult(()), (replace(claim, bracket=Bracket(claim.bracket.lower, upper)),)),),
            folder,
        )
    ).text
    assert "clean 80.1 % (not attacked)" in text
    assert "attacked 80.1 %" not in text


def test_infinity_is_written_as_a_sign(records: tuple[Record, ...], folder: Path) -> None:
    private = record_of(records, PrivatizeResult)
    claim = next(claim for one in records for claim in one.claims if claim.name == "private:epsilon audited")
    open_claim = replace(
        claim, bracket=Bracket(claim.bracket.lower, Bound.trivial(claim.bracket.quantity, Side.UPPER))
    )
    assert isinstance(private.result, PrivatizeResult)
    endless = replace(
        private.result, plan=replace(private.result.plan, epsilon=math.inf, noise_multiplier=0.0)
    )
    text = Page(render((replace(private, result=endless, claims=(open_claim,)),), folder)).text
    assert "no upper bound" in text
    assert "0.93 .. ∞" in text
    assert "epsilon, accounted ∞" in text
    assert "nan" not in text.lower().split()
    assert "inf" not in text.lower().split()


def test_an_epsilon_that_is_audited_as_another_claim_names_what_the_audit_found() -> None:
    audited = epsilon_claim()
    quantity = replace(audited.bracket.quantity, data_hash="other records")
    upper = replace(audited.bracket.upper, quantity=quantity)
    plain = replace(
        audited, name="private:epsilon", bracket=Bracket(Bound.trivial(quantity, Side.LOWER), upper)
    )

    def last_line(*claims: Claim) -> str:
        return card(RunResults.of((record(AttackResult(()), claims),)), plain).lines[-1]

    assert last_line(plain) == "Not audited: no lower bound is known."
    assert last_line(plain, audited) == ("The audit of this mechanism is a claim of its own: audited 0.93.")
    other = Bracket(
        replace(audited.bracket.lower, quantity=replace(quantity, delta=1e-6)),
        replace(upper, quantity=replace(quantity, delta=1e-6)),
    )
    assert last_line(plain, replace(audited, bracket=other)) == "Not audited: no lower bound is known."
