"""Measure the share of an attack's time that the model's own forward and backward passes take."""

import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import quintain as q
from benchmarks.evasion.shared import lenet, mnist
from benchmarks.harness import Comparison

THREAT = q.Linf(0.3)
IMAGES = 100


class TimedNet(nn.Module):
    """A net that adds up the seconds of its forward passes, and of the backward passes through it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.seconds = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return self.time_call(self.net, x)

    def time_call(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        """Call it, and add the seconds that it took."""
        clock = time.perf_counter()
        result = work(*args, **kwargs)
        self.seconds += time.perf_counter() - clock
        return result


def run() -> Iterator[Comparison]:
    """Time each attack on the same images."""
    x, y = mnist().batch(torch.arange(IMAGES))
    attacks = {
        "APGD on the cross-entropy": q.attacks.APGD(),
        "APGD towards nine classes": q.attacks.APGD(loss="dlr", target_classes=9),
        "FAB": q.attacks.FAB(target_classes=3),
        "Square": q.attacks.Square(),
    }
    grad = torch.autograd.grad
    for name, attack in attacks.items():
        net = TimedNet(lenet("adv")).eval()
        clock = time.perf_counter()
        with mock.patch("torch.autograd.grad", lambda *a, net=net, **k: net.time_call(grad, *a, **k)):
            outcome = attack(q.Classifier(net), x, y, THREAT, seed=0)
        total = time.perf_counter() - clock
        yield Comparison(
            f"{name}, {IMAGES} images, {THREAT.spec}",
            f"{100 * net.seconds / total:.0f} % of {total:.1f} s in the model; "
            f"{int((~outcome.success).sum())} unbroken",
        )
