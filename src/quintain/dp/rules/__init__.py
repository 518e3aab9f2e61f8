"""How each kind of layer gives the gradients of single examples.

A rule gets the layer, what went into it, the gradient of the loss at what came out, batch first in both, and the names of its parameters to
train; it returns one ``PerExample`` for each, or plain tensors (B, *shape). An empty batch never reaches it.
"""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from torch import Tensor, nn

from quintain.dp.forms import PerExample
from quintain.dp.rules.affine import convolution, linear
from quintain.dp.rules.norms import group_norm, layer_norm
from quintain.dp.rules.tables import embedding

Rule = Callable[[nn.Module, Tensor, Tensor, Collection[str]], Mapping[str, PerExample | Tensor]]
"""From a layer, its input, the gradient at its output and the names of its trainable parameters to the gradients of these."""

RULES: Mapping[type[nn.Module], Rule] = MappingProxyType(
    {
        nn.Linear: linear,
        nn.Conv1d: convolution,
        nn.Conv2d: convolution,
        nn.Conv3d: convolution,
        nn.GroupNorm: group_norm,
        nn.LayerNorm: layer_norm,
        nn.Embedding: embedding,
    }
)
"""The layers that can be trained privately."""
