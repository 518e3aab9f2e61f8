"""When a search may be given up: what leaves is open, not safe."""

import math

import torch
from torch import Tensor

from quintain.core.errors import SettingError


def hopeful(best: Tensor, ground: Tensor, made: int, total: int, hope: float) -> Tensor:
    r"""Which examples may still see a loss of 0 (n,) bool, if they rise ``hope`` times as fast as on average so far.

    .. math:: best + hope \cdot \frac{best - ground}{made} (total - made) \ge 0

    Searches slow down, so that the average pace is more than can be expected of what is left. An infinite ``hope`` gives nothing up.

    Args:
        best: The largest loss so far (n,).
        ground: The loss at the start (n,).
        made: How many steps led from there to here, at least 1.
        total: How many steps there are.
        hope: How much faster the rest may be.
    """
    if hope == math.inf:
        return torch.ones_like(best, dtype=torch.bool)
    return best + hope * (best - ground) * ((total - made) / made) >= 0


def check_hope(hope: float) -> None:
    """Refuse what is no such factor.

    Raises:
        SettingError: If it is not positive.
    """
    if not hope > 0:
        raise SettingError(f"hope = {hope}; expected a positive factor, such as 1, or infinity to give nothing up")
