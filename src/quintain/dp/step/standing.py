"""An optimiser that stands in front of another."""

from typing import Any

import torch

from quintain.core.errors import PrivacyError


class Standing(torch.optim.Optimizer):
    """``param_groups``, ``state``, ``defaults`` and all else are the inner optimiser's own objects, so that schedulers reach its rate."""

    inner: torch.optim.Optimizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name) if "inner" in self.__dict__ else object.__getattribute__(self, name)

    def __getstate__(self) -> dict[str, Any]:
        """Everything, the stream of noise too, which refuses to be copied."""
        return self.__dict__

    @property
    def original_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser that steps on the private gradients."""
        return self.inner

    def add_param_group(self, param_group: dict[str, Any]) -> None:  # noqa: ARG002
        """Refused: what is trained is fixed when training becomes private."""
        raise PrivacyError("got another group of parameters; expected what make_private was given: call it again on a fresh optimiser")
