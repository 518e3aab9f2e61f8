"""Requirements on what attackers find out: attacks decide FAIL, a guarantee alone decides PASS."""

from dataclasses import replace

import pytest

from quintain.core.errors import SettingError
from quintain.results import Basis, Bound, Bracket, Quantity, Requirement, Side, decide
from quintain.results.bounds import Consistency, comparable
from quintain.results.evidence import ConfidenceLevels
from quintain.results.gate import judge
from quintain.results.quantity import Metric
from quintain.results.records import Claim
from quintain.results.verdict import Decision


def leak(low, high, *, metric=Metric.MEMBERSHIP_TPR, fpr=0.01, far=0.0):
    """A claim whose attack shows ``low``, and ``far`` at confidences that leave nothing to chance."""
    of = Quantity(metric, "model", "data", fpr=fpr)
    levels = ConfidenceLevels((0.95, 0.99, 1 - 1e-9), (low, low, far))
    lower = Bound(of, Side.LOWER, low, Basis.STATISTICAL, levels, "lira")
    upper = (
        Bound.trivial(of, Side.UPPER)
        if high is None
        else Bound(of, Side.UPPER, high, Basis.PROOF, None, "trade-off curve")
    )
    return Claim(f"model:{of.text}", "Members found", "model", Bracket(lower, upper), primary=True)


@pytest.mark.parametrize(
    ("low", "high", "decision"),
    [
        (0.02, 0.04, Decision.PASS),
        (0.02, 0.06, Decision.UNDECIDED),
        (0.06, 0.30, Decision.FAIL),
        (0.0, None, Decision.UNDECIDED),
        (0.06, None, Decision.FAIL),
        (0.045, 0.04, Decision.UNDECIDED),
        (0.06, 0.04, Decision.FAIL),
    ],
)
def test_a_guarantee_decides_pass_and_an_attack_fail(low, high, decision):
    found = decide(Requirement.parse("membership_tpr(fpr=1%) <= 5 %"), [leak(low, high)])
    assert found.verdict.decision is decision
    if high is None and decision is Decision.UNDECIDED:
        assert found.verdict.reason == (
            "attacks show at least 0 %, and no guarantee says how much others may: train with quintain "
            "privatize, and give its run by --private"
        )


@pytest.mark.parametrize(("far", "consistency"), [(0.0, "SUSPECT"), (0.2, "CONTRADICTION")])
def test_an_attack_above_its_ceiling_is_an_alarm_where_chance_is_excluded(far, consistency):
    crossing = leak(0.3, 0.1, far=far)
    assert crossing.bracket.consistency is Consistency(consistency)
    limit = Requirement.parse("membership_tpr(fpr=1%) <= 0.5")
    assert decide(limit, [crossing]).verdict.decision is Decision.UNDECIDED
    outcome = judge([limit], [crossing], []).verdict.outcome
    assert outcome == {"SUSPECT": "UNDECIDED", "CONTRADICTION": "ALARM"}[consistency]


def test_each_rate_is_a_quantity_of_its_own_and_all_count_where_none_is_named():
    small, large = leak(0.001, 0.002, fpr=0.001), leak(0.1, 0.2)
    assert not comparable(small.bracket.quantity, large.bracket.quantity)
    assert small.bracket.quantity.text == "membership_tpr(fpr=0.1%)"

    def decision(text):
        return decide(Requirement.parse(text), [small, large]).verdict.decision

    assert decision("membership_tpr(fpr=0.1%) <= 0.01") is Decision.PASS
    assert decision("membership_tpr(fpr=0.001) <= 0.01") is Decision.PASS
    assert decision("membership_tpr <= 0.01") is Decision.FAIL
    other = decide(Requirement.parse("membership_tpr(fpr=2%) <= 0.01"), [small, large]).verdict
    assert other.decision is Decision.UNDECIDED
    assert "this run has fpr=0.1%, fpr=1%" in other.reason


def test_advantage_and_reidentification_are_required_from_above_alone():
    for text in ("membership_advantage() <= 0.2", "membership_advantage <= 0.2", "reidentified <= 10 %"):
        assert Requirement.state(text).relation == "<="
    advantage = leak(0.3, None, metric=Metric.MEMBERSHIP_ADVANTAGE, fpr=None)
    assert decide(Requirement.parse("membership_advantage <= 0.2"), [advantage]).verdict.decision is (
        Decision.FAIL
    )
    with pytest.raises(SettingError, match="would be passed by worse models alone; expected <="):
        Requirement.state("reidentified >= 0.1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("membership_tpr(fpr=2) <= 0.1", "strictly between 0 and 1"),
        ("membership_tpr(fpr=0%) <= 0.1", "strictly between 0 and 1"),
        ("membership_tpr(fpr=x) <= 0.1", "not a number"),
        ("membership_tpr(linf:4/255) <= 0.1", "takes no threat"),
        ("membership_advantage(fpr=1%) <= 0.1", "has no fpr"),
        ("membership_tpr(fpr=1%) <= 3", "not a possible membership_tpr"),
    ],
)
def test_a_wrong_one_is_refused_with_what_was_expected(text, told):
    with pytest.raises(SettingError, match=told):
        Requirement.parse(text)


def test_bounds_at_other_rates_make_no_bracket():
    lower, upper = leak(0.1, 0.2).bracket.lower, leak(0.1, 0.2, fpr=0.001).bracket.upper
    with pytest.raises(SettingError, match="two quantities"):
        Bracket(lower, upper)
    assert replace(upper.quantity, fpr=0.01) == lower.quantity
