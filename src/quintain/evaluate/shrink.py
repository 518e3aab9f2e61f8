"""The smallest change on the way to a break: bisection between the clean example and the point that breaks it."""

import torch
from torch import Tensor

from quintain.attacks.goal import Goal
from quintain.attacks.outcome import Model
from quintain.threats.ball import Ball, contains

STEPS = 10
"""Halvings: the size is then found to a thousandth of the segment."""


@torch.inference_mode()
def shrunk(model: Model, x: Tensor, y: Tensor, z: Tensor, threat: Ball, *, targets: Tensor | None = None) -> Tensor:
    r"""Sizes (B,) float64 of the smallest change found that still breaks, on the segment from ``x`` to ``z``.

    .. math:: \min \{\, size(x + t (z - x)) : t \in [0, 1],\; f(x + t (z - x)) \text{ is a break} \,\} \text{, by bisection over } t

    Each example costs ``STEPS + 1`` questions, the last of them for the check of the point that is believed.

    Args:
        model: Gives logits (B, K).
        x: Clean inputs (B, *S).
        y: True classes (B,).
        z: Points that break the model (B, *S).
        threat: Measures; its box holds.
        targets: The class to be answered (B,); any wrong one if not given.
    """
    goal, rows = Goal(y, targets), torch.arange(len(x), device=x.device)
    low, high = torch.zeros(len(x), dtype=torch.float64, device=x.device), torch.ones(len(x), dtype=torch.float64, device=x.device)

    def point(part: Tensor) -> Tensor:
        return (x + part.to(x.dtype).view(-1, *[1] * (x.dim() - 1)) * (z - x)).clamp(threat.low, threat.high)

    for _ in range(STEPS):
        middle = (low + high) / 2
        reached = goal.reached(model(point(middle)), rows)
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    found = point(high)
    holds = goal.reached(model(found), rows) & (high < 1) & contains(threat, found, x)
    whole = threat.measure(z, x)
    return torch.where(holds, torch.minimum(threat.measure(found, x), whole), whole)
