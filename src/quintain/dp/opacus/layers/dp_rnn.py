"""Recurrent layers under Opacus' names: torch's own, which train privately as they are."""

from torch import nn

from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["DPGRU", "DPLSTM", "DPRNN"]
__getattr__ = missing_name_getattr(__name__)


DPLSTM = nn.LSTM
DPGRU = nn.GRU
DPRNN = nn.RNN
