"""An optimizer that forwards to the optimizer that it wraps."""

from typing import Any, NoReturn

import torch

from quintain.core.errors import PrivacyError


class OptimizerProxy(torch.optim.Optimizer):
    """A ``torch.optim.Optimizer`` that forwards every attribute to the optimizer that it wraps.

    ``param_groups``, ``state`` and ``defaults`` are that optimizer's own objects, so a learning-rate
    scheduler on the wrapper changes the wrapped optimizer.
    """

    inner: torch.optim.Optimizer

    def __getattr__(self, name: str) -> Any:
        return (
            getattr(self.__dict__["inner"], name)
            if "inner" in self.__dict__
            else object.__getattribute__(self, name)
        )

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse copies, shallow ones too: two optimizers that share a stream would add the same noise to
        different sums.
        """
        raise PrivacyError(
            "got a request to copy or pickle a private optimizer; expected each run to have its own: "
            "make_private anew, and load_state_dict(optimizer.state_dict())"
        )

    @property
    def _step_supports_amp_scaling(self) -> NoReturn:
        """Refuse a ``GradScaler``, which reads this attribute before it steps."""
        raise PrivacyError(
            "got a GradScaler that is about to step; expected loss.backward() and optimizer.step() alone: "
            "private gradients are clipped before a scale could be taken off again, and a step that is left "
            "out when numbers overflow would tell of the records"
        )

    @property
    def original_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer that steps on the private gradients."""
        return self.inner

    def add_param_group(self, param_group: dict[str, Any]) -> None:  # noqa: ARG002
        """Refused: what is trained is fixed when training becomes private."""
        raise PrivacyError(
            "got another group of parameters; expected what make_private was given: call it again on a fresh "
            "optimizer"
        )
