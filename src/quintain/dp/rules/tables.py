"""Per-example gradients of embeddings, one by one or in bags."""

from collections.abc import Collection, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.gradients.forms import PerExample, Rows
from quintain.dp.gradients.validation import refuse_table


def embedding(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.Embedding``; gradients of an id that an example repeats are added before its norm is taken."""
    del names
    table = cast(nn.Embedding, layer)
    refuse_table(table)
    ids, gradient = a.reshape(len(a), -1), g.reshape(len(g), -1, table.embedding_dim)
    if table.padding_idx is not None:
        gradient = gradient.masked_fill((ids == table.padding_idx)[..., None], 0)
    return {"weight": Rows.of(ids, gradient, table.weight.shape)}


def embedding_bag(layer: nn.Module, given: Mapping[str, Any], g: Tensor, names: Collection[str]) -> dict[str, PerExample]:
    """``nn.EmbeddingBag``: a bag's gradient spread over its ids, then as ``nn.Embedding``; each bag is an example."""
    del names
    table = cast(nn.EmbeddingBag, layer)
    refuse_table(table)
    ids, batch = given["input"], len(g)
    owner = _owners(ids, given.get("offsets"), batch, last=table.include_last_offset)
    ids, weights = ids.flatten(), given.get("per_sample_weights")
    # ids of padding have no gradient, and do not count in a mean
    real = torch.ones_like(ids, dtype=torch.bool) if table.padding_idx is None else ids != table.padding_idx
    owner, ids = owner[real], ids[real]
    if table.mode == "mean":
        g = g / torch.bincount(owner, minlength=batch).clamp(min=1)[:, None]
    if table.mode != "max" and weights is None:
        return {"weight": _repeated(owner, ids, g, table.weight.shape)}
    gradient = g[owner]
    if weights is not None:
        gradient = gradient * weights.flatten()[real][:, None]
    if table.mode == "max":
        gradient = gradient * _largest(table.weight.detach()[ids], owner, batch)
    return {"weight": Rows.merged(owner, ids, gradient, batch, table.weight.shape)}


def _repeated(owner: Tensor, ids: Tensor, g: Tensor, shape: torch.Size) -> Rows:
    """``Rows.merged`` where each id has its bag's gradient: one row for each id of a bag, times how often."""
    unique, times = (owner * shape[0] + ids).unique(return_counts=True)
    owner = unique // shape[0]
    return Rows(owner, unique % shape[0], g[owner] * times[:, None], len(g), shape)


def _owners(ids: Tensor, offsets: Tensor | None, batch: int, *, last: bool) -> Tensor:
    """The bag of each id: a row of (B, T), or what is between two offsets."""
    if ids.dim() == 2:
        bags = torch.full((len(ids),), ids.shape[1], device=ids.device)
    else:
        assert offsets is not None
        ends = offsets if last else torch.cat([offsets, offsets.new_full((1,), len(ids))])
        bags = ends.diff()
        if (bags < 0).any() or ends[-1] != len(ids):
            raise PrivacyError(
                f"an EmbeddingBag got offsets that do not cut its {len(ids)} ids into bags; expected them in order, the last the end"
            )
    if len(bags) != batch:
        raise PrivacyError(f"an EmbeddingBag got {len(bags)} bags for {batch} examples; expected one bag an example")
    return torch.arange(batch, device=ids.device).repeat_interleave(bags)


def _largest(values: Tensor, owner: Tensor, batch: int) -> Tensor:
    """1 where (N, width) a number is the largest of its bag in that column (the first of equals), else 0."""
    width, count = values.shape[1], len(values)
    bag = owner[:, None].expand(-1, width)
    top = values.new_full((batch, width), -torch.inf).scatter_reduce(0, bag, values, "amax")
    place = torch.arange(count, device=values.device)[:, None].expand(-1, width)
    first = place.new_full((batch, width), count).scatter_reduce(0, bag, torch.where(values == top[owner], place, count), "amin")
    return (place == first[owner]).to(values.dtype)
