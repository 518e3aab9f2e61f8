"""Looks at a net in training: what they measure, which weights they keep, and when they stop it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from quintain.attacks import PGD
from quintain.certify import IntervalBounds
from quintain.core.errors import SettingError
from quintain.data.dataset import from_arrays
from quintain.harden import FastTraining, GaussianAugmentation, IBPTraining, PGDTraining, fit
from quintain.harden.validation import RobustValidation, overfitting
from quintain.models import Classifier
from quintain.threats import Linf
from quintain.training import Recipe, ValidationPoint

SHORT = Recipe(epochs=4, batch_size=32, learning_rate=2e-2)


def squares(count=160, seed=0, noise=0.35):
    """Pictures that are bright on the left or on the right, under noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    images = 0.2 + noise * generator.random((count, 4, 4))
    images[labels == 0, :, :2] += 0.2
    images[labels == 1, :, 2:] += 0.2
    return from_arrays(images.clip(0, 1).astype(np.float32), labels)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))


def accuracy_under(model, data, threat):
    x, y = data.batch(np.arange(len(data)))
    outcome = PGD(steps=20)(Classifier(model.eval()), x, y, threat)
    return 1 - outcome.success.double().mean().item()


def test_accuracies_are_those_of_an_attack_and_of_bounds():
    model, data, threat = net(), squares(), Linf(0.04)
    fit(model, data, PGDTraining(threat, SHORT))
    found = RobustValidation(data, threat)(model, 5, ())
    x, y = data.batch(np.arange(len(data)))
    assert found.clean == (model(x).argmax(1) == y).double().mean().item()
    assert found.robust == pytest.approx(accuracy_under(model, data, threat), abs=0.03)
    assert found.robust < found.clean
    proven = RobustValidation(data, threat, by_bounds=True)(model, 5, ())
    certified = IntervalBounds()(Classifier(model), x, y, threat).certified.double().mean().item()
    assert proven == ValidationPoint(5, found.clean, None, certified)


def test_the_run_ends_with_the_weights_that_resisted_best():
    model, data, other = net(), squares(64), squares(200, seed=1)
    plan = PGDTraining(Linf(0.05), Recipe(epochs=6, batch_size=32, learning_rate=0.1, schedule="constant"))
    done = fit(model, data, plan, validation=other, seed=3)
    robust = [point.robust for point in done.points]
    assert [point.step for point in done.points] == [2, 4, 6, 8, 10, 12]
    # it overfits: the best epoch is not the last
    assert done.best is not None
    assert done.best.robust == max(robust) > robust[-1]
    look = RobustValidation(other, Linf(0.05))
    assert look(model, 0, ()).robust == max(robust)
    model.load_state_dict(done.last)
    assert look(model, 0, ()).robust == robust[-1]


def test_bounds_choose_where_they_are_trained():
    model, data = net(), squares(64)
    plan = IBPTraining(Linf(0.02), Recipe(epochs=2, batch_size=32, learning_rate=1e-2))
    done = fit(model, data, plan, validation=squares(50, seed=1))
    assert all(point.certified is not None and point.robust is None for point in done.points)


@pytest.mark.parametrize(
    ("robust", "one_step", "best", "alarm"),
    [
        (0.5, 0.6, 0.6, ""),
        (0.0, 0.29, 0.1, ""),
        (0.3, 0.61, 0.3, "61.0% after one step of an attack and 30.0% after ten"),
        (0.3, 0.4, 0.51, "fell from 51.0% to 30.0%"),
    ],
)
def test_overfitting_shows_by_a_gap_or_by_a_fall(robust, one_step, best, alarm):
    before = (ValidationPoint(1, 0.9, best), ValidationPoint(2, 0.9, 0.0))
    assert alarm in overfitting(robust, one_step, before)
    assert bool(overfitting(robust, one_step, before)) == bool(alarm)


def test_a_training_that_overfits_goes_back_to_its_last_good_weights(monkeypatch, tmp_path):
    """The looks are made to see, at the fourth, what overfitting looks like."""
    real, states = RobustValidation.__call__, []

    def looking(self, model, step, before):
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        found = real(self, model, step, before)
        robust = [0.3, 0.5, 0.4, 0.1][len(before)]
        return ValidationPoint(step, found.clean, robust, None, overfitting(robust, robust, before))

    monkeypatch.setattr(RobustValidation, "__call__", looking)
    model, path, data = net(), tmp_path / "c.safetensors", squares(64)
    plan = FastTraining(Linf(0.05), replace(SHORT, epochs=5))
    done = fit(model, data, plan, checkpoint=path)
    assert done.steps == 8
    assert "training stopped after step 8: catastrophic overfitting" in done.stopped
    assert done.stopped.endswith("the weights are those after step 4")
    assert all(torch.equal(value, states[1][name]) for name, value in model.state_dict().items())
    assert len(done.losses) == 4
    # it stays stopped
    again = net()
    assert fit(again, data, plan, checkpoint=path) == done
    assert len(states) == 4
    assert all(torch.equal(value, states[1][name]) for name, value in again.state_dict().items())


def test_fast_training_that_goes_well_ends_with_its_last_weights():
    done = fit(net(), squares(64), FastTraining(Linf(0.02), SHORT))
    assert not done.stopped
    assert done.last is None
    assert len(done.points) == 4


def test_noise_training_has_no_early_stopping():
    with pytest.raises(SettingError, match="leave validation out"):
        fit(net(), squares(64), GaussianAugmentation(0.25, SHORT), validation=squares(20))
