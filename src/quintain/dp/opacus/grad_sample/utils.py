"""Wrapping by the name of a mode, and per-example gradients for further kinds of layer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from quintain.core.errors import SettingError
from quintain.dp.opacus.grad_sample.grad_sample_module import GradSampleModule
from quintain.dp.opacus.grad_sample.grad_sample_module_fast_gradient_clipping import (
    GradSampleModuleFastGradientClipping,
)
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.rules import register_rule

__all__ = ["get_gsm_class", "register_grad_sampler", "wrap_model"]
__getattr__ = missing_name_getattr(__name__)


MODES = ("hooks", "functorch", "ew", "ghost")
GradSampler = Callable[[nn.Module, list[Tensor], Tensor], Mapping[nn.Parameter, Tensor]]
"""From a layer, its inputs (in a list) and the gradient at its output to the gradients (B, *shape) of its
parameters.
"""


def get_gsm_class(grad_sample_mode: str) -> type[GradSampleModule]:
    """The class that a mode wraps modules in."""
    check_mode(grad_sample_mode)
    return GradSampleModuleFastGradientClipping if grad_sample_mode == "ghost" else GradSampleModule


def wrap_model(model: nn.Module, grad_sample_mode: str, *args: Any, **settings: Any) -> GradSampleModule:
    """A module in the class of a mode."""
    return get_gsm_class(grad_sample_mode)(model, *args, **settings)


def register_grad_sampler(
    kinds: type[nn.Module] | Sequence[type[nn.Module]],
) -> Callable[[GradSampler], GradSampler]:
    """Register the per-example gradients of types of layers for all modules wrapped from now on.

    ::

        @register_grad_sampler(Scale)
        def of_scale(layer, activations, backprops):
            return {layer.weight: activations[0] * backprops}

    Args:
        kinds: The layers, by exact type.
    """

    def register(sampler: GradSampler) -> GradSampler:
        register_rule(*((kinds,) if isinstance(kinds, type) else kinds))(
            lambda layer, a, g: sampler(layer, [a], g)
        )
        return sampler

    return register


def check_mode(mode: str) -> None:
    if mode not in MODES:
        raise SettingError(
            f"got grad_sample_mode = {mode!r}; expected {', '.join(MODES)}: parameters are not sharded"
        )
