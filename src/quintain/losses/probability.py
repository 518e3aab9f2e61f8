"""The margin of probabilities, written so that neither side of it underflows."""

import torch
from torch import Tensor


def log_probability_margin(logits: Tensor, winner: Tensor, loser: Tensor) -> Tensor:
    r"""Return the logarithm of one plus the lead of one class's probability over another's, per example (B,).

    .. math:: \log(1 + p_w - p_l) = \log\Big(e^{z_w} + \sum_{k \ne l} e^{z_k}\Big) - \log\sum_k e^{z_k}

    It rises with :math:`p_w - p_l`, and its gradient has the same direction; but where the loser's
    probability rounds to 1, that difference is flat and this is not, since the sum on the right leaves the
    loser out.

    Args:
        logits: Scores (B, K), K at least 2.
        winner: Classes whose lead is taken (B,).
        loser: Classes that they lead over (B,), not the same ones.

    Source: Xie et al., 2024, arXiv:2411.15210, for the margin of probabilities.
    """
    # log(1 + p_w - p_l) as a difference of logsumexps: class l is left out of the first, w counted twice
    others = logits.scatter(1, loser[:, None], -torch.inf)
    return torch.cat((others, logits.gather(1, winner[:, None])), 1).logsumexp(1) - logits.logsumexp(1)
