"""Layers under Opacus' names."""

from quintain.dp.opacus.layers.dp_multihead_attention import DPMultiheadAttention, SequenceBias
from quintain.dp.opacus.layers.dp_rnn import DPGRU, DPLSTM, DPRNN
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["DPGRU", "DPLSTM", "DPRNN", "DPMultiheadAttention", "SequenceBias"]
__getattr__ = missing_name_getattr(__name__)
