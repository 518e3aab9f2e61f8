"""When a search may be given up: what leaves is open, not safe."""

import math

import torch
from torch import Tensor

from quintain.core.errors import SettingError


def can_still_succeed(best: Tensor, initial_loss: Tensor, steps_done: int, steps_total: int, patience: float) -> Tensor:
    r"""Which examples may still see a loss of 0 (n,) bool, if they rise ``patience`` times as fast as on average so far.

    .. math:: best + hope \cdot \frac{best - ground}{made} (total - made) \ge 0

    Searches slow down, so that the average pace is more than can be expected of what is left. An infinite
    ``patience`` gives nothing up.

    Args:
        best: The largest loss so far (n,).
        initial_loss: The loss at the start (n,).
        steps_done: How many steps led from there to here, at least 1.
        steps_total: How many steps there are.
        patience: How much faster the rest may be.
    """
    if patience == math.inf:
        return torch.ones_like(best, dtype=torch.bool)
    return best + patience * (best - initial_loss) * ((steps_total - steps_done) / steps_done) >= 0


def check_patience(patience: float) -> None:
    """Refuse what is no such factor.

    Raises:
        SettingError: If it is not positive.
    """
    if not patience > 0:
        raise SettingError(f"patience = {patience}; expected a positive factor, such as 1, or infinity to give nothing up")
