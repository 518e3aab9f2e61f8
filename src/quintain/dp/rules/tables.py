"""Tables of vectors that are looked up."""

from collections.abc import Collection
from typing import cast

from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.forms import PerExample, Rows


def embedding(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.Embedding``; ids that an example repeats are added before its norm is taken."""
    del names
    table = cast(nn.Embedding, layer)
    if table.max_norm is not None or table.scale_grad_by_freq or table.sparse:
        raise PrivacyError("got an Embedding with max_norm, scale_grad_by_freq or sparse, which mix examples; expected it without these")
    ids, gradient = a.reshape(len(a), -1), g.reshape(len(g), -1, table.embedding_dim)
    if table.padding_idx is not None:
        gradient = gradient.masked_fill((ids == table.padding_idx)[..., None], 0)
    return {"weight": Rows.of(ids, gradient, table.weight.shape)}
