"""Fast walks over a net's modules; PyTorch's own generators cost more than a forward pass of a small net."""

from contextlib import suppress
from functools import cached_property

import torch
from torch import Tensor, nn


def all_modules(net: nn.Module) -> list[nn.Module]:
    """List the net and all modules inside it, outer before inner, and a module used twice two times."""
    found: list[nn.Module] = []
    rest: list[nn.Module | None] = [net]
    while rest:
        module = rest.pop()
        if module is not None:
            found.append(module)
            rest.extend(reversed(module._modules.values()))
    return found


def any_training(modules: list[nn.Module]) -> bool:
    """Tell whether any of the modules is in training mode."""
    return True in [module.training for module in modules]


def first_floating_tensor(modules: list[nn.Module]) -> Tensor | None:
    """Return the first floating-point parameter; without one, the first such buffer."""
    for held in ("_parameters", "_buffers"):
        for module in modules:
            for tensor in getattr(module, held).values():
                if tensor is not None and tensor.is_floating_point():
                    return tensor
    return None


def input_type(model: object) -> torch.dtype | None:
    """Return the floating-point type of a model's inputs; None where neither it nor a tensor of it says."""
    if isinstance(model, nn.Module):
        tensor = first_floating_tensor(all_modules(model))
        return None if tensor is None else tensor.dtype
    found = getattr(model, "dtype", None)
    return found if isinstance(found, torch.dtype) else None


def fill_cached_properties(net: nn.Module) -> None:
    """Compute each ``functools.cached_property`` of a net's modules, as the first forward pass would.

    One that cannot be computed yet is left as it is. What is computed has no graph, and takes part in one.
    """
    with torch.inference_mode(False), torch.no_grad():
        for module in all_modules(net):
            held = [vars(base) for base in type(module).__mro__]
            for name in {key for one in held for key in one if isinstance(one[key], cached_property)}:
                with suppress(Exception):
                    getattr(module, name)
