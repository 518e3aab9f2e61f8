"""Cross-entropy, written so that a confident true class does not flatten its gradient."""

import torch
from torch import Tensor
from torch.nn import functional


def log_odds(logits: Tensor, y: Tensor) -> Tensor:
    r"""Return log odds against the true class, per example (B,): cross-entropy before it saturates.

    .. math:: \log\frac{1 - p_y}{p_y} = \log\sum_{j \ne y} e^{z_j} - z_y

    Its gradient has the direction of the cross-entropy's at every point, and keeps it where that one
    underflows (in float32 once the true class leads by 104); with two classes it is the margin.

    Args:
        logits: Scores (B, K), K at least 2.
        y: True classes (B,).
    """
    true = logits.gather(1, y[:, None]).squeeze(1)
    return logits.scatter(1, y[:, None], -torch.inf).logsumexp(1) - true


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    r"""Return the cross-entropy per example (B,), :math:`-\log p_y = softplus(log\_odds)`.

    Args:
        logits: Scores (B, K), K at least 2.
        y: True classes (B,).
    """
    return -functional.logsigmoid(-log_odds(logits, y))
