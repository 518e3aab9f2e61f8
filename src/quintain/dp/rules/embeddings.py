"""Per-example gradients of ``nn.Embedding`` and ``nn.EmbeddingBag``."""

from collections.abc import Collection, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.per_example.grads import PerExampleGrads, TableRowGrads
from quintain.dp.rules.protocol import AllInputsRule
from quintain.dp.rules.registry import register_rule


@register_rule(nn.Embedding)
def embedding(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExampleGrads]:
    """The rule of ``nn.Embedding``; gradients of an id that an example repeats are added before any norm."""
    del names
    table = cast(nn.Embedding, layer)
    check_embedding(table)
    ids, gradient = a.reshape(len(a), -1), g.reshape(len(g), -1, table.embedding_dim)
    if table.padding_idx is not None:
        gradient = gradient.masked_fill((ids == table.padding_idx)[..., None], 0)
    return {"weight": TableRowGrads.from_ids(ids, gradient, table.weight.shape)}


@register_rule(nn.EmbeddingBag)
@AllInputsRule
def embedding_bag(
    layer: nn.Module, call_inputs: Mapping[str, Any], g: Tensor, names: Collection[str]
) -> dict[str, PerExampleGrads]:
    """The rule of ``nn.EmbeddingBag``: each bag is an example, whose gradient is spread over its ids."""
    del names
    table = cast(nn.EmbeddingBag, layer)
    check_embedding(table)
    ids, batch = call_inputs["input"], len(g)
    bag_of_id = _bag_of_each_id(ids, call_inputs.get("offsets"), batch, last=table.include_last_offset)
    ids, weights = ids.flatten(), call_inputs.get("per_sample_weights")
    # ids of padding have no gradient, and do not count in a mean; equal gradients of a bag need no table of
    # ids x width
    real = torch.ones_like(ids, dtype=torch.bool) if table.padding_idx is None else ids != table.padding_idx
    bag_of_id, ids = bag_of_id[real], ids[real]
    if table.mode == "mean":
        g = g / torch.bincount(bag_of_id, minlength=batch).clamp(min=1)[:, None]
    if table.mode != "max" and weights is None:
        return {"weight": _bag_grads(bag_of_id, ids, g, table.weight.shape)}
    gradient = g[bag_of_id]
    if weights is not None:
        gradient = gradient * weights.flatten()[real][:, None]
    if table.mode == "max":
        gradient = gradient * _argmax_mask(table.weight.detach()[ids], bag_of_id, batch)
    return {"weight": TableRowGrads.from_repeated_rows(bag_of_id, ids, gradient, batch, table.weight.shape)}


def check_embedding(table: nn.Module) -> None:
    """Raise if an embedding's weights or gradients depend on all ids of the batch.

    Raises:
        PrivacyError: If ``table`` is one.
    """
    if isinstance(table, (nn.Embedding, nn.EmbeddingBag)) and (
        table.max_norm is not None or table.scale_grad_by_freq or table.sparse
    ):
        raise PrivacyError(
            f"got an {type(table).__name__} with max_norm, scale_grad_by_freq or sparse, which mix examples; "
            "expected it without these"
        )


def _bag_grads(bag_of_id: Tensor, ids: Tensor, g: Tensor, shape: torch.Size) -> TableRowGrads:
    """``Rows.merged`` where each id has its bag's gradient: one row for each id of a bag, times how often."""
    unique, times = (bag_of_id * shape[0] + ids).unique(return_counts=True)
    bag_of_id = unique // shape[0]
    return TableRowGrads(bag_of_id, unique % shape[0], g[bag_of_id] * times[:, None], len(g), shape)


def _bag_of_each_id(ids: Tensor, offsets: Tensor | None, batch: int, *, last: bool) -> Tensor:
    """The bag of each id: its row of (B, T), or the interval between two offsets."""
    if ids.dim() == 2:
        bags = torch.full((len(ids),), ids.shape[1], device=ids.device)
    else:
        assert offsets is not None
        ends = offsets if last else torch.cat([offsets, offsets.new_full((1,), len(ids))])
        bags = ends.diff()
        if (bags < 0).any() or ends[-1] != len(ids):
            raise PrivacyError(
                f"an EmbeddingBag got offsets that do not cut its {len(ids)} ids into bags; expected them in "
                "order, the last the end"
            )
    if len(bags) != batch:
        raise PrivacyError(
            f"an EmbeddingBag got {len(bags)} bags for {batch} examples; expected one bag an example"
        )
    return torch.arange(batch, device=ids.device).repeat_interleave(bags)


def _argmax_mask(values: Tensor, bag_of_id: Tensor, batch: int) -> Tensor:
    """1 where a number of (N, width) is the largest of its bag in that column, else 0."""
    # the first of equal maxima, as torch's backward chooses
    width, count = values.shape[1], len(values)
    bag = bag_of_id[:, None].expand(-1, width)
    top = values.new_full((batch, width), -torch.inf).scatter_reduce(0, bag, values, "amax")
    position = torch.arange(count, device=values.device)[:, None].expand(-1, width)
    first = position.new_full((batch, width), count).scatter_reduce(
        0, bag, torch.where(values == top[bag_of_id], position, count), "amin"
    )
    return (position == first[bag_of_id]).to(values.dtype)
