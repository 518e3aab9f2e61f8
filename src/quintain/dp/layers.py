"""Recurrent and attention layers under the names that private scripts import: torch's own, which train
privately as they are.
"""

import torch
from torch import Tensor, nn

DPMultiheadAttention = nn.MultiheadAttention
DPLSTM = nn.LSTM
DPGRU = nn.GRU
DPRNN = nn.RNN


class SequenceBias(nn.Module):
    """Adds one learned position to the end of each sequence.

    From (L, B, E) to (L + 1, B, E), or with the batch first from (B, L, E) to (B, L + 1, E).

    Args:
        embed_dim: E.
        batch_first: Whether the batch comes before the positions.
    """

    def __init__(self, embed_dim: int, batch_first: bool = False) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.bias = nn.Parameter(torch.empty(embed_dim))
        nn.init.normal_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.batch_first:
            return torch.cat([x, self.bias.expand(len(x), 1, -1)], 1)
        return torch.cat([x, self.bias.expand(1, x.shape[1], -1)])
