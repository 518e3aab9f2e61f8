"""Per-example gradients of multi-head attention, run as projections whose inputs and gradients are seen."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.per_example.grads import BlockGrads, PerExampleGrads
from quintain.dp.per_example.numerics import sum_tensors
from quintain.dp.rules.protocol import CustomForwardRule, LayerCall, ParameterGrads
from quintain.dp.rules.registry import register_rule
from quintain.dp.rules.shared_output_grads import SharedOutputGrads

TRANSFORMER_LAYERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
TRANSFORMER_STACKS = (nn.TransformerEncoder, nn.TransformerDecoder)


@register_rule(nn.MultiheadAttention)
@CustomForwardRule
def attention(
    layer: nn.Module,
    call: LayerCall,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The custom forward of ``nn.MultiheadAttention`` on a batch.

    Raises:
        PrivacyError: If there is no batch dimension, or more than one batch size.
        SettingError: If ``is_causal`` comes without the mask that it is a hint about.

    Source: Vaswani et al., 2017, arXiv:1706.03762.
    """
    attend = cast(nn.MultiheadAttention, layer)
    if query.dim() != 3:
        raise PrivacyError(
            f"attention got a query of shape {tuple(query.shape)}, without a batch; expected (examples, "
            f"positions, {attend.embed_dim}), or positions first where batch_first=False"
        )
    if is_causal and attn_mask is None:
        raise SettingError(
            "got is_causal=True without attn_mask, which it is a hint about; expected the causal mask as well"
        )
    # neighbors that are the same tensor share one projection: self-attention makes q, k, v in one product
    inputs, counts = [query], [1]
    for x in (key, value):
        if x is inputs[-1] and attend._qkv_same_embed_dim:
            counts[-1] += 1
        else:
            inputs, counts = [*inputs, x], [*counts, 1]
    if not attend.batch_first:
        inputs = [x.transpose(0, 1) for x in inputs]
    if len({len(x) for x in inputs}) > 1:
        raise PrivacyError(
            f"attention got inputs of {[len(x) for x in inputs]} examples; expected as many keys as queries "
            "and values"
        )
    q, k, v = _InputProjections.apply(attend, call, counts, call.grad_anchor, *inputs)
    q, k, v = (x.unflatten(2, (attend.num_heads, attend.head_dim)).transpose(1, 2) for x in (q, k, v))
    if attend.add_zero_attn:
        k, v = (F.pad(x, (0, 0, 0, 1)) for x in (k, v))
    # the fused causal kernel only where no other mask and no weights are wanted
    causal = is_causal and key_padding_mask is None and not need_weights
    mask = None if causal else _mask(attn_mask, key_padding_mask, q, k)
    dropout = attend.dropout if attend.training else 0.0
    weights = None
    if need_weights:
        scores = (q * math.sqrt(1 / attend.head_dim)) @ k.mT
        weights = F.dropout((scores if mask is None else scores + mask).softmax(3), dropout)
        mixed = weights @ v
        weights = weights.mean(1) if average_attn_weights else weights
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
    out = attend.out_proj(mixed.transpose(1, 2).flatten(2))
    return (out if attend.batch_first else out.transpose(0, 1)), weights


