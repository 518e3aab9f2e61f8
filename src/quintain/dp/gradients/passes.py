"""One forward pass, and the per-example gradients that its backward pass has brought so far."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.draws.pieces import Piece
from quintain.dp.gradients.forms import Dense, PerExample
from quintain.dp.gradients.layers import Layer
from quintain.dp.rules.protocol import Found

COARSEST = 1e-6
"""The largest spacing near 1 of the type of gradients: float32 and float64 pass."""


@dataclass(slots=True, eq=False)
class Pass:
    """One forward pass of the whole module.

    Args:
        draw: The piece of a batch that it is over.
        gradients: Per-example gradients that its backward pass has brought so far.
        batch: How many examples these are of; None before the first.
        taken: Whether they were handed over; no more may then be added.
        seen: What the check of the pass' rows keeps about its input.
    """

    draw: Piece
    gradients: dict[nn.Parameter, PerExample] = field(default_factory=dict)
    batch: int | None = None
    taken: bool = False
    seen: object = None

    def add(self, layer: Layer, found: Found) -> None:
        """Add the gradients of one use of ``layer``.

        Raises:
            PrivacyError: If the rule does not give all trainable parameters, and these alone, in their shapes.
        """
        if not {name for name in layer.parameters if "." not in name} <= set(found) <= set(layer.parameters):
            raise PrivacyError(
                f"the rule of layer {layer.name!r} gives gradients of {sorted(found)}, and its trainable parameters are "
                f"{sorted(layer.parameters)}; expected all of them and no others"
            )
        for name, given in found.items():
            parameter = layer.parameters[name]
            gradient: PerExample = Dense(given) if isinstance(given, Tensor) else given
            if gradient.shape != parameter.shape:
                raise PrivacyError(
                    f"the rule of layer {layer.name!r} gives gradients of {name!r} of shape {tuple(gradient.shape)} an example; "
                    f"expected {tuple(parameter.shape)}"
                )
            known = self.gradients.get(parameter)
            self.gradients[parameter] = gradient if known is None else known.plus(gradient)

    def admit(self, layer: Layer, batch: int, precision: torch.dtype) -> None:
        """Check that gradients of so many examples may be added.

        Raises:
            PrivacyError: If they are of another batch, rounded too coarsely, or the pass was handed over.
        """
        if self.taken:
            raise PrivacyError(
                "backward() through a forward pass whose gradients were already clipped or dropped; expected all of its backward passes "
                "before the module's next forward pass, step() or zero_grad()"
            )
        if torch.is_grad_enabled():
            raise PrivacyError(
                "got a backward pass that is itself to be differentiated (create_graph=True); expected a plain one: second derivatives "
                "have no per-example gradients here"
            )
        if torch.finfo(precision).eps > COARSEST:
            raise PrivacyError(
                f"layer {layer.name!r} got gradients in {precision}, in which sums of clipped gradients are "
                "not exact enough for the bound; expected weights in float32 or float64: for speed, run the "
                "forward pass under torch.autocast(..., torch.bfloat16); float16 loses small gradients, and "
                "a scale that makes up for it would be clipped with them"
            )
        if self.batch not in (None, batch):
            raise PrivacyError(
                f"layer {layer.name!r} got {batch} examples in a pass over {self.batch}; "
                "expected the batch as first dimension of every trainable layer's input"
            )
        self.batch = batch
