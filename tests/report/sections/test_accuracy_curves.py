"""Curves of accuracy: what a claim certifies is in them."""

from dataclasses import replace
from pathlib import Path

from quintain.report import format as fmt
from quintain.report import render
from quintain.results.quantity import Basis
from quintain.results.records import Record
from quintain.results.robustness_records import (
    HardenResult,
)
from tests.report.support.sample import record


def test_what_a_hardening_alone_proves_is_in_its_curve(records: tuple[Record, ...], folder: Path) -> None:
    body = next(one.result for one in records if isinstance(one.result, HardenResult))
    model = body.models[0].model
    proofs = tuple(
        claim
        for one in records
        for claim in one.claims
        if claim.model == model
        and claim.bracket.quantity.threat.startswith("linf")
        and claim.bracket.lower.basis is Basis.PROOF
    )
    assert proofs
    alone = replace(body, models=body.models[:1])
    shown = render((record(alone, proofs),), folder)
    for claim in proofs:
        assert f"{fmt.percent(claim.bracket.lower.value)} certified" in shown
    assert 'class="line-proved"' in shown
    assert 'class="line-proved"' not in render((record(alone, ()),), folder)
