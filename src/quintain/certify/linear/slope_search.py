"""The search for slopes and multipliers by Adam, and for the ReLU to split by: what both searches share."""

import torch
from torch import Tensor

SLOPE_STEP, MULTIPLIER_STEP = 0.2, 0.3
"""Sizes of steps; of multipliers relative to the rows' mean size over the ReLU's layer."""

DECAY = 0.9
"""Factor on these sizes after each step."""


def adam_direction(gradient: Tensor, first: Tensor, second: Tensor, step: int) -> Tensor:
    """Return the direction of Adam's step, for a maximum, by a size that falls from step to step.

    Args:
        gradient: Of the bound.
        first, second: The means of gradients and of their squares until now, zeros at first; updated.
        step: Its number, from 1 on.

    Source: Kingma and Ba, 2015, arXiv:1412.6980.
    """
    first.lerp_(gradient, 0.1)
    second.lerp_(gradient.square(), 0.001)
    unbiased = (second / (1 - 0.999**step)).sqrt() + 1e-12
    return DECAY**step * first / (1 - 0.9**step) / unbiased


def relaxation_loss(rows: Tensor, slopes: Tensor, steep: Tensor, intercept: Tensor) -> Tensor:
    """Return how much each row may lose where two lines stand for each of m ReLUs (N, m).

    Args:
        rows: Over the values of the ReLUs (N, m).
        slopes: Of their lower lines, through 0 (N, m).
        steep, intercept: Of their upper lines (m,).

    Source: Bunel et al., 2020, arXiv:1909.06588 (scores of ReLUs).
    """
    # a positive part loses what lies between ReLU and the lower line, at either end of what the ReLU is
    # given, where the upper line meets it: at -intercept / steep and at intercept / (1 - steep)
    below = torch.minimum(slopes * intercept / steep, (1 - slopes) * intercept / (1 - steep))
    # a negative part loses up to the intercept of the upper line, at 0
    return rows.clamp(max=0).abs() * intercept + rows.clamp(min=0) * below
