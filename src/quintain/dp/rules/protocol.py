"""The three kinds of rules that compute per-example gradients of a layer."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from quintain.dp.per_example.grads import PerExampleGrads

ParameterGrads = Mapping[str, PerExampleGrads | Tensor]
"""Per-example gradients by parameter name: a representation, or a plain tensor (B, *shape)."""

SingleInputRule = Callable[[nn.Module, Tensor, Tensor, Collection[str]], ParameterGrads]
"""Called with the layer, its input, the gradient at its output and the names of its trainable parameters."""


@dataclass(frozen=True, slots=True)
class AllInputsRule:
    """A rule of a layer with several inputs, or whose input does not begin with the batch.

    Args:
        compute: As a single-input rule, but in place of the input it gets all arguments of the call, by the
            names in the layer's ``forward``; arguments that were left out are missing.
    """

    compute: Callable[[nn.Module, Mapping[str, Any], Tensor, Collection[str]], ParameterGrads]


@dataclass(frozen=True, slots=True, eq=False)
class LayerCall:
    """One call of a layer with a custom forward in a captured pass.

    Args:
        names: Names of its trainable parameters.
        grad_anchor: An empty tensor that requires a gradient: an operation that takes it has a backward pass,
            whatever its other inputs.
        record_grads: To be called once in the backward pass, with the number of examples, a gradient (for its
            dtype), and a function that computes the gradients of these parameters.
    """

    names: Collection[str]
    grad_anchor: Tensor
    record_grads: Callable[[int, Tensor, Callable[[], ParameterGrads]], None]


@dataclass(frozen=True, slots=True)
class CustomForwardRule:
    """A rule that replaces a layer's forward while gradients are captured.

    For layers whose own forward does not show the inputs of their weights (attention, recurrent layers, group
    norm).

    Args:
        forward: Called with the layer, its ``LayerCall`` and the layer's arguments; returns what the layer's
            own forward would, treats its weights as constants, and calls ``LayerCall.record_grads`` once in
            its backward pass.
        covers_submodules: Whether the rule also gives the gradients of weights of submodules that the layer
            uses without calling them.
    """

    forward: Callable[..., Any]
    covers_submodules: bool = False


Rule = SingleInputRule | AllInputsRule | CustomForwardRule
"""How a kind of layer gives its per-example gradients."""
