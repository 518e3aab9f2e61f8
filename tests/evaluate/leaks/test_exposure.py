"""The measurement of memorization: a net that learns all by heart exposes its canaries, another does not."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from quintain.core.errors import DataError, SettingError
from quintain.data import from_arrays
from quintain.evaluate.leaks.exposure import measure
from quintain.evaluate.leaks.goals import MEASURES
from quintain.evaluate.leaks.job import LeakJob, LeakTarget
from quintain.leakage.memorization.calibrated import CalibratedCanaryLoss
from quintain.leakage.memorization.canary_loss import CanaryLoss
from quintain.models import Classifier
from quintain.models.nets import initialize
from quintain.training import Recipe, fit


def examples(count, seed):
    x = np.random.default_rng(seed).random((count, 12), dtype=np.float32)
    return from_arrays(x, (x[:, 0] > 0.5).astype(int), num_classes=2, name=f"set {seed}")


def build(seed):
    return initialize(nn.Sequential(nn.Linear(12, 200), nn.ReLU(), nn.Linear(200, 2)), seed)


def train(net, data, seed):
    fit(net, data, Recipe(epochs=80, batch_size=20, learning_rate=1e-2), seed=seed)


class LoggedTraining:
    """A training that writes a line to a file each time."""

    def __init__(self, log):
        self.log = log

    def __call__(self, net, data, seed):
        with open(self.log, "a") as file:
            file.write(f"{seed}\n")
        train(net, data, seed)


@pytest.fixture(scope="module")
def job():
    members = examples(400, 1)
    return LeakJob(
        LeakTarget(Classifier(build(0).eval(), num_classes=2), "plain", build=build, train=train),
        (CalibratedCanaryLoss(), CanaryLoss()),
        members,
        examples(400, 2),
    )


@pytest.mark.exhaustive
def test_canaries_that_a_net_learned_by_heart_are_exposed(job, tmp_path):
    assert MEASURES["exposure"] is measure
    log, kept = tmp_path / "log", tmp_path / "kept"
    job = replace(job, unfinished=kept, target=replace(job.target, train=LoggedTraining(str(log))))
    found = measure(job)
    mean, before, plain, _ = found.measurements
    assert (mean.count, mean.unit, mean.queries, mean.access) == (20, "canary", 1, "scores")
    assert mean.low > mean.baseline
    # among patterns that any net takes for their class, the loss alone hides them
    assert mean.value > plain.value + 1
    assert mean.ceiling is None
    assert before.low > before.baseline
    assert "20 canaries" in found.notes[0]
    # a run that goes on trains nothing again, unless it is told to train otherwise
    (weights,) = kept.iterdir()
    assert weights.stat().st_mode & 0o777 == 0o600
    trainings = len(log.read_text().splitlines())
    assert measure(job) == found
    assert len(log.read_text().splitlines()) == trainings
    measure(replace(job, target=replace(job.target, train=LoggedTraining(str(tmp_path / "other")))))
    assert (tmp_path / "other").read_text()


def test_a_training_that_never_saw_the_canaries_exposes_none(job):
    stranger = examples(420, 9)
    found = measure(
        replace(
            job,
            target=replace(
                job.target, train=lambda net, _data, seed: train(net, stranger, seed), epsilon=0.0, delta=0.0
            ),
        )
    )
    for one in found.measurements:
        assert one.low <= one.baseline <= one.high
        assert one.low <= one.ceiling
        assert one.ceiling == pytest.approx(one.baseline)


def test_bad_input_is_refused(job):
    with pytest.raises(SettingError, match="how plain was trained is not known"):
        measure(replace(job, target=replace(job.target, train=None)))
    with pytest.raises(DataError, match="199 members leave room for 9 canaries"):
        measure(replace(job, members=examples(199, 1)))
    with pytest.raises(SettingError, match="5 candidates; expected at least 10"):
        measure(replace(job, candidates=5))
    with pytest.raises(SettingError, match="needs scores of the model; the attacker sees labels"):
        measure(replace(job, access="labels"))
    one = from_arrays(np.ones((400, 12), np.float32), np.zeros(400, int))
    with pytest.raises(DataError, match="of class 0; expected at least two classes"):
        measure(replace(job, members=one))
