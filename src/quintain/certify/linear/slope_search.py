"""The optimization of slopes and multipliers by Adam, and the scores of ReLUs to split by."""

import torch
from torch import Tensor

SLOPE_STEP, MULTIPLIER_STEP = 0.2, 0.3
"""First step sizes; for multipliers relative to the mean magnitude of the rows over the ReLU's layer."""

DECAY = 0.9
"""Factor on the step sizes after each step."""


def adam_direction(gradient: Tensor, first: Tensor, second: Tensor, step: int) -> Tensor:
    """Return the direction of Adam's step toward a maximum, with a length that falls from step to step.

    Args:
        gradient: Gradient of the bound.
        first, second: Running means of gradients and of their squares, zeros at first; updated in place.
        step: Number of the step, from 1 on.

    Source: Kingma and Ba, 2015, arXiv:1412.6980.
    """
    first.lerp_(gradient, 0.1)
    second.lerp_(gradient.square(), 0.001)
    unbiased = (second / (1 - 0.999**step)).sqrt() + 1e-12
    return DECAY**step * first / (1 - 0.9**step) / unbiased


def relaxation_loss(rows: Tensor, slopes: Tensor, steep: Tensor, intercept: Tensor) -> Tensor:
    """Return how much each row may lose (N, m) by the linear relaxation of each of m ReLUs.

    Args:
        rows: Rows over the values of the ReLUs (N, m).
        slopes: Slopes of their lower lines, which go through 0 (N, m).
        steep, intercept: Slopes and intercepts of their upper lines (m,).

    Source: Bunel et al., 2020, arXiv:1909.06588 (scores of ReLUs).
    """
    # a positive coefficient loses the gap between ReLU and its lower line, which is largest at one end of the
    # ReLU's input; at the ends the upper line meets the ReLU: -intercept / steep and intercept / (1 - steep)
    below = torch.minimum(slopes * intercept / steep, (1 - slopes) * intercept / (1 - steep))
    # a negative coefficient loses up to the intercept of the upper line, at 0
    return rows.clamp(max=0).abs() * intercept + rows.clamp(min=0) * below