class _InputProjections(torch.autograd.Function):
    """Queries, keys and values (B, positions, embed_dim).

    The extra key and value of ``add_bias_kv`` are appended.

    Each input makes one of them, or several in a row.
    """

    @staticmethod
    def forward(
        ctx: Any,
        attend: nn.MultiheadAttention,
        call: LayerCall,
        counts: list[int],
        _grad_anchor: Tensor,
        *inputs: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.attend, ctx.call, ctx.counts = attend, call, counts
        ctx.save_for_backward(*inputs)
        biases = (
            [None] * len(counts)
            if attend.in_proj_bias is None
            else _split_stacked(attend.in_proj_bias, counts)
        )
        projections = [
            part
            for x, weight, bias, count in zip(inputs, _weights(attend, counts), biases, counts, strict=True)
            for part in F.linear(x, weight, bias).chunk(count, 2)
        ]
        if attend.bias_k is not None and attend.bias_v is not None:
            projections[1:] = [
                torch.cat([x, bias.expand(len(x), 1, -1)], 1)
                for x, bias in zip(projections[1:], (attend.bias_k, attend.bias_v), strict=True)
            ]
        return tuple(projections)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        attend, call, counts = ctx.attend, ctx.call, ctx.counts
        inputs, projections = [x.detach() for x in ctx.saved_tensors], list(gradients)
        extra = attend.bias_k is not None
        # bias_k and bias_v are the last row of k and v; then join what one projection made
        bias_kv_grads = [x[:, -1:] for x in projections[1:]] if extra else []
        projections[1:] = [x[:, :-1] for x in projections[1:]] if extra else projections[1:]
        parts = iter(projections)
        joined = [
            torch.cat([next(parts) for _ in range(count)], 2) if count > 1 else next(parts)
            for count in counts
        ]

        def compute_grads() -> ParameterGrads:
            outers = [
                SharedOutputGrads(g, x.shape[2]).grads_for(x) for x, g in zip(inputs, joined, strict=True)
            ]
            known: dict[str, PerExampleGrads | Tensor] = {
                **dict(zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), outers, strict=False)),
                "in_proj_weight": outers[0] if len(outers) == 1 else BlockGrads(outers),
                "in_proj_bias": torch.cat([g.sum(1) for g in joined], 1),
                **{name: g[:, None] for name, g in zip(("bias_k", "bias_v"), bias_kv_grads, strict=False)},
            }
            return {name: known[name] for name in call.names}

        call.record_grads(len(inputs[0]), projections[0], compute_grads)
        needed = ctx.needs_input_grad[4:]
        back = [
            g @ weight if need else None
            for g, weight, need in zip(joined, _weights(attend, counts), needed, strict=True)
        ]
        return (None, None, None, None, *back)


def sequence_first(module: nn.Module) -> set[nn.Module]:
    """Return layers of torch's transformers whose input is (positions, B, width).

    They were built with ``batch_first=False``.

    Attention itself, and its last projection, see to that themselves.
    """
    inside: set[nn.Module] = set()
    for child in module.modules():
        first = (
            next(iter(cast(nn.ModuleList, child.layers)), None)
            if isinstance(child, TRANSFORMER_STACKS)
            else child
        )
        if isinstance(first, TRANSFORMER_LAYERS) and not getattr(first.self_attn, "batch_first", True):
            inside.update(child.modules())
    return inside - {
        part for child in inside if isinstance(child, nn.MultiheadAttention) for part in child.modules()
    }


def _weights(attend: nn.MultiheadAttention, counts: Sequence[int]) -> list[Tensor]:
    """The projection weights, by input."""
    if attend._qkv_same_embed_dim:
        return _split_stacked(attend.in_proj_weight, counts)
    return [
        cast(Tensor, weight).detach()
        for weight in (attend.q_proj_weight, attend.k_proj_weight, attend.v_proj_weight)
    ]


def _split_stacked(stacked: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """The parts of a tensor that stacks q, k and v, a third of the rows each."""
    return list(stacked.detach().split([count * len(stacked) // 3 for count in counts]))


def _mask(attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    """The sum of all masks, to be added to the scores (B or 1, heads or 1, queries, keys)."""
    return sum_tensors(masks) if (masks := list(_additive_masks(attn_mask, key_padding_mask, q, k))) else None


def _additive_masks(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor, k: Tensor
) -> Iterator[Tensor]:
    keys = k.shape[2]
    if attn_mask is not None:
        added = _as_additive_mask(attn_mask, q, keys)
        yield added.unflatten(0, q.shape[:2]) if added.dim() == 3 else added
    if key_padding_mask is not None:
        yield _as_additive_mask(key_padding_mask, q, keys)[:, None, None]


def _as_additive_mask(mask: Tensor, q: Tensor, keys: int) -> Tensor:
    """The mask as numbers to add, extended by the keys that the layer appends, which all queries may see."""
    numbers = (
        torch.zeros_like(mask, dtype=q.dtype).masked_fill_(mask, -torch.inf)
        if mask.dtype == torch.bool
        else mask.to(q.dtype)
    )
    return F.pad(numbers, (0, keys - mask.shape[-1]))
