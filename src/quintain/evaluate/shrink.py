"""The smallest change on the way to a break: bisection between the clean example and the point that breaks it."""

import torch
from torch import Tensor

from quintain.attacks.goal import Goal
from quintain.attacks.minimum_norm.refinement import bisect_to_boundary
from quintain.attacks.outcome import Model
from quintain.attacks.search import Search
from quintain.threats.rng import example_rng
from quintain.threats.threat import Threat


def shrunk(model: Model, x: Tensor, y: Tensor, z: Tensor, threat: Threat, *, targets: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Sizes (B,) float64 of the smallest change found that still breaks, on the segment from ``x`` to ``z``; and the questions (B,).

    .. math:: \min \{\, size(x + t (z - x)) : t \in [0, 1],\; f(x + t (z - x)) \text{ is a break} \,\} \text{, by bisection over } t

    The point that is believed is asked about once more; where it does not hold, the size is that of ``z``.

    Args:
        model: Gives logits (B, K).
        x: Clean inputs (B, *S).
        y: True classes (B,).
        z: Points that break the model (B, *S).
        threat: Measures; its box holds.
        targets: The class to be answered (B,); any wrong one if not given.
    """
    search = Search(model, x, Goal(y, targets), threat, example_rng(x, 0), name="bisection", minimum_norm=True)
    rows = search.active_rows
    search.query(z[rows], rows)
    bisect_to_boundary(search, rows)
    outcome, whole = search.outcome(), threat.measure(z, x)
    return torch.where(outcome.success, torch.minimum(outcome.size, whole), whole), outcome.forwards
