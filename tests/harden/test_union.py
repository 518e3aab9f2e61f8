"""Training against several threats, and against changes that are no ball."""

import pytest
import torch
from torch import nn

from quintain.core.errors import SettingError
from quintain.data import from_arrays
from quintain.harden import PGDTraining, UnionTraining
from quintain.harden.pgd import worst_points
from quintain.harden.union import UnionLoss
from quintain.harden.validation import RobustValidation
from quintain.models.adapters import forward_logits
from quintain.testing import random_inputs
from quintain.threats import parse
from quintain.training.objective import StepContext


def a_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


@pytest.fixture
def batch():
    x = random_inputs(12, 1, 8, 8, seed=1).float()
    return x, torch.arange(12) % 3, StepContext.at(0, 10, ids=torch.arange(12), seed=0)


def losses(net, x, y):
    return nn.functional.cross_entropy(forward_logits(net, x), y, reduction="none")


def test_each_example_is_trained_on_at_the_worst_of_its_threats(batch):
    x, y, context = batch
    net, threats = a_net(), ("linf:0.02", "l2:0.3", "l1:1")
    defense = UnionTraining(threats[0], also=threats[1:], steps=10)
    worst = losses(net, UnionLoss(defense)._worst_points(net, x, y, context), y)
    alone = torch.stack(
        [losses(net, worst_points(PGDTraining(one, steps=10), net, x, y, context), y) for one in threats]
    )
    # other random starts, and the same nearly linear maxima
    assert (worst >= alone.amax(0) - 0.05).all()
    assert len(set(alone.argmax(0).tolist())) > 1
    assert all((worst > one + 0.01).any() for one in alone)


def test_every_point_lies_in_one_of_the_threats(batch):
    x, y, context = batch
    net, balls = a_net(), [parse("linf:0.02"), parse("l2:0.3")]
    found = UnionLoss(UnionTraining(balls[0], also=(balls[1],)))._worst_points(net, x, y, context)
    inside = [(ball.project(found, x) - found).flatten(1).abs().amax(1) == 0 for ball in balls]
    assert (inside[0] | inside[1]).all()


@pytest.mark.parametrize("spec", ["patch:area=10%", "light:0.3", "color:brightness=0.3", "spatial:shift=1"])
def test_training_searches_the_parameters_of_changes_that_are_no_ball(spec, batch):
    x, y, context = batch
    net, defense = a_net(), PGDTraining(spec)
    found = worst_points(defense, net, x, y, context)
    assert losses(net, found, y).mean() > losses(net, x, y).mean()
    assert found.min() >= 0
    assert found.max() <= 1
    if spec.startswith("patch"):
        changed = (found != x).flatten(1).sum(1)
        assert changed.max() <= 4  # a square of 2 x 2


def test_threats_that_are_none_are_refused():
    with pytest.raises(SettingError, match="threat = negative; expected one of linf, l2"):
        UnionTraining("linf:4/255", also=("negative",))


def test_an_inner_attack_that_does_not_fit_is_refused_with_those_that_do():
    with pytest.raises(SettingError, match=r"for patch: (.*, )?pgd") as raised:
        PGDTraining("patch:area=3%", inner="apgd")
    assert "or apgd" not in str(raised.value)


def test_validation_counts_what_resists_in_every_threat():
    net, x = a_net(), random_inputs(40, 1, 8, 8, seed=4).float()
    data = from_arrays(x.numpy(), forward_logits(net, x).argmax(1).numpy(), num_classes=3)
    weak, strong = parse("linf:0.0001"), parse("linf:0.2")

    def robust(*threats):
        return RobustValidation(data, threats[0], also=threats[1:])(net, 0, ()).robust

    assert robust(weak) > robust(strong)
    assert robust(weak, strong) == robust(strong, weak) == robust(strong)
    assert repr(RobustValidation(data, weak)) != repr(RobustValidation(data, weak, also=(strong,)))
