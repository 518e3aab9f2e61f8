"""A guard that knows which gradients the private step has written: no other one was ever clipped."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.rules import RULES


class GradientGuard:
    """Remembers the tensors in ``parameter.grad`` that the private step has written, by identity and version.

    Any other gradient, or one that was changed in place since, was never clipped; ``check_all_private``
    refuses it.

    Args:
        module: The module to train.
        parameters: Those to train, by name.
    """

    def __init__(self, module: nn.Module, parameters: Mapping[str, nn.Parameter]) -> None:
        self._module, self._parameters = module, parameters
        self._private_grads: dict[nn.Parameter, tuple[Tensor, int]] = {}

    def mark_private(self) -> None:
        """Mark all present gradients as private."""
        self._private_grads = {
            p: (p.grad, p.grad._version) for p in self._parameters.values() if p.grad is not None
        }

    def check_all_private(self) -> None:
        """Raise if a parameter has a plain gradient, or a private one that was changed."""
        for name, parameter in self._parameters.items():
            grad, known = parameter.grad, self._private_grads.get(parameter)
            if grad is not None and (known is None or grad is not known[0] or grad._version != known[1]):
                raise PrivacyError(
                    f"parameter {name!r} has a plain gradient, which is not clipped; expected gradients "
                    "through its layer alone, in training mode (module.train()): no penalty on weights in "
                    "the loss (use weight_decay), no backward in evaluation "
                    f"mode{self._hint_for_borrowed_weights(name)}"
                )

    def check_holds_no_others(self, optimizer: torch.optim.Optimizer) -> None:
        """Raise if the optimizer would change any other parameter."""
        private = set(self._parameters.values())
        held = [
            parameter
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter not in private
        ]
        if any(parameter.requires_grad or parameter.grad is not None for parameter in held):
            raise PrivacyError(
                "the optimizer holds a parameter that was not trainable when it was made private, and now "
                "is, or has a plain gradient; expected no unfreezing and no further parameters: call "
                "make_private again on the changed module and a fresh optimizer"
            )

    def is_held_by(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the optimizer holds any of these parameters."""
        own = set(self._parameters.values())
        return any(parameter in own for group in optimizer.param_groups for parameter in group["params"])

    def _hint_for_borrowed_weights(self, name: str) -> str:
        """A hint for a module that uses the weights of a layer inside it without calling that layer."""
        parts = name.split(".")[:-2]
        for end in range(len(parts), -1, -1):
            owner = type(self._module.get_submodule(".".join(parts[:end])))
            if owner not in RULES and not owner.__module__.startswith("torch."):
                return (
                    f"; if {owner.__name__} uses it without calling that layer: "
                    f"register_rule({owner.__name__})(VMAP_RULE), of dp.rules"
                )
        return ""
