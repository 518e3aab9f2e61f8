import sys
from types import FrameType

import torch
from torch import nn

import quintain as q


def calls(steps: int) -> int:
    """How many Python functions run in an attack of so many steps on a small convolutional net, which nothing
    breaks.
    """
    layers = [
        nn.Conv2d(1, 4, 3, 1, 1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, 1, 1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    net[-1].bias.data[0] = 50.0
    model, x, y = q.Classifier(net, num_classes=3), torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)
    count = 0

    def counted(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        outcome = q.attacks.PGD(steps=steps)(model, x, y, q.Linf(0.1))
    finally:
        sys.setprofile(before)
    assert not outcome.success.any()
    return count


def test_a_step_runs_about_a_hundred_python_functions_at_most() -> None:
    calls(1)
    assert calls(30) - calls(10) < 20 * 110  # releases of torch differ by a few
