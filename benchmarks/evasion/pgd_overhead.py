"""Compare PGD with a bare loop of the same steps: its time, and the Python functions that a step calls."""

import sys
from collections.abc import Callable, Iterator
from types import FrameType

import torch
from torch import Tensor, nn
from torch.nn import functional

import quintain as q
from benchmarks.evasion.shared import lenet, mnist
from benchmarks.harness import Comparison, TimedComparison, compare_times

STEPS, BATCH, EPS = 40, 256, 0.3


def bare_loop(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Run PGD's steps alone: forward, backward, sign and clamp."""
    low, high = (x - EPS).clamp(min=0), (x + EPS).clamp(max=1)
    z = torch.lerp(low, high, torch.rand_like(x))
    for _ in range(STEPS):
        z.requires_grad_()
        (gradient,) = torch.autograd.grad(functional.cross_entropy(net(z), y, reduction="sum"), z)
        z = (z.detach() + EPS / 10 * gradient.sign()).clamp(low, high)
    with torch.no_grad():
        net(z)
    return z


def count_python_calls(work: Callable[[], object]) -> int:
    """Return how many Python functions a piece of work calls."""
    count = 0

    def watch(frame: FrameType, event: str, value: object) -> None:  # noqa: ARG001
        nonlocal count
        count += event == "call"

    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def run() -> Iterator[TimedComparison | Comparison]:
    """Attack examples that PGD does not break, so that both do the same work to the end."""
    torch.set_num_threads(1)
    net, data, threat = lenet("adv"), mnist(), q.Linf(EPS)
    x, y = data.batch(torch.arange(2 * BATCH))
    unbroken = (~q.attacks.PGD(STEPS)(net, x, y, threat).success).nonzero().squeeze(1)[:BATCH]
    x, y = x[unbroken], y[unbroken]
    yield compare_times(
        f"PGD-{STEPS} against the bare loop, LeNet, {len(x)} MNIST digits, 1 thread",
        lambda: q.attacks.PGD(STEPS)(net, x, y, threat),
        lambda: bare_loop(net, x, y),
        rounds=9,
    )
    few, label = x[:8], y[:8]
    models = {"net": net, "Classifier": q.Classifier(net, num_classes=10)}
    counts = []
    for name, model in models.items():
        short, long = (
            count_python_calls(lambda: q.attacks.PGD(steps)(model, few, label, threat))  # noqa: B023
            for steps in (STEPS // 2, STEPS)
        )
        by_model = count_python_calls(lambda: model(few))  # noqa: B023
        counts.append(
            f"{(long - short) / (STEPS - STEPS // 2):.0f} with a {name}, of which the model's own {by_model}"
        )
    yield Comparison("Python calls a step of PGD", "; ".join(counts))
