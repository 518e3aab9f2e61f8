"""The difference of logits ratio: a margin that does not change when all logits are scaled."""

import torch
from torch import Tensor

from quintain.losses.margin import margin

TIE_TOLERANCE = 1e-6
"""Below this fraction of the largest logit a spread is rounding noise, and the plain margin is taken."""


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    r"""Return the margin over the spread of the three largest logits, per example (B,).

    Positive means a wrong answer.

    .. math:: \frac{\max_{j \ne y} z_j - z_y}{z_{\pi_1} - z_{\pi_3}}

    with :math:`z_{\pi_1} \ge z_{\pi_2} \ge \dots`. With two classes there is no third logit, and where the
    three are tied the quotient is noise: there it is the margin.

    Args:
        logits: Scores (B, K), K at least 2.
        y: True classes (B,).

    Source: Croce and Hein, 2020, arXiv:2003.01690.
    """
    return margin(logits, y) / dlr_scale(logits)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    r"""Return the lead of one class over the true one, over a spread of the logits, per example (B,).

    The spread is one in which neither of the two classes makes the quotient constant.

    .. math:: \frac{z_t - z_y}{z_{\pi_1} - (z_{\pi_3} + z_{\pi_4}) / 2}

    With three classes the spread is :math:`z_{\pi_1} - (z_{\pi_2} + z_{\pi_3}) / 2`: over :math:`z_{\pi_1} -
    z_{\pi_3}` the lead of the last class would be -1 everywhere, without a gradient.

    Args:
        logits: Scores (B, K), K at least 2.
        y: True classes (B,).
        target: Classes to be raised over the true ones (B,).

    Source: Croce and Hein, 2020, arXiv:2003.01690.
    """
    lead = logits.gather(1, torch.stack((target, y), 1)) @ logits.new_tensor([1.0, -1.0])
    return lead / targeted_dlr_scale(logits)


def dlr_scale(logits: Tensor) -> Tensor:
    """Return the first minus third largest logit (B,); 1 with two classes, or where they are tied."""
    if logits.shape[1] < 3:
        return torch.ones_like(logits[:, 0])
    top = logits.topk(3, dim=1).values
    return _one_where_tied(top[:, 0] - top[:, 2], logits)


def targeted_dlr_scale(logits: Tensor) -> Tensor:
    """Return the first minus the mean of the third and fourth largest logits (B,).

    With three classes it is the mean of the second and third. The result is 1 where ``dlr_scale`` is 1.
    """
    classes = logits.shape[1]
    if classes < 3:
        return torch.ones_like(logits[:, 0])
    top = logits.topk(min(classes, 4), dim=1).values
    return _one_where_tied(top[:, 0] - top[:, -2:].mean(1), logits)


def _one_where_tied(distance: Tensor, logits: Tensor) -> Tensor:
    # ties in the top logits would divide by rounding noise: a denominator of 1 gives the plain margin
    return torch.where(distance < TIE_TOLERANCE * logits.detach().abs().amax(1), 1, distance)
