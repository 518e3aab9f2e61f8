"""What a rule is, for layers of three kinds."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from quintain.dp.gradients.forms import PerExample

Found = Mapping[str, PerExample | Tensor]
"""Gradients of single examples by the parameter's name: a form, or a plain tensor (B, *shape)."""

Simple = Callable[[nn.Module, Tensor, Tensor, Collection[str]], Found]
"""From a layer, its input, the gradient at its output and the names of its trainable parameters to the gradients of these."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A rule of a layer that takes more than one input, or whose input does not begin with the batch.

    Args:
        rule: As a simple one, but in place of the input it gets all that the layer was called with, by the names in its ``forward``;
            what is left out is not there.
    """

    rule: Callable[[nn.Module, Mapping[str, Any], Tensor, Collection[str]], Found]


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """One use of a fused layer in a captured pass.

    Args:
        names: Of its trainable parameters.
        needs: An empty tensor that requires a gradient: an operation that takes it has a backward pass, whatever its inputs.
        note: To be called in the backward pass, once for each use, with the number of examples, a gradient (for its precision), and what
            works out the gradients of these parameters.
    """

    names: Collection[str]
    needs: Tensor
    note: Callable[[int, Tensor, Callable[[], Found]], None]


@dataclass(frozen=True, slots=True)
class Fused:
    """A layer whose own forward hides what its weights are multiplied by.

    Args:
        run: Runs in place of the forward of a layer that is captured, on the layer, its ``Use``, and what the layer was called with;
            gives the same outputs, takes the layer's weights as constants, and calls ``Use.note`` in its backward pass.
        inside: Whether it also answers for weights of layers inside, where these are used without calling their layers.
    """

    run: Callable[..., Any]
    inside: bool = False


Rule = Simple | Whole | Fused
"""How a kind of layer gives the gradients of single examples."""
