"""One captured forward pass and the per-example gradients of its backward passes."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.capture.trainable_layers import TrainableLayer
from quintain.dp.per_example.grads import DenseGrads, PerExampleGrads
from quintain.dp.rules.protocol import ParameterGrads
from quintain.dp.sampling.physical_batch import PhysicalBatch

MAX_EPS = 1e-6
"""The largest machine epsilon of gradients that is accepted: that of float32 and float64, no coarser."""


@dataclass(slots=True, eq=False)
class CapturedPass:
    """One forward pass of the whole module, with the gradients captured of it.

    Args:
        physical_batch: The physical batch that it ran on.
        gradients: Per-example gradients by parameter, so far.
        batch_size: Number of examples; None before the first gradient.
        consumed: Whether the gradients were popped; no more may then be added.
        row_check_state: What the check of the pass' rows keeps about its input.
    """

    physical_batch: PhysicalBatch
    gradients: dict[nn.Parameter, PerExampleGrads] = field(default_factory=dict)
    batch_size: int | None = None
    consumed: bool = False
    row_check_state: object = None

    def add_layer_grads(self, layer: TrainableLayer, grads: ParameterGrads) -> None:
        """Add the gradients of one use of ``layer``.

        Raises:
            PrivacyError: If the rule does not give all trainable parameters, and these alone, in their
                shapes.
        """
        if not {name for name in layer.parameters if "." not in name} <= set(grads) <= set(layer.parameters):
            raise PrivacyError(
                f"the rule of layer {layer.name!r} gives gradients of {sorted(grads)}, and its trainable "
                f"parameters are {sorted(layer.parameters)}; expected all of them and no others"
            )
        for name, value in grads.items():
            parameter = layer.parameters[name]
            gradient: PerExampleGrads = DenseGrads(value) if isinstance(value, Tensor) else value
            if gradient.shape != parameter.shape:
                raise PrivacyError(
                    f"the rule of layer {layer.name!r} gives gradients of {name!r} of shape "
                    f"{tuple(gradient.shape)} an example; expected {tuple(parameter.shape)}"
                )
            before = self.gradients.get(parameter)
            self.gradients[parameter] = gradient if before is None else before.plus(gradient)

    def check_can_add(self, layer: TrainableLayer, batch: int, precision: torch.dtype) -> None:
        """Check that gradients of ``batch`` examples may be added.

        Raises:
            PrivacyError: If they are of another batch, rounded too coarsely, or the pass was handed over.
        """
        if self.consumed:
            raise PrivacyError(
                "backward() through a forward pass whose gradients were already clipped or dropped; expected "
                "all of its backward passes before the module's next forward pass, step() or zero_grad()"
            )
        if torch.is_grad_enabled():
            raise PrivacyError(
                "got a backward pass that is itself to be differentiated (create_graph=True); expected a "
                "plain one: second derivatives have no per-example gradients here"
            )
        if torch.finfo(precision).eps > MAX_EPS:
            raise PrivacyError(
                f"layer {layer.name!r} got gradients in {precision}, in which sums of clipped gradients are "
                "not exact enough for the bound; expected weights in float32 or float64: for speed, run the "
                "forward pass under torch.autocast(..., torch.bfloat16); float16 loses small gradients, and "
                "a scale that makes up for it would be clipped with them"
            )
        if self.batch_size not in (None, batch):
            raise PrivacyError(
                f"layer {layer.name!r} got {batch} examples in a pass over {self.batch_size}; "
                "expected the batch as first dimension of every trainable layer's input"
            )
        self.batch_size = batch
