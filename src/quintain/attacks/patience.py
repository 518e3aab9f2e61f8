"""Early stopping of attacks on examples that will hardly be broken any more.

A dropped example is not shown to be robust.
"""

import math

import torch
from torch import Tensor

from quintain.core.errors import SettingError


def can_still_succeed(
    best: Tensor, initial_loss: Tensor, steps_done: int, steps_total: int, patience: float
) -> Tensor:
    r"""Whether each example would reach a loss of 0 at ``patience`` times its pace so far (n,).

    .. math:: best + patience \cdot \frac{best - initial}{done} (total - done) \ge 0

    The loss is 0 on the decision boundary. Attacks slow down as they converge, so at ``patience = 1`` an
    example that is dropped would hardly ever have succeeded. A dropped example counts as not broken; that
    says nothing about its robustness. ``inf`` never drops any.

    Args:
        best: Largest loss so far (n,).
        initial_loss: The loss at the start (n,).
        steps_done: Steps made so far, at least 1.
        steps_total: Steps in all.
        patience: Factor on the average improvement per step.
    """
    if patience == math.inf:
        return torch.ones_like(best, dtype=torch.bool)
    # linear extrapolation of the progress so far, times patience
    return best + patience * (best - initial_loss) * ((steps_total - steps_done) / steps_done) >= 0


def check_patience(patience: float) -> None:
    """Raise if patience is not positive.

    Raises:
        SettingError: If it is not positive.
    """
    if not patience > 0:
        raise SettingError(
            f"patience = {patience}; expected a positive factor, such as 1, or inf to never stop early"
        )
