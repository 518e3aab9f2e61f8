"""Rules that compute per-example gradients, one for each kind of layer.

A rule gets the layer, what went into it, the gradient of the loss at what came out, batch first in both, and
the names of its parameters to train; it returns a ``PerExampleGrads`` for each, or plain tensors (B, *shape).
An empty batch never reaches it. ``AllInputsRule`` gets all arguments of the call; ``CustomForwardRule`` runs
in place of the layer's own forward.
"""

from collections.abc import Callable, Collection, Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from quintain.core.errors import PrivacyError
from quintain.dp.rules.affine import bilinear, linear, prelu
from quintain.dp.rules.attention import attention
from quintain.dp.rules.convolutions import convolution, transposed_convolution
from quintain.dp.rules.embeddings import embedding, embedding_bag
from quintain.dp.rules.norms import group_norm, instance_norm, layer_norm, rms_norm
from quintain.dp.rules.protocol import AllInputsRule, CustomForwardRule, LayerCall, ParameterGrads, Rule
from quintain.dp.rules.recurrent import recurrent
from quintain.dp.rules.vmap_fallback import VMAP_RULE

__all__ = ["RULES", "VMAP_RULE", "AllInputsRule", "CustomForwardRule", "LayerCall", "Rule", "register_rule"]

RuleT = TypeVar("RuleT", bound=Callable[..., Any] | AllInputsRule | CustomForwardRule)

_RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: linear,
    NonDynamicallyQuantizableLinear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), transposed_convolution),
    nn.Bilinear: AllInputsRule(bilinear),
    nn.PReLU: prelu,
    nn.GroupNorm: CustomForwardRule(group_norm),
    **dict.fromkeys(
        (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), CustomForwardRule(instance_norm)
    ),
    nn.LayerNorm: layer_norm,
    nn.RMSNorm: rms_norm,
    nn.Embedding: embedding,
    nn.EmbeddingBag: AllInputsRule(embedding_bag),
    nn.MultiheadAttention: CustomForwardRule(attention),
    nn.LSTM: CustomForwardRule(recurrent),
    nn.GRU: CustomForwardRule(recurrent),
    nn.RNN: CustomForwardRule(recurrent),
}

RULES: Mapping[type[nn.Module], Rule] = MappingProxyType(_RULES)
"""The layers whose per-example gradients have a closed form; others are run again by ``vmap``
(``VMAP_RULE``).
"""


def register_rule(*layer_types: type[nn.Module]) -> Callable[[RuleT], RuleT]:
    """Register the rule that computes per-example gradients of a type of layer.

    ::

        @register_rule(Scale)
        def scale(layer, activations, backprops):
            return {"weight": activations * backprops}

    Args:
        layer_types: Classes, matched exactly: a subclass needs its own rule.

    The decorated function takes the layer, its input (B, ...), the gradient of the loss at its output (B,
    ...) and, if it has a fourth argument, the names of the parameters to train; it returns their gradients,
    (B, *shape) each, by name or by parameter. Their names and shapes are checked, their values cannot be. An
    ``AllInputsRule`` or ``CustomForwardRule`` is taken as it is, such as ``VMAP_RULE`` for a module that uses
    weights of the layers inside it without calling these.
    """

    def register(rule: RuleT) -> RuleT:
        _RULES.update(
            dict.fromkeys(
                layer_types,
                rule if isinstance(rule, (AllInputsRule, CustomForwardRule)) else _checked_rule(rule),
            )
        )
        return rule

    return register


def _checked_rule(
    rule: Callable[..., Mapping[str | nn.Parameter, Any]],
) -> Callable[[nn.Module, Tensor, Tensor, Collection[str]], ParameterGrads]:
    """A user's rule with its names checked; it may key gradients by name or by parameter."""
    names_too = len(signature(rule).parameters) > 3

    def adapted(layer: nn.Module, a: Tensor, g: Tensor, names: Collection[str]) -> ParameterGrads:
        own = dict(layer.named_parameters(recurse=False))
        known = {parameter: name for name, parameter in own.items()}
        grads = rule(layer, a, g, names) if names_too else rule(layer, a, g)
        unknown = [
            key for key in grads if (key not in known if isinstance(key, nn.Parameter) else key not in own)
        ]
        if unknown:
            raise PrivacyError(
                f"the rule of {type(layer).__name__} gives gradients of {unknown}; expected its own "
                f"parameters, {sorted(own)}"
            )
        named = {known[key] if isinstance(key, nn.Parameter) else key: rows for key, rows in grads.items()}
        return {name: rows for name, rows in named.items() if name in names}

    return adapted
