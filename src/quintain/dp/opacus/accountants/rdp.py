"""Accounting by Renyi differential privacy."""

from collections.abc import Sequence
from typing import Any

from quintain.dp.accounting.rdp import rdp_epsilon
from quintain.dp.opacus.accountants.accountant import IAccountant
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["RDPAccountant"]
__getattr__ = missing_name_getattr(__name__)


class RDPAccountant(IAccountant):
    """Accounting by RDP: some ten percent looser than PLD, more at low rates and with little noise."""

    @classmethod
    def mechanism(cls) -> str:
        return "rdp"

    def _epsilon_of_history(
        self,
        delta: float,
        alphas: Sequence[float] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> float:
        return rdp_epsilon(self.history, delta, alphas)
