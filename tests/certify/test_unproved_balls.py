"""Balls that no certifier here has a proof for are refused by name, by every way in."""

import pytest
import torch
from torch import nn

from quintain.certify import IntervalBounds, SmoothedClassifier, largest_certified_radius
from quintain.core.errors import SettingError
from quintain.models.classifier import Classifier
from quintain.threats import L0, L1, Mask, Threat


@pytest.mark.parametrize(
    "threat", [L1(0.1), L0(1), Mask("disc", 0.1)], ids=lambda threat: type(threat).__name__
)
def test_a_ball_without_a_proof_is_refused_by_name(threat: Threat) -> None:
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval(), num_classes=2)
    x, y = torch.rand(3, 1, 4, 4), torch.zeros(3, dtype=torch.long)
    name = type(threat).__name__
    with pytest.raises(SettingError, match=f"know Linf and L2; got {name}"):
        IntervalBounds()(model, x, y, threat)
    with pytest.raises(SettingError, match=f"know Linf and L2; got {name}"):
        largest_certified_radius(IntervalBounds(), model, x, y, threat)
    with pytest.raises(SettingError, match=f"proves L2 balls; got {name}"):
        SmoothedClassifier(model, 0.25).certify(x, y, threat)
