"""Rules that compute per-example gradients, one for each kind of layer.

A rule gets the layer, what went into it, the gradient of the loss at what came out, batch first in both, and the names of its parameters to
train; it returns one ``PerExample`` for each, or plain tensors (B, *shape). An empty batch never reaches it. ``Whole`` rules see all that
the layer was called with; ``Fused`` ones run in place of the layer's own forward.
"""

from collections.abc import Callable, Collection, Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from quintain.core.errors import PrivacyError
from quintain.dp.layers import SequenceBias
from quintain.dp.rules.affine import bilinear, linear, prelu, sequence_bias
from quintain.dp.rules.attention import attention
from quintain.dp.rules.convolutions import convolution, transposed_convolution
from quintain.dp.rules.fallback import BY_VMAP
from quintain.dp.rules.norms import group_norm, instance_norm, layer_norm, rms_norm
from quintain.dp.rules.protocol import Found, Fused, Rule, Use, Whole
from quintain.dp.rules.recurrent import recurrent
from quintain.dp.rules.tables import embedding, embedding_bag

__all__ = ["BY_VMAP", "RULES", "Fused", "Rule", "Use", "Whole", "register_rule"]

Given = TypeVar("Given", bound=Callable[..., Any] | Whole | Fused)

_RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: linear,
    NonDynamicallyQuantizableLinear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), transposed_convolution),
    nn.Bilinear: Whole(bilinear),
    nn.PReLU: prelu,
    SequenceBias: sequence_bias,
    nn.GroupNorm: Fused(group_norm),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), Fused(instance_norm)),
    nn.LayerNorm: layer_norm,
    nn.RMSNorm: rms_norm,
    nn.Embedding: embedding,
    nn.EmbeddingBag: Whole(embedding_bag),
    nn.MultiheadAttention: Fused(attention),
    nn.LSTM: Fused(recurrent),
    nn.GRU: Fused(recurrent),
    nn.RNN: Fused(recurrent),
}

RULES: Mapping[type[nn.Module], Rule] = MappingProxyType(_RULES)
"""The layers whose per-example gradients have a closed form; others are run again by ``vmap`` (``BY_VMAP``)."""


def register_rule(*kinds: type[nn.Module]) -> Callable[[Given], Given]:
    """Give a kind of module its per-example gradients.

    ::

        @register_rule(Scale)
        def scale(layer, activations, backprops):
            return {"weight": activations * backprops}

    Args:
        kinds: Classes, matched exactly: a subclass needs its own rule.

    The decorated function takes the layer, its input (B, ...), the gradient of the loss at its output (B, ...) and, if it has a fourth
    argument, the names of the parameters to train; it returns their gradients, (B, *shape) each, by name or by parameter. Their names and
    shapes are checked, their values cannot be. A ``Whole`` or ``Fused`` rule is taken as it is, such as ``BY_VMAP`` for a module that uses
    weights of the layers inside it without calling these.
    """

    def register(rule: Given) -> Given:
        _RULES.update(dict.fromkeys(kinds, rule if isinstance(rule, (Whole, Fused)) else _by_name(rule)))
        return rule

    return register


def _by_name(rule: Callable[..., Mapping[str | nn.Parameter, Any]]) -> Callable[[nn.Module, Tensor, Tensor, Collection[str]], Found]:
    """A user's rule as a ``Rule``: it may leave the names out, and key gradients by name or by parameter."""
    names_too = len(signature(rule).parameters) > 3

    def adapted(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> Found:
        own = dict(layer.named_parameters(recurse=False))
        known = {parameter: name for name, parameter in own.items()}
        found = rule(layer, a, g, names) if names_too else rule(layer, a, g)
        strange = [key for key in found if (key not in known if isinstance(key, nn.Parameter) else key not in own)]
        if strange:
            raise PrivacyError(
                f"the rule of {type(layer).__name__} gives gradients of {strange}; expected its own parameters, {sorted(own)}"
            )
        named = {known[key] if isinstance(key, nn.Parameter) else key: rows for key, rows in found.items()}
        return {name: rows for name, rows in named.items() if name in names}

    return adapted
