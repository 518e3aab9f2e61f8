"""The settings of a trade-off are trained and measured on validation examples, and one is chosen there."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import SettingError
from quintain.core.registry import declared_entries
from quintain.data import from_arrays
from quintain.evaluate import front
from quintain.evaluate.front import front_settings, try_settings
from quintain.evaluate.steps.harden import run_harden
from quintain.harden import GaussianAugmentation, IBPTraining, PGDTraining, fit
from quintain.threats import Linf, parse
from quintain.training import Recipe

SHORT = Recipe(epochs=2, batch_size=32, learning_rate=1e-2)


def squares(count=128, seed=0):
    """Pictures that are bright on the left or on the right, under noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    images = 0.25 + 0.2 * generator.random((count, 4, 4))
    images[labels == 0, :, :2] += 0.25
    images[labels == 1, :, 2:] += 0.25
    return from_arrays(images.astype(np.float32), labels)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))


@pytest.mark.parametrize(
    "name", [name for name, one in declared_entries("defense").items() if hasattr(one.load(), "front")]
)
def test_every_setting_of_a_front_is_one_of_the_defense(name):
    entry = declared_entries("defense")[name]
    defense = entry.build(threat=parse(entry.fact("example")), sigma=0.25)
    tried = front_settings(defense, None)
    assert len({repr(one.defense) for one in tried}) == len(tried) > 2
    # one of them is the default, or all lie around it
    values = [one.value for one in tried]
    assert values == sorted(values)
    assert all(one.checkpoint is None for one in tried)


def test_a_defense_without_a_trade_off_is_refused():
    with pytest.raises(SettingError, match="leave --front out"):
        front_settings(GaussianAugmentation(0.25), None)


def test_eps_is_that_of_the_training_and_not_of_what_is_measured(tmp_path):
    tried = front_settings(PGDTraining(Linf(0.1), SHORT, steps=5), tmp_path)
    assert [one.defense.threat.eps for one in tried] == pytest.approx([0.05, 0.075, 0.1, 0.125])
    assert all(one.defense.steps == 5 for one in tried)
    assert tried[1].checkpoint == tmp_path / "front-2.safetensors"
    assert tried[0].text == "eps ratio 0.5"


def test_points_are_measured_on_the_validation_examples_of_the_nets_that_were_trained():
    from quintain.attacks import PGD
    from quintain.certify import IntervalBounds
    from quintain.models import Classifier

    start, other, ball = net(), squares(100, seed=1), Linf(0.05)
    defense = IBPTraining(ball, SHORT)
    before = copy.deepcopy(start.state_dict())
    tried = front_settings(defense, None)[:2]
    points = try_settings(start, squares(), other, ball, tried, {"interval": IntervalBounds()}, seed=3)
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())
    trained = copy.deepcopy(start)
    fit(trained, squares(), tried[1].defense, seed=3)
    model = Classifier(trained)
    x, y = other.batch(np.arange(100))
    assert points[1].clean == (model.predict(x) == y).double().mean().item()
    assert points[1].certified == IntervalBounds()(model, x, y, ball).certified.double().mean().item()
    unbroken = 1 - PGD()(model, x, y, ball, seed=3).success.double().mean().item()
    assert points[1].certified <= points[1].unbroken == pytest.approx(unbroken)
    assert points[1].num_examples == 100
    assert [point.setting for point in points] == ["robust weight 0.2", "robust weight 0.4"]
    assert sum(point.is_chosen for point in points) == 1


@pytest.mark.parametrize(
    ("defense", "rows", "chosen"),
    [
        # (clean, unbroken, certified): the most certified, where bounds are trained
        (IBPTraining(Linf(0.1)), [(0.9, 0.8, 0.2), (0.8, 0.7, 0.6), (0.7, 0.6, 0.5)], 1),
        (PGDTraining(Linf(0.1)), [(0.9, 0.8, 0.2), (0.8, 0.7, 0.6), (0.7, 0.6, 0.5)], 0),
        # of equal ones the more accurate, then the first
        (PGDTraining(Linf(0.1)), [(0.8, 0.7, None), (0.9, 0.7, None), (0.9, 0.7, None)], 1),
        # where nothing certifies, what is unbroken
        (IBPTraining(Linf(0.1)), [(0.8, 0.6, None), (0.9, 0.7, None), (0.9, 0.5, None)], 1),
    ],
)
def test_one_is_chosen_by_what_the_defense_trains(monkeypatch, defense, rows, chosen):
    left = list(rows)

    def measure(_net, _examples, _threat, setting, *_more):
        clean, unbroken, certified = left.pop(0)
        return front.FrontPoint(setting.text, setting.value, clean, unbroken, certified, num_examples=10)

    monkeypatch.setattr(front, "_measure", measure)
    monkeypatch.setattr(front, "fit", lambda *_given, **_named: None)
    tried = front_settings(defense, None)[:3]
    points = try_settings(net(), squares(), squares(), defense.threat, tried, {}, seed=0)
    assert [point.is_chosen for point in points] == [number == chosen for number in range(3)]


