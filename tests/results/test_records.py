"""Claims and records print short, whatever they hold."""

from dataclasses import replace

import pytest

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
from tests.results.support.brackets import accuracy


def of(claims: tuple[Claim, ...], *decisions: Decision) -> Record:
    provenance = Provenance(
        "quintain attack", 0, NamedHash("xrays.test", "d"), (), "", 1.0, (), "cpu", "float32", 1, "Linux"
    )
    decided = tuple(RequirementResult("x", Verdict(each, ""), "") for each in decisions)
    return Record(SCHEMA, provenance, claims, AttackResult(()), decided)


def test_a_claim_prints_its_name_and_its_bracket() -> None:
    claim = Claim("net:linf:4/255", "Robust accuracy, net", "net", accuracy(455, 461))
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
    claim = Claim("net:linf:4/255", "Robust accuracy, net", "net", accuracy(455, 461))
    assert repr(of((claim,), *decisions)) == text
    assert "2 claims" in repr(replace(of((claim,)), claims=(claim, claim)))
