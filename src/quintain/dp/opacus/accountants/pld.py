"""Accounting by privacy loss distributions."""

from typing import Any

from quintain.dp.accounting.pld import composed_epsilon
from quintain.dp.opacus.accountants.accountant import IAccountant


class PLDAccountant(IAccountant):
    """Accounting by privacy loss distributions: the tightest epsilon that is claimed here."""

    @classmethod
    def mechanism(cls) -> str:
        return "pld"

    def _epsilon_of_history(self, delta: float, **kwargs: Any) -> float:  # noqa: ARG002
        return composed_epsilon(self.history, delta)
