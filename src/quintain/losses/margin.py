"""The margin, which decides the prediction."""

import torch
from torch import Tensor


def margin(logits: Tensor, y: Tensor) -> Tensor:
    r"""``(x - mean) / std`` for each channel, inside the model.

    Inputs and perturbations then stay in [0, 1].

    .. math:: \max_{j \ne y} z_j - z_y

    Args:
        logits: Scores (B, K), K at least 2.
        y: True classes (B,).
    """
    true = logits.gather(1, y[:, None]).squeeze(1)
    return logits.scatter(1, y[:, None], -torch.inf).amax(1) - true
