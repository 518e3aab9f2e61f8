"""Values print short, whatever they hold."""

from dataclasses import replace

import pytest

from quintain.results.bounds import Bound, Bracket
from quintain.results.evidence import CountEvidence
from quintain.results.per_example import PerExample
from quintain.results.quantity import Basis, Metric, Quantity, Side
from quintain.results.records import (
    SCHEMA,
    Claim,
    NamedHash,
    Provenance,
    Record,
    RequirementResult,
)
from quintain.results.robustness_records import AttackResult
from quintain.results.verdict import Decision, Verdict

ROBUST = Quantity(Metric.ROBUST_ACCURACY, "f" * 64, "d" * 64, "linf:4/255")


def bracket(lower: int, upper: int) -> Bracket:
    return Bracket(
        Bound(ROBUST, Side.LOWER, lower / 624, Basis.PROOF, CountEvidence(lower, 624)),
        Bound(ROBUST, Side.UPPER, upper / 624, Basis.WITNESS, CountEvidence(upper, 624)),
    )


def of(claims: tuple[Claim, ...], *decisions: Decision) -> Record:
    provenance = Provenance(
        "quintain attack", 0, NamedHash("xrays.test", "d"), (), "", 1.0, (), "cpu", "float32", 1, "Linux"
    )
    decided = tuple(RequirementResult("x", Verdict(each, ""), "") for each in decisions)
    return Record(SCHEMA, provenance, claims, AttackResult(()), decided)


def test_a_bracket_prints_its_quantity_and_both_sides_rounded_outwards() -> None:
    assert repr(bracket(455, 461)) == "Bracket(robust_accuracy(linf:4/255) between 0.7291 and 0.7388)"
    assert repr(bracket(461, 455)).endswith(", CONTRADICTION)")


def test_an_epsilon_prints_its_delta_and_infinity() -> None:
    quantity = Quantity(Metric.EPSILON, delta=1e-5)
    lower = Bound(quantity, Side.LOWER, 0.93, Basis.STATISTICAL)
    text = repr(Bracket(lower, Bound.trivial(quantity, Side.UPPER)))
    assert text == "Bracket(epsilon(delta=1e-5) between 0.93 and inf)"


def test_a_claim_prints_its_name_and_its_bracket() -> None:
    claim = Claim("net:linf:4/255", "Robust accuracy, net", "net", bracket(455, 461))
    assert repr(claim) == "Claim(net:linf:4/255: robust_accuracy(linf:4/255) between 0.7291 and 0.7388)"


@pytest.mark.parametrize(
    ("decisions", "text"),
    [
        ((), "Record(attack on xrays.test, 1 claim)"),
        (
            (Decision.PASS, Decision.FAIL, Decision.PASS),
            "Record(attack on xrays.test, 1 claim, 2 PASS, 1 FAIL)",
        ),
    ],
)
def test_a_record_prints_what_it_is_of_and_what_was_decided(
    decisions: tuple[Decision, ...], text: str
) -> None:
    claim = Claim("net:linf:4/255", "Robust accuracy, net", "net", bracket(455, 461))
    assert repr(of((claim,), *decisions)) == text
    assert "2 claims" in repr(replace(of((claim,)), claims=(claim, claim)))


def test_examples_print_their_number() -> None:
    count = 624
    many = PerExample(
        tuple(range(count)), (0,) * count, (0,) * count, (0.0,) * count, (1.0,) * count, (False,) * count
    )
    assert repr(many) == "PerExample(624 examples)"
