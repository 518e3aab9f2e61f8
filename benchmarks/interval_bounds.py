"""Compare sound interval bounds, rounding included, with plain ones in float32, written out here."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

import quintain as q
from benchmarks.harness import TimedComparison, compare_times
from quintain.models.nets import xray_cnn

EPS = 4 / 255


def plain_interval_margins(net: nn.Sequential, x: Tensor, y: Tensor) -> Tensor:
    """Return lower margins (B,) of a two-class net by float32 intervals without a rounding term: no proof."""
    center, radius = x, torch.full_like(x, EPS)
    for layer in net[:-1]:
        if isinstance(layer, nn.Conv2d):
            center = layer(center)
            radius = nn.functional.conv2d(radius, layer.weight.abs(), None, layer.stride, layer.padding)
        elif isinstance(layer, nn.Linear):
            center, radius = layer(center), radius @ layer.weight.abs().T
        elif isinstance(layer, nn.ReLU):
            high, low = (center + radius).relu(), (center - radius).relu()
            center, radius = (high + low) / 2, (high - low) / 2
        else:
            center, radius = layer(center), layer(radius)
    last = net[-1]
    weight, bias = last.weight[y] - last.weight[1 - y], last.bias[y] - last.bias[1 - y]
    return (weight * center).sum(1) + bias - (weight.abs() * radius).sum(1)


def run() -> Iterator[TimedComparison]:
    """Compare times and certified accuracy."""
    data = q.load_data("xrays")
    net = xray_cnn()
    q.harden.fit(
        net, data.split("train"), q.harden.IBPTraining(q.Linf(EPS), q.training.Recipe(6, learning_rate=5e-3))
    )
    x, y = data.split("test").batch(torch.arange(624))
    model = q.Classifier(net, num_classes=2)

    def ours() -> Tensor:
        return q.certify.IntervalBounds()(model, x, y, q.Linf(EPS)).certified

    @torch.no_grad()
    def peer() -> Tensor:
        return plain_interval_margins(net, x, y) > 0

    notes = f"certified {ours().float().mean():.1%} ours, {peer().float().mean():.1%} plain"
    yield compare_times(
        "interval bounds in float64 with rounding, 624 X-rays, against float32 without",
        ours,
        peer,
        notes=notes,
    )
