"""Requirements as people write them."""

import pytest

from quintain.core.errors import SettingError, UnknownNameError
from quintain.results import Requirement, decide
from quintain.results.quantity import Metric
from quintain.results.verdict import Decision
from tests.results.support.claims import claim


def test_a_requirement_is_read():
    asked = Requirement.parse(" robust_accuracy(linf:4/255, model=plain) >= 70 % ")
    assert (asked.metric, asked.threat, asked.model, asked.relation, asked.value) == (
        Metric.ROBUST_ACCURACY,
        "linf:4/255",
        "plain",
        ">=",
        0.7,
    )
    assert Requirement.parse("epsilon(delta=1e-5) <= 3").delta == 1e-5
    assert Requirement.parse("epsilon <= 3").delta is None
    assert Requirement.parse("clean_accuracy(scope=sample) >= 0.8").scope == "sample"


def test_attacked_accuracy_is_what_attacks_left_of_the_tested_examples():
    asked = Requirement.parse("attacked_accuracy(linf:8/255) >= 50 %")
    assert (asked.name, asked.metric, asked.under_attack, asked.scope, asked.value) == (
        "attacked_accuracy",
        Metric.ROBUST_ACCURACY,
        True,
        "sample",
        0.5,
    )
    assert Requirement.parse("attacked_accuracy(l2:1, scope=population) >= 0.5").scope == "population"
    robust = Requirement.parse("robust_accuracy(linf:8/255) >= 50 %")
    assert (robust.name, robust.under_attack, robust.scope) == ("robust_accuracy", False, "population")


@pytest.mark.parametrize(
    "threat",
    [
        "l0:5",
        "mask:eyeglasses:0.5",
        "mask:masks/glasses.png:8/255",
        "linf:0.1[-1.0,1.0]",
        "patch:area=5%,place=0.5x0.5",
        "compose:colour:brightness=0.2+patch:area=5%,place=0.5x0.5",
    ],
)
def test_a_threat_of_any_form_is_read_whole(threat):
    asked = Requirement.parse(f"robust_accuracy({threat}, model=plain, scope=sample) >= 0.5")
    assert (asked.threat, asked.model, asked.scope) == (threat, "plain", "sample")
    assert (
        decide(
            Requirement.parse(f"robust_accuracy({threat}) >= 0.75"), [claim(800, 810, threat=threat)]
        ).verdict.decision
        is Decision.PASS
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("robust_accuracy(linf:4/255) > 0.7", "cannot be read"),
        ("robust_accuracy >= 0.7", "takes a threat"),
        ("attacked_accuracy >= 0.7", "attacked_accuracy takes a threat"),
        ("attacked_accuracy(linf:4/255) >= 70", "not a possible attacked_accuracy"),
        ("clean_accuracy(linf:4/255) >= 0.7", "no threat"),
        ("robust_accuracy(linf:4/255) >= 70", "not a possible robust_accuracy"),
        ("robust_accuracy(linf:4/255) >= 1e", "not a number"),
        ("epsilon(delta=x) <= 3", "not a number"),
        ("clean_accuracy(scope=all) >= 0.7", "population or sample"),
        ("", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused_with_an_example(text, told):
    with pytest.raises(SettingError, match=told):
        Requirement.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "robust_acuracy(linf:4/255) >= 0.7",
        "epsilon(dleta=1e-5) <= 3",
        "robust_accuracy(l0:5, modle=plain) >= 0.7",
        "robust_accuracy(lonf:4/255) >= 0.7",
        "ataked_accuracy(linf:4/255) >= 0.7",
    ],
)
def test_unknown_words_suggest_the_nearest(text):
    with pytest.raises(UnknownNameError, match="Did you mean"):
        Requirement.parse(text)
