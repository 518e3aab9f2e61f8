"""Checks of settings, modules and optimizers before a private step is made of them."""

import inspect
import math

import torch
from torch import nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.step.adaptive import AdaptiveClipping
from quintain.dp.step.clipping import ClippingMethod, is_number

MAX_NOISE_STD = 1e30
"""The largest noise and bound, so that numbers far out in the tail still fit into float32."""


def check_settings(noise_multiplier: float, clip: ClippingMethod) -> None:
    """Raise unless noise multiplier and bound are in range together."""
    if not is_number(noise_multiplier):
        raise SettingError(f"got noise_multiplier = {noise_multiplier!r}; expected a number, such as 1.1")
    if not 0 <= noise_multiplier < math.inf:
        raise SettingError(
            f"got noise_multiplier = {noise_multiplier}; expected a finite number, 0 (no privacy) or more, "
            "such as 1.1"
        )
    if math.isinf(clip.sensitivity) and noise_multiplier:
        raise SettingError(
            "got max_grad_norm = inf with noise; expected a finite bound: noise is scaled to it"
        )
    if not math.isinf(clip.sensitivity) and max(1.0, noise_multiplier) * clip.sensitivity > MAX_NOISE_STD:
        raise SettingError(
            f"got noise_multiplier = {noise_multiplier:g} with max_grad_norm = {clip.sensitivity:g}: noise "
            f"times bound is more than {MAX_NOISE_STD:g}, near the largest number of float32; expected less, "
            "such as 1.1 and 1.0"
        )
    if isinstance(clip, AdaptiveClipping):
        clip.gradient_noise_multiplier(noise_multiplier)


def check_optimizer_is_plain(optimizer: torch.optim.Optimizer) -> None:
    """Raise unless the optimizer is a plain one that takes one gradient a step."""
    if "private_step" in vars(optimizer):
        raise PrivacyError(
            "got an optimizer that is private already; expected a plain one, over a module that no other "
            "holds"
        )
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if isinstance(optimizer, torch.optim.LBFGS) or (
        closure is not None and closure.default is inspect.Parameter.empty
    ):
        raise PrivacyError(
            f"got {type(optimizer).__name__}, which asks its closure for several gradients a step, each of "
            "which would have to be clipped, noised and paid for; expected one that takes one gradient, "
            "such as SGD or Adam"
        )


def is_mean(loss_reduction: str) -> bool:
    """Whether the loss is a mean, or a sum."""
    if loss_reduction not in ("mean", "sum"):
        raise SettingError(f'got loss_reduction = {loss_reduction!r}; expected "mean" or "sum"')
    return loss_reduction == "mean"


def match_parameters(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    """The trainable parameters by name, in the optimizer's order."""
    names = {parameter: name for name, parameter in module.named_parameters()}
    optimizer_params = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if any(parameter not in names for parameter in optimizer_params):
        shapes = [tuple(parameter.shape) for parameter in optimizer_params if parameter not in names]
        raise PrivacyError(
            f"the optimizer holds {len(shapes)} parameters (shapes {shapes[:3]}) that the module does not; "
            "expected its own alone"
        )
    missing = [
        name
        for parameter, name in names.items()
        if parameter.requires_grad and not any(parameter is other for other in optimizer_params)
    ]
    if missing:
        raise PrivacyError(
            f"the optimizer does not hold trainable parameter {missing[0]!r} ({len(missing)} in all); "
            "expected every one: build it from module.parameters(), or freeze the rest (requires_grad=False)"
        )
    return {names[parameter]: parameter for parameter in optimizer_params if parameter.requires_grad}
