"""What got worse from one run to the next."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from quintain.core.errors import SettingError
from quintain.report.regressions import regressions
from quintain.results.bounds import Bound, Bracket
from quintain.results.codec import load
from quintain.results.literals import CLEAN_ERRORS_ONLY
from quintain.results.quantity import Basis, Metric, Quantity, Side
from quintain.results.records import Claim
from quintain.results.robustness_records import AttackDiagnostics, AttackResult, Indicator
from tests.report.support.claims import accuracy
from tests.report.support.sample import record

GOLDEN = Path(__file__).parents[1] / "results" / "golden"


def reasons(before, after, tolerance=0.01):
    old, new = ((record(AttackResult(()), claims),) for claims in (before, after))
    return [one.reason for one in regressions(old, new, tolerance)]


def robust(certified, attacked, *, token="linf:4/255", **bracket):
    found = accuracy("net:robust", "Robust accuracy, net", certified, attacked, trials=1000, token=token)
    return replace(found, bracket=replace(found.bracket, **bracket))


def clean(correct):
    return accuracy("net:clean", "Accuracy, net", correct, correct, trials=1000, token="")


def epsilon(upper, *, lower=0.5, delta=1e-5, data="train"):
    of = Quantity(Metric.EPSILON, "plan", data, delta=delta)
    sides = (
        Bound(of, side, value, Basis.PROOF) for side, value in ((Side.LOWER, lower), (Side.UPPER, upper))
    )
    return Claim("private:epsilon", "Privacy", "private", Bracket(*sides))


UNATTACKED = replace(robust(700, 900).bracket.upper, method=CLEAN_ERRORS_ONLY)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (robust(700, 800), robust(700, 800), []),
        (robust(700, 800), robust(750, 900), []),
        (robust(700, 800), robust(690, 790), []),
        (
            robust(700, 800),
            robust(689, 790),
            ["the certified accuracy fell by 1.1 points, from 70.0 % to 68.9 %"],
        ),
        (
            robust(700, 800),
            robust(700, 789),
            ["the accuracy under attack fell by 1.1 points, from 80.0 % to 78.9 %"],
        ),
        (
            robust(700, 800),
            robust(600, 700),
            [
                "the certified accuracy fell by 10.0 points, from 70.0 % to 60.0 %",
                "the accuracy under attack fell by 10.0 points, from 80.0 % to 70.0 %",
            ],
        ),
        (robust(None, 800), robust(700, 800), []),
        (
            robust(700, 800),
            robust(None, 800),
            ["the certified accuracy is not known any more; it was 70.0 %"],
        ),
        (robust(700, 900, upper=UNATTACKED), robust(700, 750), []),
        (
            robust(700, 750),
            robust(700, 900, upper=UNATTACKED),
            ["the accuracy under attack is not known any more; it was 75.0 %"],
        ),
        (robust(700, 800), robust(700, 800, num_contradictory=1), ["its two bounds contradict each other"]),
        (clean(900), clean(890), []),
        (clean(900), clean(880), ["the accuracy fell by 2.0 points, from 90.0 % to 88.0 %"]),
        (epsilon(3.0), epsilon(3.01), []),
        (epsilon(3.0), epsilon(3.5), ["the accounted epsilon rose by 0.5, from 3.00 to 3.50"]),
        (epsilon(3.0), epsilon(2.0, data="other"), []),
        (epsilon(3.0), epsilon(math.inf), ["the accounted epsilon rose by ∞, from 3.00 to ∞"]),
        (epsilon(math.inf), epsilon(math.inf), []),
        (epsilon(3.0), epsilon(3.0, lower=2.9), []),
        (
            epsilon(3.0),
            epsilon(1.0, delta=1e-3),
            ["cannot be compared: the delta differs: 1e-05 before, 0.001 after"],
        ),
        (
            robust(700, 800),
            robust(700, 800, token="linf:2/255"),
            ["cannot be compared: the threat differs: linf:4/255 before, linf:2/255 after"],
        ),
    ],
)
def test_what_got_worse_by_more_than_the_tolerance_is_a_regression(before, after, told):
    assert reasons([before], [after]) == told


def test_a_claim_that_is_missing_has_regressed_and_one_that_is_new_has_not():
    assert reasons([clean(900), robust(700, 800)], [clean(900)]) == ["the later run does not have this claim"]
    assert reasons([clean(900)], [clean(900), robust(100, 200)]) == []
    old, new = ((record(AttackResult(()), claims),) for claims in ([robust(700, 800)], [clean(900)]))
    assert [one.name for one in regressions(old, new)] == ["net:robust"]


@pytest.mark.parametrize(("tolerance", "count"), [(0, 1), (0.009, 1), (0.01, 0), (0.5, 0)])
def test_the_tolerance_itself_is_allowed(tolerance, count):
    assert len(reasons([clean(740)], [clean(730)], tolerance)) == count


@pytest.mark.parametrize("tolerance", [-0.01, math.nan, math.inf])
def test_a_tolerance_that_allows_everything_or_makes_no_sense_is_refused(tolerance):
    with pytest.raises(SettingError, match="expected a number from 0 up"):
        reasons([clean(900)], [clean(900)], tolerance)


@pytest.mark.parametrize("tolerance", [1, 5])
def test_a_tolerance_in_points_or_percent_is_refused_where_accuracies_are_compared(tolerance):
    with pytest.raises(SettingError, match=r"expected a fraction below 1: a point of accuracy is 0\.01"):
        reasons([epsilon(3), clean(900)], [epsilon(3), clean(100)], tolerance)
    assert reasons([epsilon(3)], [epsilon(3.5)], tolerance) == []


def test_a_run_that_claims_nothing_is_no_baseline():
    with pytest.raises(SettingError, match="the earlier run claims nothing"):
        reasons([], [clean(900)])


def attacked_by(method, *, certified=None, left=800):
    found = robust(certified, left)
    return replace(found, bracket=replace(found.bracket, upper=replace(found.bracket.upper, method=method)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("quick + fmn", "quick + fmn"),
        ("fmn + quick", "quick + fmn"),
        ("quick", "quick + fmn"),
        ("quick + fmn", "autoattack"),
        ("quick", "strongest"),
        ("autoattack + fmn", "strongest"),
        ("pgd", "quick"),
        ("fgsm", "pgd"),
        ("hopskipjump", "quick"),
        ("replay of quick", "replay of quick"),
        ("replay of quick", "quick"),
        ("replay of pgd", "autoattack"),
    ],
)
def test_equal_or_stronger_attacks_compare_quietly(before, after):
    assert reasons([attacked_by(before)], [attacked_by(after, left=900)]) == []


@pytest.mark.parametrize(
    ("before", "after", "missing"),
    [
        ("quick", "fgsm", "quick"),
        ("quick + fmn", "quick", "fmn"),
        ("quick + fmn", "fgsm + pgd", "quick and fmn"),
        ("strongest", "autoattack", "strongest"),
        ("autoattack", "quick + fmn", "autoattack"),
        ("quick", "square", "quick"),
        ("pgd", "mine", "pgd"),
        ("mine", "pgd", "mine"),
    ],
)
def test_weaker_attacks_cannot_show_that_nothing_got_worse(before, after, missing):
    (reason,) = reasons([attacked_by(before, left=200)], [attacked_by(after, left=600)])
    assert f"cannot be compared: the earlier run attacked by {missing}, the later one by" in reason
    fallen = reasons([attacked_by(before, left=600)], [attacked_by(after, left=200)])
    assert fallen == ["the accuracy under attack fell by 40.0 points, from 60.0 % to 20.0 %"]


def test_examples_of_another_model_cannot_show_that_nothing_got_worse():
    (reason,) = reasons([attacked_by("quick", left=200)], [attacked_by("replay of quick", left=600)])
    assert "is not known any more: the later run tries only what was made on another model" in reason
    assert reason.endswith("it was 20.0 %")


def test_what_is_certified_needs_no_attack():
    unattacked = robust(800, 900, upper=UNATTACKED)
    assert reasons([attacked_by("quick", left=800)], [unattacked]) == []
    assert reasons([attacked_by("quick", left=800)], [attacked_by("fgsm", certified=790, left=900)]) == []
    assert len(reasons([attacked_by("quick", left=800)], [attacked_by("fgsm", certified=780, left=900)])) == 1


@pytest.mark.parametrize("model", ["net", "other"])
def test_a_run_that_broke_off_cannot_show_that_nothing_got_worse(model):
    (stored,) = load(GOLDEN / "schema-2-every-field-attack.json").result.models
    broken_off = replace(stored, model=model, threat_type="linf", stop_reason="the endpoint is gone")
    before = record(AttackResult(()), [attacked_by("quick", left=200)])
    after = record(AttackResult((broken_off,)), [attacked_by("quick", left=600)])
    told = [one.reason for one in regressions([before], [after])]
    expected = (
        "the accuracy under attack is not known any more, since the later run broke off (the endpoint "
        "is gone); it was 20.0 %"
    )
    assert told == [expected] * (model == "net")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, 100, "had no limit of queries, the later one --max-queries 100"),
        (200, 100, "had --max-queries 200, the later one --max-queries 100"),
        (100, 100, ""),
        (100, 200, ""),
        (100, None, ""),
    ],
)
def test_attacks_with_fewer_queries_cannot_show_that_nothing_got_worse(before, after, told):
    (stored,) = load(GOLDEN / "schema-2-every-field-attack.json").result.models
    limited = replace(stored, model="net", threat_type="linf", stop_reason="")
    runs = [
        record(AttackResult((replace(limited, max_queries=limit),)), [attacked_by("quick", left=left)])
        for limit, left in ((before, 200), (after, 200))
    ]
    reasons = [one.reason for one in regressions([runs[0]], [runs[1]])]
    assert len(reasons) == bool(told)
    assert told in "".join(reasons)


SIGN = Indicator("zero gradients", 1.0, 0.05, True, "the gradient is zero on 100 % of the examples")
TRUSTED, DOUBTFUL = AttackDiagnostics((), 50), AttackDiagnostics((SIGN,), 50)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (TRUSTED, TRUSTED, ""),
        (
            TRUSTED,
            DOUBTFUL,
            "trust in the attacks was high, and is doubtful, because the gradient is zero on",
        ),
        (
            TRUSTED,
            AttackDiagnostics((), 0, "too few queries"),
            "and is not judged: too few queries; it was 20.0 %",
        ),
        (TRUSTED, None, "and is not judged: the run holds no diagnostics of these attacks; it was 20.0 %"),
        (DOUBTFUL, DOUBTFUL, ""),
        (DOUBTFUL, TRUSTED, ""),
        (None, DOUBTFUL, ""),
    ],
)
def test_attacks_that_are_trusted_less_than_before_cannot_show_that_nothing_got_worse(before, after, told):
    (stored,) = load(GOLDEN / "schema-2-every-field-attack.json").result.models
    made = replace(stored, model="net", threat_type="linf", stop_reason="", max_queries=None)
    runs = [
        record(AttackResult((replace(made, diagnostics=one),)), [attacked_by("quick", left=left)])
        for one, left in ((before, 200), (after, 600))
    ]
    reasons = [one.reason for one in regressions([runs[0]], [runs[1]])]
    assert len(reasons) == bool(told)
    assert told in "".join(reasons)
    certified = record(runs[1].result, [attacked_by("quick", certified=200, left=600)])
    assert regressions([runs[0]], [certified]) == ()


def test_more_queries_that_break_more_are_a_regression_all_the_same():
    (stored,) = load(GOLDEN / "schema-2-every-field-attack.json").result.models
    limited = replace(stored, model="net", threat_type="linf", stop_reason="", max_queries=100)
    before = record(AttackResult(()), [attacked_by("quick", left=600)])
    after = record(AttackResult((limited,)), [attacked_by("quick", left=200)])
    (found,) = regressions([before], [after])
    assert found.reason == "the accuracy under attack fell by 40.0 points, from 60.0 % to 20.0 %"
