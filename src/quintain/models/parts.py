"""A net's modules, looked at before every answer: plain loops, since PyTorch's generators cost more than a small net."""

from torch import Tensor, nn


def parts(net: nn.Module) -> list[nn.Module]:
    """The net and all modules inside it, outer before inner; one that is used in two places stands there twice."""
    found: list[nn.Module] = []
    rest: list[nn.Module | None] = [net]
    while rest:
        module = rest.pop()
        if module is not None:
            found.append(module)
            rest.extend(reversed(module._modules.values()))
    return found


def in_training(modules: list[nn.Module]) -> bool:
    """Whether one of them is in training mode."""
    return True in [module.training for module in modules]


def first_floating(modules: list[nn.Module]) -> Tensor | None:
    """The first floating-point parameter; without one, the first such buffer."""
    for held in ("_parameters", "_buffers"):
        for module in modules:
            for tensor in getattr(module, held).values():
                if tensor is not None and tensor.is_floating_point():
                    return tensor
    return None
