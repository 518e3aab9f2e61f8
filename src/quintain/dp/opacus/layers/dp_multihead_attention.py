"""Attention under Opacus' name: torch's own, which trains privately as it is; and a learned last position."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.per_example.grads import DenseGrads
from quintain.dp.rules import register_rule

__all__ = ["DPMultiheadAttention", "SequenceBias"]
__getattr__ = missing_name_getattr(__name__)


DPMultiheadAttention = nn.MultiheadAttention


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


@register_rule(SequenceBias)
def sequence_bias(_layer: nn.Module, _a: Tensor, g: Tensor) -> Mapping[str, DenseGrads]:
    """The rule of ``SequenceBias``: the gradient at the position that it adds."""
    return {"bias": DenseGrads(g[:, -1])}
