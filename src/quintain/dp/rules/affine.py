"""Per-example gradients of linear and bilinear layers and PReLU."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from quintain.core.errors import PrivacyError
from quintain.dp.per_example.grads import DenseGrads, OuterProductGrads, PerExampleGrads
from quintain.dp.rules.protocol import AllInputsRule
from quintain.dp.rules.registry import register_rule


@register_rule(nn.Linear, NonDynamicallyQuantizableLinear)
def linear(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExampleGrads]:
    """The rule of ``nn.Linear`` on (B, inputs) or (B, ..., inputs)."""
    del layer
    positions = math.prod(g.shape[1:-1])
    grads: dict[str, PerExampleGrads] = {}
    if "weight" in names:
        grads["weight"] = OuterProductGrads(
            a.reshape(len(a), positions, a.shape[-1]), g.reshape(len(g), positions, g.shape[-1])
        )
    if "bias" in names:
        grads["bias"] = DenseGrads(g if g.dim() == 2 else g.reshape(len(g), positions, g.shape[-1]).sum(1))
    return grads


@register_rule(nn.Bilinear)
@AllInputsRule
def bilinear(
    layer: nn.Module, call_inputs: Mapping[str, Any], g: Tensor, names: Collection[str]
) -> dict[str, PerExampleGrads]:
    """The rule of ``nn.Bilinear``: products of both inputs and the output gradient."""
    del layer
    left, right = call_inputs["input1"], call_inputs["input2"]
    if not len(left) == len(right) == len(g):
        raise PrivacyError(
            f"a Bilinear got {len(left)} and {len(right)} examples for {len(g)}; expected the batch first in "
            "both inputs"
        )
    g = g.reshape(len(g), -1, g.shape[-1])
    grads: dict[str, PerExampleGrads] = {}
    if "weight" in names:
        left, right = (x.reshape(len(x), -1, x.shape[-1]) for x in (left, right))
        grads["weight"] = DenseGrads(torch.einsum("bto,bti,btj->boij", g, left, right))
    if "bias" in names:
        grads["bias"] = DenseGrads(g.sum(1))
    return grads


@register_rule(nn.PReLU)
def prelu(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> dict[str, PerExampleGrads]:
    """The rule of ``nn.PReLU`` with one slope, or one for each channel."""
    del names
    slopes, fall = layer.num_parameters, g * a.clamp(max=0)
    kept = fall.flatten(1)[:, None] if slopes == 1 else fall.reshape(*fall.shape[:2], -1)
    return {"weight": DenseGrads(kept.sum(2))}
