"""The measurement of extraction, on a small model that is copied from its answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import DataError, SettingError
from quintain.data import from_arrays
from quintain.evaluate.leaks.agreement import measure, split
from quintain.evaluate.leaks.goals import MEASURES
from quintain.evaluate.leaks.job import LeakJob, LeakTarget
from quintain.leakage.extraction.active import ActiveExtraction
from quintain.leakage.extraction.knockoff import Knockoff
from quintain.leakage.extraction.student import Student
from quintain.models import BlackBox, Classifier, mlp
from quintain.training import Recipe, fit

QUICK = Student(min_steps=100, min_epochs=2, learning_rate=1e-2)
NOISE = 0.3


def examples(count, seed, classes=2):
    """Labels that follow a line, of which many are wrong, so that trainings differ."""
    rng = np.random.default_rng(seed)
    x = rng.random((count, 6), dtype=np.float32)
    y = (x[:, 0] + x[:, 1] > 1).astype(int)
    return from_arrays(
        x, np.where(rng.random(count) < NOISE, 1 - y, y), num_classes=classes, name=f"set {seed}"
    )


def build(seed):
    return mlp(2, 6, 1, seed=seed)


def train(net, data, seed):
    fit(net, data, Recipe(epochs=60, batch_size=20, learning_rate=1e-2), seed=seed)


@pytest.fixture(scope="module")
def job():
    members = examples(100, 1)
    net = build(0)
    train(net, members, 0)
    return LeakJob(
        LeakTarget(Classifier(net), "plain", build=build, train=train),
        (Knockoff(student=QUICK),),
        members,
        examples(600, 2),
        budget=350,
    )


@pytest.mark.exhaustive
def test_a_copy_is_measured_by_queries_beside_the_same_net_on_true_labels(job):
    assert MEASURES["agreement"] is measure
    found = measure(job)
    names = [one.measure for one in found.measurements]
    assert names == ["agreement", "Cohen's kappa", "agreement where two trainings differ"]
    whole, kappa, differ = found.measurements
    assert (whole.attack, whole.goal, whole.access, whole.model) == (
        "knockoff",
        "agreement",
        "scores",
        "plain",
    )
    assert (whole.count, whole.queries, whole.unit) == (200, 350, "example")
    assert [point.x for point in whole.curve] == [100, 300, 350]
    assert whole.curve[-1].y == whole.value
    assert whole.low < whole.value < whole.high
    assert whole.baseline_name == "the same net, trained on as many true labels"
    # the copy has this target's own mistakes, which the true labels do not
    assert whole.gain > 0
    assert differ.gain > 0
    assert differ.count < 100
    assert -1 <= kappa.low < kappa.value <= kappa.high <= 1
    assert found == measure(job)


def test_labels_of_a_black_box_are_copied_and_only_by_what_needs_no_more(job):
    net = job.target.model.net

    def predict(x):
        with torch.no_grad():
            return net(torch.from_numpy(x)).argmax(1).numpy()

    box = BlackBox(predict, access="labels", num_classes=2)
    seen = replace(job, target=LeakTarget(box, "endpoint"), budget=50)
    found = measure(seen)
    assert found.measurements[0].access == "labels"
    assert "not known" in found.notes[0]
    with pytest.raises(
        SettingError, match="active-extraction needs scores of the model; the attacker sees labels"
    ):
        measure(replace(seen, attacks=(ActiveExtraction(student=QUICK),)))


def test_notes_say_what_was_not_measured(job):
    class Constant(nn.Module):
        def forward(self, x):
            return torch.stack([x.sum(1) * 0 + 1, x.sum(1) * 0], 1)

    found = measure(replace(job, target=LeakTarget(Classifier(Constant().eval()), "constant"), budget=10_000))
    assert "There were 400 public examples" in found.notes[0]
    assert "predicts class 0 on all" in found.notes[1]
    assert found.measurements[0].baseline == 1
    assert found.measurements[0].queries == 400


def test_held_out_and_public_examples_are_apart(job):
    public, held_out = split(job.others, seed=3)
    both = np.concatenate([public.batch(np.arange(400))[0], held_out.batch(np.arange(200))[0]])
    assert len(np.unique(both, axis=0)) == 600
    assert split(job.others, seed=3)[0].hash == public.hash
    assert split(job.others, seed=4)[0].hash != public.hash


def test_bad_input_is_refused(job):
    x, y = job.members.batch(np.arange(10))
    with pytest.raises(DataError, match="10 of 10 examples of arrays are also in set 1"):
        measure(replace(job, others=from_arrays(x.numpy(), y.numpy())))
    with pytest.raises(DataError, match=r"examples of shape \(6,\), arrays of \(5,\)"):
        measure(replace(job, others=from_arrays(np.ones((9, 5), np.float32), np.arange(9) % 2)))
    with pytest.raises(DataError, match="all 9 examples of arrays are of class 0"):
        measure(replace(job, others=from_arrays(np.ones((9, 6), np.float32), np.zeros(9, int))))
    with pytest.raises(DataError, match="expected at least 3"):
        measure(replace(job, others=from_arrays(np.ones((2, 6), np.float32), np.arange(2))))
    with pytest.raises(DataError, match="has labels up to 2; expected at most 1"):
        measure(replace(job, others=from_arrays(np.ones((9, 6), np.float32), np.arange(9) % 3)))
    with pytest.raises(SettingError, match="budget = 0"):
        measure(replace(job, budget=0))