def test_the_model_is_the_one_that_was_chosen_and_is_not_trained_again(tmp_path, monkeypatch):
    from quintain.evaluate.steps import harden

    trained = []
    real = fit

    def counting(net, data, defense, **named):
        trained.append(named["checkpoint"].name)
        return real(net, data, defense, **named)

    monkeypatch.setattr(front, "fit", counting)
    monkeypatch.setattr(harden, "fit", counting)
    settings = {"sigma": 0.25, "threat": Linf(0.05), "epochs": 1, "folder": tmp_path, "front": True}
    output = run_harden(
        net(),
        squares(),
        squares(40, seed=2),
        "trades",
        validation=squares(60, seed=1),
        unfinished=tmp_path / "unfinished",
        **settings,
    )
    points = output.result.front
    chosen = next(point for point in points if point.is_chosen)
    assert len(points) == 4
    assert trained[:4] == [f"front-{number}.safetensors" for number in (1, 2, 3, 4)]
    assert trained[4] == f"front-{points.index(chosen) + 1}.safetensors"
    said = f"{chosen.setting} was chosen among 4 settings on 60 validation examples"
    assert any(said in note for note in output.notes)
    assert f"beta {chosen.value:.4g}" in output.result.trainings[0].settings


def test_early_stopping_keeps_both_weights_and_says_so(tmp_path, monkeypatch):
    from quintain.harden.validation import RobustValidation
    from quintain.training import ValidationPoint

    def fall(_self, _net, step, before):
        return ValidationPoint(step, 0.9, 0.5 - 0.1 * len(before))

    monkeypatch.setattr(RobustValidation, "__call__", fall)
    output = run_harden(
        net(),
        squares(),
        squares(40, seed=2),
        "pgd-at",
        threat=Linf(0.05),
        sigma=0.25,
        inner="apgd",
        epochs=2,
        ema_decay=0.5,
        validation=squares(60, seed=1),
        early_stopping=True,
        folder=tmp_path,
    )
    (training,) = output.result.trainings
    assert [point.is_kept for point in training.points] == [True, False]
    assert [point.robust for point in training.points] == [0.5, 0.4]
    assert (tmp_path / "models/model-last.safetensors").read_bytes() != (
        tmp_path / "models/model.safetensors"
    ).read_bytes()
    assert any("the one after step 1 found the best weights" in note for note in output.notes)
    assert "inner apgd, steps 3" in training.settings


def test_weights_of_before_a_loss_that_is_no_number_are_in_a_file(tmp_path, monkeypatch):
    from quintain.core.errors import DivergedError
    from quintain.harden.pgd import PGDLoss

    real = PGDLoss.__call__
    monkeypatch.setattr(
        PGDLoss,
        "__call__",
        lambda self, net, x, y, context: (
            real(self, net, x, y, context) * (float("nan") if context.epoch else 1)
        ),
    )
    with pytest.raises(DivergedError, match=r"after step 1, in .*model-before\.safetensors$"):
        run_harden(
            net(), squares(), squares(40), "pgd-at", threat=Linf(0.05), sigma=0.25, epochs=2, folder=tmp_path
        )
    assert (tmp_path / "models/model-before.safetensors").exists()


@pytest.mark.parametrize("choice", ["front", "early_stopping"])
def test_nothing_is_chosen_without_validation_examples(tmp_path, choice):
    with pytest.raises(SettingError, match="validation is None"):
        run_harden(net(), squares(), squares(), "trades", sigma=0.25, folder=tmp_path, **{choice: True})


def test_an_inner_attack_is_refused_where_there_is_none(tmp_path):
    with pytest.raises(SettingError, match="trades has no inner attack; use it with pgd-at"):
        run_harden(net(), squares(), squares(), "trades", sigma=0.25, inner="apgd", folder=tmp_path)
    assert replace(PGDTraining(Linf(0.1)), steps=2).inner is None


def test_a_threat_without_eps_has_no_front_and_pixels_are_whole():
    with pytest.raises(SettingError, match="which patch:area=10% does not have; leave --front out"):
        front_settings(PGDTraining("patch:area=10%"), None)
    assert [one.defense.threat.eps for one in front_settings(PGDTraining("l0:3"), None)] == [2, 2, 3, 4]
