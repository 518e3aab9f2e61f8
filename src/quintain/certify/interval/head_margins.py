"""Margins of logits: bounded through the last linear layer, whose rows are merged into margins."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quintain.certify.interval.domain import Interval, loses_squares
from quintain.certify.rounding import RoundingModel
from quintain.core.errors import ModelError


def as_logits(value: Any) -> Interval:
    """Return the interval of logits, or of what the head makes them of, as (B, K).

    Raises:
        ModelError: If it is of another shape, or is none.
    """
    if isinstance(value, Interval) and value.center.ndim == 1:
        value = value.reshape(lambda logit: logit[:, None])  # one logit an example, (B,)
    if not isinstance(value, Interval) or value.center.ndim != 2:
        got = f"{value.center.ndim} dimensions" if isinstance(value, Interval) else type(value).__name__
        raise ModelError(
            f"the net does not return a tensor of logits (B, K); got {got}: interval bounds need logits"
        )
    return value


def margins_through_head(head: nn.Linear, interval: Interval, y: Tensor, rounding: RoundingModel) -> Tensor:
    r"""Bound margins through the last linear layer, by its difference of rows.

    This is the elision of the last layer of Gowal et al., 2018, arXiv:1810.12715.

    .. math:: \min_h\, (w_y - w_j) h + (b_y - b_j) = (w_y - w_j) c + (b_y - b_j) - |w_y - w_j|\, r

    less the rounding of each of the two logits.
    """
    weight = head.weight.to(interval.center.dtype)
    bias = weight.new_zeros(len(weight)) if head.bias is None else head.bias.to(weight.dtype)
    if len(weight) == 1:
        weight, bias = F.pad(weight, (0, 0, 1, 0)), F.pad(bias, (1, 0))
    true = weight[y]

    def margin_of(logits: Tensor) -> Tensor:
        return logits.gather(1, y[:, None]) - logits

    # One class j at a time: (B, F) memory instead of (B, K, F).
    def weighted_sums(power: int, values: Tensor) -> Tensor:
        return torch.stack([((true - row).abs() ** power * values).sum(1) for row in weight], 1)

    # the box: exact difference of the two rows at the center, less its largest change over the radius
    bound = margin_of(F.linear(interval.center, weight, bias)) - weighted_sums(1, interval.radius)
    if interval.ellipsoid is not None:
        # the ellipsoid: the dual norm of the difference, with what products of squares may lose, as a layer's
        ball, lost = interval.ellipsoid, torch.finfo(weight.dtype).tiny * weight.shape[1]
        dual_norm = (weighted_sums(2, ball.semi_axes.square()) + lost).sqrt()
        differences = weight[:, None] - weight
        if rounding.inexact and (loses_squares(ball.semi_axes) or loses_squares(differences)):
            dual_norm = torch.full_like(dual_norm, torch.inf)
        bound = torch.maximum(
            bound,
            margin_of(F.linear(ball.center, weight, bias)) - dual_norm - weighted_sums(1, ball.error_radius),
        )
    if rounding.inexact:
        # the model rounds each logit for itself: the true one's error and the other's
        magnitude = interval.magnitude
        sizes = F.linear(magnitude, weight.abs(), bias.abs())
        slack = rounding.error_bound(weight.shape[1] + 1, sizes, magnitude.amax(1, keepdim=True))
        bound = bound - slack - slack.gather(1, y[:, None])
    return bound.masked_fill(true_class_mask(y, len(weight)), 0.0)


def true_class_mask(y: Tensor, num_classes: int) -> Tensor:
    """Return the mask (B, K) of the true class."""
    return F.one_hot(y, num_classes).bool()
