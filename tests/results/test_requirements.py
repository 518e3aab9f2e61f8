"""Requirements as people write them."""

import re

import pytest

from quintain.core.errors import SettingError, UnknownNameError, UsageError
from quintain.core.registry import declared_entries
from quintain.core.threat_checks import check_spec
from quintain.results import Requirement, decide
from quintain.results.quantity import Metric
from quintain.results.verdict import Decision
from quintain.threats import parse
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
        "light:0.3,form=albedo",
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
    ("text", "expected"),
    [
        ("clean_accuracy <= 90 %", "'clean_accuracy >= 90 %'"),
        ("robust_accuracy(linf:4/255) <= 0.7", r"'robust_accuracy\(linf:4/255\) >= 0\.7'"),
        ("attacked_accuracy(linf:4/255)<=0.7", r"'attacked_accuracy\(linf:4/255\)>=0\.7'"),
        ("epsilon(delta=1e-5) >= 3", r"'epsilon\(delta=1e-5\) <= 3'"),
    ],
)
def test_a_requirement_that_worse_models_pass_is_read_from_records_and_not_stated(text, expected):
    assert Requirement.parse(text).text == text
    with pytest.raises(SettingError, match=f"passed by worse models alone; expected [<>]=: {expected}"):
        Requirement.state(text)


def test_a_model_without_a_name_is_read_from_records_and_not_stated():
    text = "robust_accuracy(linf:4/255, model=) >= 0.7"
    assert Requirement.parse(text).model == ""
    with pytest.raises(SettingError, match="model= has no value; give one"):
        Requirement.state(text)


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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("robust_accuracy(linf:x:0.05) >= 0.9", "'x' stands before the size"),
        ("robust_accuracy(linf:abc) >= 0.9", "'abc' is no finite number from 0 up"),
        ("robust_accuracy(linf:-0.2) >= 0.9", "'-0.2' is no finite number from 0 up"),
        ("robust_accuracy(linf:inf) >= 0.9", "'inf' is no finite number from 0 up"),
        ("robust_accuracy(linf:5%) >= 0.9", "'5%' is no finite number from 0 up"),
        ("robust_accuracy(linf:1/0) >= 0.9", "'1/0' is no finite number from 0 up"),
        ("robust_accuracy(linf) >= 0.9", "it has no size"),
        ("robust_accuracy(linf:) >= 0.9", "it has no size"),
        ("robust_accuracy(linf:0.1[1.0,-1.0]) >= 0.9", "no data box"),
        ("robust_accuracy(l0:0.5) >= 0.9", "0.5 is not whole"),
        ("robust_accuracy(mask:eyeglasess:0.2) >= 0.9", "did you mean eyeglasses"),
        ("robust_accuracy(mask:0.2) >= 0.9", "a shape and a size are needed"),
        ("robust_accuracy(negative:0.2) >= 0.9", "none of no options"),
        ("robust_accuracy(color:brigtness=0.2) >= 0.9", "did you mean brightness"),
        ("robust_accuracy(color:0.2) >= 0.9", "none of brightness, contrast, hue"),
        ("robust_accuracy(color:hue=0.2,hue=0.1) >= 0.9", "hue is given twice"),
        ("robust_accuracy(color:hue=x) >= 0.9", "'x' is no finite number"),
        ("robust_accuracy(patch:area=5%,position=0.5) >= 0.9", "is not down x right"),
        ("robust_accuracy(light:0.3,form=albdo) >= 0.9", "did you mean albedo"),
        ("robust_accuracy(compose:color:hue=0.1+pach:area=5%) >= 0.9", "pach"),
        ("robust_accuracy(compose:color:hue=0.1+patch:ara=5%) >= 0.9", "did you mean area"),
        ("robust_accuracy(linf:4/255, delta=1e-5) >= 0.9", "robust_accuracy has no delta"),
        ("clean_accuracy(delta=1e-5) >= 0.9", "clean_accuracy has no delta"),
        ("clean_accuracy(scope=sample, scope=population) >= 0.9", "scope is given twice"),
        ("epsilon(delta=1e-5, delta=1e-6) <= 3", "delta is given twice"),
        ("clean_accuracy >= 0.9 %", "if that is meant, write 0.009, else 0.9 or 90 %"),
        ("epsilon <= 3 %", "an epsilon is no percentage"),
    ],
)
def test_a_slip_within_the_brackets_or_the_limit_is_refused(text, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        Requirement.parse(text)


def test_percent_are_those_of_an_accuracy():
    assert Requirement.parse("clean_accuracy >= 90%").value == 0.9
    assert Requirement.parse("clean_accuracy >= 1 %").value == 0.01
    assert Requirement.parse("clean_accuracy >= 0 %").value == 0


@pytest.mark.parametrize("entry", declared_entries("threat").values(), ids=lambda entry: entry.name)
def test_every_text_that_a_threat_has_is_one_of_a_requirement(entry):
    for spec in (entry.fact("example"), *entry.load().specs):
        check_spec(spec)
        check_spec(parse(spec).spec)
