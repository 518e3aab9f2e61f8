"""The step about drawn people: where it is done, and how long it is estimated to take."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from quintain.drill import Settings
from quintain.drill.pipeline import STEPS, select_steps
from quintain.drill.settings import FULL
from quintain.drill.steps import identity

STEP = STEPS["identity"]


def context(**chosen):
    return SimpleNamespace(settings=Settings(**chosen), workload=FULL)


def test_it_is_done_on_the_bundled_data_alone_and_names_what_measures_others():
    assert STEP.obstacle(context()) is None
    found = STEP.obstacle(context(data="mine.npz"))
    assert "says nothing of another model" in found.reason
    assert "quintain leak inversion-scores" in found.remedy


def test_it_is_what_is_dropped_first_and_needs_no_other():
    assert list(STEPS)[-1] == "identity"
    assert STEP.worth == min(step.worth for step in STEPS.values())
    assert select_steps(["identity"]) == (STEP,)


def test_its_time_grows_with_the_queries_of_a_trial(monkeypatch):
    monkeypatch.setattr(identity, "TRIED_QUERIES", (40, 60))
    readings = iter([0.0, 1.0, 1.0, 4.0])  # the second trial takes two seconds more, by 20 queries more
    seconds = STEP.estimate(context(), SimpleNamespace(clock=lambda: next(readings)))
    half = replace(FULL, identity_queries=FULL.identity_queries // 2)
    assert seconds(FULL) == pytest.approx(0.1 * (2 * 10 * 3_200 + identity.FIXED_QUERIES))
    assert seconds(FULL) - seconds(half) == pytest.approx(0.1 * 2 * 10 * 1_600)
    (amount,) = STEP.amounts(context())
    assert amount.floor <= FULL.identity_queries
