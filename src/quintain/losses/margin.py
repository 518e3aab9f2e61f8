"""The margin, which decides the prediction."""

import torch
from torch import Tensor


def margin(logits: Tensor, y: Tensor) -> Tensor:
    r"""Return the best other logit minus the true one, per example (B,).

    Positive means a wrong answer, NaN stays NaN.

    .. math:: \max_{j \ne y} z_j - z_y

    Args:
        logits: Scores (B, K), K at least 2.
        y: True classes (B,).
    """
    true = logits.gather(1, y[:, None]).squeeze(1)
    return logits.scatter(1, y[:, None], -torch.inf).amax(1) - true
