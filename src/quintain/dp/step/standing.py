"""An optimiser that stands in front of another."""

from typing import Any, NoReturn

import torch

from quintain.core.errors import PrivacyError


class Standing(torch.optim.Optimizer):
    """``param_groups``, ``state``, ``defaults`` and all else are the inner optimiser's own objects, so that schedulers reach its rate."""

    inner: torch.optim.Optimizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name) if "inner" in self.__dict__ else object.__getattribute__(self, name)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse copies, shallow ones too: two optimisers that share a stream would add the same noise to different sums."""
        raise PrivacyError(
            "got a request to copy or pickle a private optimiser; expected each run to have its own: make_private anew, and "
            "load_state_dict(optimizer.state_dict())"
        )

    @property
    def original_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser that steps on the private gradients."""
        return self.inner

    def add_param_group(self, param_group: dict[str, Any]) -> None:  # noqa: ARG002
        """Refused: what is trained is fixed when training becomes private."""
        raise PrivacyError("got another group of parameters; expected what make_private was given: call it again on a fresh optimiser")
