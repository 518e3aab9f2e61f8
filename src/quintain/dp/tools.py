"""Small helpers for modules and per-example gradients that training scripts use."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quintain.dp.per_example.numerics import flatten_examples as flattened


def parametrized_modules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers with parameters of their own, by name."""
    return (
        (name, child)
        for name, child in module.named_modules()
        if next(child.parameters(recurse=False), None) is not None
    )


def trainable_modules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers with trainable parameters of their own, by name."""
    return ((name, child) for name, child in parametrized_modules(module) if requires_grad(child))


def trainable_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters that require a gradient, by name."""
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)


def requires_grad(module: nn.Module, *, recurse: bool = False) -> bool:
    """Whether a parameter of the module itself, or of any inside it, requires a gradient."""
    return any(parameter.requires_grad for parameter in module.parameters(recurse))


def has_trainable_params(module: nn.Module) -> bool:
    """Whether a parameter of the module itself requires a gradient."""
    return requires_grad(module)


def clone_module(module: nn.Module) -> nn.Module:
    """A copy on the same device."""
    return copy.deepcopy(module)


def get_submodule(module: nn.Module, target: str) -> nn.Module:
    """The module inside that has a name."""
    return module.get_submodule(target)


def are_state_dict_equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two states have the same names and tensors."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def calc_sample_norms(named_params: Iterator[tuple[str, Tensor]], flat: bool = True) -> list[Tensor]:
    """Norms (B,) of per-example gradients (B, *shape): of each by itself, or in one entry of all together."""
    norms = [calc_sample_norms_one_layer(gradient) for _, gradient in named_params]
    return [torch.stack(norms).norm(dim=0)] if flat else norms


def calc_sample_norms_one_layer(param: Tensor) -> Tensor:
    """Norms (B,) of (B, *shape)."""
    return flattened(param).norm(dim=1)


def sum_over_all_but_batch_and_last_n(tensor: Tensor, n_dims: int) -> Tensor:
    """Sums over the dimensions between the first and the last ``n_dims``."""
    between = tuple(range(1, tensor.dim() - n_dims))
    return tensor.sum(between) if between else tensor


def compute_seq_lengths(batch_sizes: Tensor) -> list[int]:
    """Lengths of the sequences of a PackedSequence, longest first, from how many go on at each position."""
    return [int((batch_sizes > at).sum()) for at in range(int(batch_sizes[0]))] if len(batch_sizes) else []


def params(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Parameters of an optimizer that require a gradient."""
    return [
        parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.requires_grad
    ]
