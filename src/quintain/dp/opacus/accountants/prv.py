"""Accounting by privacy random variables."""

import math
from typing import Any

from quintain.dp.accounting import prv
from quintain.dp.accounting.pld import composed_epsilon
from quintain.dp.opacus.accountants.accountant import IAccountant
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["PRVAccountant"]
__getattr__ = missing_name_getattr(__name__)


class PRVAccountant(IAccountant):
    """Accounting by privacy random variables: the upper side of ``prv.prv_bounds``.

    Where the grid of ``prv`` is too coarse for a finite bound, privacy loss distributions answer.
    """

    @classmethod
    def mechanism(cls) -> str:
        return "prv"

    def _epsilon_of_history(self, delta: float, **kwargs: Any) -> float:  # noqa: ARG002
        upper = prv.prv_bounds(self.history, delta).upper
        return upper if upper < math.inf else composed_epsilon(self.history, delta)
