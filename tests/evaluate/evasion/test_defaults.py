"""Which attacks are run where none is named."""

from dataclasses import replace

import pytest
import torch

import quintain
from quintain.attacks import PGD
from quintain.core.errors import SettingError, UnknownNameError
from quintain.core.registry import entries
from quintain.evaluate.evasion.defaults import attack, default_attacks, reference_attacks
from quintain.threats import Linf
from tests.evaluate.support.attacked import points, subject

DEFAULTS = {
    ("gradients", "linf"): ("quick", "fmn"),
    ("gradients", "l2"): ("quick", "fmn"),
    ("gradients", "l1"): ("quick", "fmn"),
    ("gradients", "l0"): ("fmn",),
    ("gradients", "mask"): ("pgd",),
    ("gradients", "spatial"): ("pgd",),
    ("gradients", "negative"): ("random-search",),
    ("scores", "linf"): ("square",),
    ("scores", "l0"): ("one-pixel",),
    ("scores", "mask"): ("sparse-rs",),
    ("scores", "patch"): ("random-search",),
    ("labels", "linf"): ("hopskipjump",),
    ("labels", "l2"): ("hopskipjump",),
}


def test_trained_models_are_compared_by_one_attack_where_it_supports_the_threat():
    assert reference_attacks("linf") == reference_attacks("l2") == {"pgd": PGD()}
    assert list(reference_attacks("l0")) == ["fmn"]


def test_attacks_are_chosen_by_what_the_model_gives_and_what_may_be_changed():
    known = entries("attack")
    for access in ("gradients", "scores", "labels"):
        for kind in ("linf", "l2"):
            best, *more = default_attacks(access, kind)
            assert known[best].fact("access") == access
            assert kind in known[best].words("supports")
            assert all(known[name].fact("minimum_norm") == "yes" for name in more)
    assert {(access, kind): default_attacks(access, kind) for access, kind in DEFAULTS} == DEFAULTS
    with pytest.raises(SettingError, match="no registered attack serves nothing"):
        default_attacks("gradients", "nothing")


def test_one_call_attacks_with_the_quick_ensemble(monkeypatch):
    x, y = points().batch(range(20))
    asked = []

    def find(kind, name):
        asked.append((kind, name))
        return replace(entries("attack")["pgd"], name=name)

    monkeypatch.setattr("quintain.evaluate.evasion.defaults.get_entry", find)
    outcome = quintain.attack(subject().model, x, y, "linf:0.1", seed=2)
    assert asked == [("attack", "quick")]
    assert torch.equal(outcome.adversarial, PGD()(subject().model, x, y, Linf(0.1), seed=2).adversarial)
    assert torch.equal(attack(subject().model, x, y, Linf(0.1), seed=2).success, outcome.success)
    with pytest.raises(UnknownNameError):
        quintain.attack(subject().model, x, y, "lonf:0.1")
