"""The measurement of attribute inference: a net that remembers its examples tells their hidden values."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from quintain.core.errors import DataError, SettingError
from quintain.data import from_arrays
from quintain.evaluate.leaks.attributes import measure
from quintain.evaluate.leaks.goals import MEASURES
from quintain.evaluate.leaks.job import LeakJob, LeakTarget
from quintain.leakage.attributes.posterior import AttributePosterior
from quintain.leakage.attributes.shadow import AttributeShadow
from quintain.leakage.extraction.student import Student
from quintain.leakage.hidden_attribute import feature_attribute
from quintain.models import Classifier
from quintain.models.nets import initialize
from quintain.training import Recipe, fit


def examples(count, seed):
    """Labels that nothing tells: a net can only remember them, and with them the first feature."""
    rng = np.random.default_rng(seed)
    x = rng.random((count, 12), dtype=np.float32)
    x[:, 0] = rng.random(count) < 0.5
    return from_arrays(x, (rng.random(count) < 0.5).astype(int), num_classes=2, name=f"set {seed}")


def build(seed):
    return initialize(nn.Sequential(nn.Linear(12, 128), nn.ReLU(), nn.Linear(128, 2)), seed)


def train(net, data, seed):
    fit(net, data, Recipe(epochs=60, batch_size=20, learning_rate=2e-2), seed=seed)


@pytest.fixture(autouse=True)
def brief_imputers(monkeypatch):
    """There is nothing to impute here."""
    monkeypatch.setattr("quintain.leakage.attributes.imputer.STEPS", 50)


@pytest.fixture(scope="module")
def job():
    members = examples(200, 1)
    net = build(0)
    train(net, members, 0)
    return LeakJob(
        LeakTarget(Classifier(net, num_classes=2), "plain", build=build, train=train),
        (AttributePosterior(),),
        members,
        examples(400, 2),
        attribute=feature_attribute(members, 0, name="smoker"),
    )


def test_what_a_net_remembers_of_its_members_is_found_and_nothing_of_others(job):
    assert MEASURES["attributes"] is measure
    found = measure(job)
    members, others, leak = found.measurements
    assert members.measure == "attribute accuracy, members"
    assert members.low > members.baseline
    assert (members.count, members.queries, members.access) == (200, 2, "scores")
    assert len(members.exposed) == 20
    assert others.low <= 0.5 <= others.high
    assert leak.value > 0.1
    assert leak.baseline == 0
    assert "teaches the population" in found.notes[0]
    assert found == measure(job)


def test_a_model_that_never_saw_them_tells_nothing_of_the_members(job):
    stranger = build(0)
    train(stranger, examples(200, 3), 0)
    shadow = AttributeShadow(student=Student(min_steps=300))
    found = measure(
        replace(
            job,
            target=LeakTarget(Classifier(stranger, num_classes=2), "stranger", build=build),
            attacks=(AttributePosterior(), shadow),
        )
    )
    for members, others, leak in (found.measurements[:3], found.measurements[3:]):
        # the values are fair coins, which nothing but a memory of them tells
        assert members.low <= 0.5 <= members.high
        assert others.low <= 0.5 <= others.high
        assert leak.low <= 0 <= leak.high


def test_the_attribute_is_hidden_from_the_attack(job):
    seen = []

    class Peeks(AttributePosterior):
        def guess(self, view, knowledge, candidates, **settings):
            seen.append(candidates.x)
            return AttributePosterior.guess(self, view, knowledge, candidates, **settings)

    measure(replace(job, attacks=(Peeks(),), candidates=30))
    assert [len(x) for x in seen] == [30, 30]
    assert all((x[:, 0] == 0.5).all() for x in seen)


def test_bad_input_is_refused(job):
    with pytest.raises(SettingError, match="no attribute is named"):
        measure(replace(job, attribute=None))
    with pytest.raises(SettingError, match="needs scores of the model; the attacker sees labels"):
        measure(replace(job, access="labels"))
    with pytest.raises(SettingError, match="a budget of 1 queries"):
        measure(replace(job, budget=1))
    with pytest.raises(DataError, match="expected at least 40"):
        measure(replace(job, others=job.others.subset(np.arange(30))))
    x, y = job.members.batch(np.arange(50))
    same = x.numpy().copy()
    same[:, 0], same[:, 1] = 1, same[:, 1] / 2
    with pytest.raises(DataError, match="all 50 members have one value of smoker"):
        measure(replace(job, members=from_arrays(same, y.numpy())))
    with pytest.raises(DataError, match="200 of 200 examples of set 1 are also in set 1"):
        measure(replace(job, others=job.members))
