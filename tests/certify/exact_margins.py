"""Exact least margins of tiny nets of one hidden ReLU layer over a box, enumerated in rational numbers."""

from fractions import Fraction
from itertools import combinations

import torch
from torch import Tensor, nn

Point = tuple[Fraction, Fraction]


def tiny_net(seed: int, hidden: int = 5, classes: int = 3) -> nn.Sequential:
    """A net of two inputs and one hidden layer, with normal weights."""
    net = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, classes)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.empty_like(parameter).normal_(generator=generator))
    return net


def exact_least_margin(net: nn.Sequential, x: Tensor, y: int, eps: float) -> tuple[Fraction, Point]:
    """Return the least margin of class ``y`` over the Linf ball of ``x`` (2,) in [0, 1], and where it is.

    A net is affine in each cell of its activation patterns, so that its least difference of two logits over a
    box lies at a corner of a cell: where two lines meet, of those at which a unit is 0 and of the sides.
    """
    first, last = ([list(map(Fraction, row)) for row in net[layer].weight.tolist()] for layer in (0, 2))
    bias, last_bias = (list(map(Fraction, net[layer].bias.tolist())) for layer in (0, 2))
    half, one, zero = Fraction(eps), Fraction(1), Fraction(0)
    sides = [(max(c - half, zero), min(c + half, one)) for c in map(Fraction, x.tolist())]
    # lines a0 z0 + a1 z1 + b = 0
    lines = [(row[0], row[1], b) for row, b in zip(first, bias, strict=True)]
    lines += [(one, zero, -end) for end in sides[0]]
    lines += [(zero, one, -end) for end in sides[1]]
    best: tuple[Fraction, Point] | None = None
    for (a0, a1, a2), (b0, b1, b2) in combinations(lines, 2):
        determinant = a0 * b1 - a1 * b0
        if not determinant:
            continue
        point = (a1 * b2 - a2 * b1) / determinant, (a2 * b0 - a0 * b2) / determinant
        if not all(low <= c <= high for c, (low, high) in zip(point, sides, strict=True)):
            continue
        units = [max(w0 * point[0] + w1 * point[1] + b, zero) for w0, w1, b in lines[: len(first)]]
        logits = [
            sum((w * u for w, u in zip(row, units, strict=True)), b)
            for row, b in zip(last, last_bias, strict=True)
        ]
        margin = min(logits[y] - logit for j, logit in enumerate(logits) if j != y)
        if best is None or margin < best[0]:
            best = margin, point
    assert best is not None
    return best
