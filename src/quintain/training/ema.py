"""An exponential moving average of the weights of a net in training, private or not."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from quintain.core.errors import SettingError


class EMA:
    r"""Exponential moving average of a module's trainable parameters over the steps so far.

    .. math:: \bar\theta_t = \frac{\sum_{s=1}^{t} d^{\,t-s}\, \theta_s}{\sum_{s=1}^{t} d^{\,t-s}}

    The weights before the first step do not enter, so that short runs need no warm-up. The noise of about
    :math:`1 / (1 - d)` steps is averaged out.

    ::

        ema = EMA(net, decay=0.99)
        for x, y in loader:
            ...
            optimizer.step()
            ema.update()
        ema.apply()

    Args:
        module: The module that is trained.
        decay: d, in [0, 1).
        buffers: Whether buffers of floating-point numbers, such as the statistics of batch norms, are
            averaged, too.

    Guarantee: in private training post-processing of released iterates; epsilon is that of the steps.

    Raises:
        SettingError: If the decay is out of its range.

    Source: De et al., 2022, arXiv:2204.13650.
    """

    def __init__(self, module: nn.Module, decay: float = 0.99, *, buffers: bool = False) -> None:
        if not 0 <= decay < 1:
            raise SettingError(f"got decay = {decay}; expected a number in [0, 1), such as 0.99")
        self.decay = decay
        self.steps = 0
        self._parameters: dict[str, Tensor] = {
            name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad
        }
        if buffers:
            self._parameters |= {
                name: value for name, value in module.named_buffers() if value.is_floating_point()
            }
        self._averages = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Add the present weights to the average; call it after each step."""
        self.steps += 1
        weight = (1 - self.decay) / (1 - self.decay**self.steps)
        for name, mean in self._averages.items():
            mean.lerp_(self._parameters[name], weight)

    @torch.no_grad()
    def apply(self) -> None:
        """Write the average into the module."""
        for name, mean in self._averages.items():
            self._parameters[name].copy_(mean)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the module has the averaged weights, for example to measure its accuracy."""
        original = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(original[name])

    def state_dict(self) -> dict[str, Any]:
        """The number of steps averaged, and the averages by name."""
        return {"steps": self.steps, "means": dict(self._averages)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``.

        Raises:
            SettingError: If it is of other parameters.
        """
        means: Mapping[str, Tensor] = state["means"]
        if {name: mean.shape for name, mean in means.items()} != {
            name: mean.shape for name, mean in self._averages.items()
        }:
            raise SettingError(
                f"got means of {sorted(means)}; expected those of {sorted(self._averages)} in their shapes"
            )
        self.steps = state["steps"]
        for name, mean in means.items():
            self._averages[name].copy_(mean)
