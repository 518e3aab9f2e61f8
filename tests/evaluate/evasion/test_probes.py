"""Questions that are asked of a model apart from the attacks."""

import pytest
import torch

from quintain.evaluate.evasion.probes import whole_box_threat
from quintain.threats import L2, Linf, parse


def test_the_unlimited_ball_holds_the_whole_box():
    x = torch.tensor([[0.0, 0.2, 1.0], [0.5, 0.5, 0.5]])
    assert whole_box_threat(Linf(0.1), x).eps == pytest.approx(1.0)
    assert whole_box_threat(L2(0.1), x).eps == pytest.approx(float(torch.tensor([1.0, 0.8, 1.0]).norm()))
    assert whole_box_threat(parse("negative"), torch.zeros(1, 1, 2, 2)) is None
