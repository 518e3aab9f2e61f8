"""The gradient of each parameter and layer in an update, which may come as one flat vector."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from quintain.core.errors import DataError, ModelError


def as_gradient_list(net: nn.Module, gradient: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Convert a gradient, given as a list or as one flat vector, to one tensor a parameter, and check it.

    Raises:
        ModelError: If the net is in training mode, or sizes do not match.
        DataError: If it is zero or holds NaN.
    """
    if net.training:
        raise ModelError(
            "the net is in training mode; call net.eval() so that its outputs are those the gradient was "
            "taken at"
        )
    parameters = list(net.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    flat = gradient if isinstance(gradient, Tensor) else torch.cat([part.flatten() for part in gradient])
    if flat.numel() != sum(sizes):
        raise ModelError(
            f"a gradient of {flat.numel()} numbers for a net of {sum(sizes)} parameters; expected one each, "
            "in their order"
        )
    flat = flat.detach().flatten().to(parameters[0])
    if not torch.isfinite(flat).all() or not flat.any():
        raise DataError("the gradient is zero, NaN or infinite; there is nothing in it to invert")
    return tuple(
        part.view_as(parameter) for part, parameter in zip(flat.split(sizes), parameters, strict=True)
    )


def linear_layers(net: nn.Module) -> list[nn.Linear]:
    """Return the Linear layers of a net, in the order of its modules."""
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


def layer_gradient(
    net: nn.Module, gradient: Sequence[Tensor], layer: nn.Linear
) -> tuple[Tensor, Tensor | None]:
    """Return a layer's gradient: of its weight, and of its bias where it has one."""
    parts = {id(parameter): part for parameter, part in zip(net.parameters(), gradient, strict=True)}
    return parts[id(layer.weight)], None if layer.bias is None else parts[id(layer.bias)]


def output_gradient(net: nn.Module, gradient: Sequence[Tensor]) -> tuple[nn.Linear, Tensor, Tensor | None]:
    """Return the output layer and its gradient: the last Linear layer that has one.

    Raises:
        ModelError: If the net has no Linear layer.
    """
    linears = linear_layers(net)
    if not linears:
        raise ModelError(
            "the net has no Linear layer to read the label from; inversion works on classifiers that end in "
            "one"
        )
    parts = [(layer, *layer_gradient(net, gradient, layer)) for layer in linears]
    return next((one for one in reversed(parts) if one[1].any()), parts[-1])
