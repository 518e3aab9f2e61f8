"""``quintain audit --auditor``: what each that fits one run does in the audit of a plan."""

from dataclasses import replace

from quintain.leakage import audit_gaussian_pair, audit_plan_curve
from quintain.results import Consistency
from tests.evaluate.support.private_blobs import QUICK, audit, leave_out_control


def test_the_plans_own_curve_bounds_its_epsilon(monkeypatch):
    leave_out_control(monkeypatch)
    found = audit(replace(QUICK, steps=10), auditor=audit_plan_curve)
    (claim,) = found.claims
    assert claim.bracket.consistency is Consistency.CONSISTENT
    assert "trade-off curve of the plan" in claim.bracket.lower.method
    assert found.result.audit.assumed == ()
    assert found.result.audit.guesses == found.result.audit.canaries // 4


def test_an_estimate_stands_beside_the_bracket(monkeypatch):
    leave_out_control(monkeypatch)
    found = audit(replace(QUICK, steps=10), auditor=audit_gaussian_pair)
    (claim,) = found.claims
    assert "one-run" in claim.bracket.lower.method
    (beside,) = found.result.audit.assumed
    assert "estimate" in beside.method
    assert beside.epsilon < 6
