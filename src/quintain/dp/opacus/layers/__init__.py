"""Layers under Opacus' names."""

from quintain.dp.opacus.layers.dp_multihead_attention import DPMultiheadAttention, SequenceBias
from quintain.dp.opacus.layers.dp_rnn import DPGRU, DPLSTM, DPRNN
from quintain.dp.opacus.refused import refusing

__all__ = ["DPGRU", "DPLSTM", "DPRNN", "DPMultiheadAttention", "SequenceBias"]
__getattr__ = refusing(__name__)
